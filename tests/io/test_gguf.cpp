// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// The GGUF container: headers byte by byte, what is refused and why, and the writer.

#include "io/files.hpp"

#include <lora/io/gguf/adapter.hpp>
#include <lora/io/gguf/writer.hpp>
#include <lora/io/text/json.hpp>

#include <map>

namespace io = lora::io;
using io::GgmlType, io::Gguf, io::GgufTensor, io::GgufType;
using test::expect_pieces, test::message;
using Json = io::detail::Json;

namespace gguf_container {
namespace {

test::fs::path gguf_data() { return test::data() / "gguf"; }

// ---- Files byte by byte, independent of the library's writer

template <class T>
std::string number(T value) {
  const auto bytes = std::bit_cast<std::array<char, sizeof(T)>>(value);
  return {bytes.data(), bytes.size()};
}
std::string u32(std::uint32_t value) { return number(value); }
std::string u64(std::uint64_t value) { return number(value); }
std::string string(const std::string& value) { return u64(value.size()) + value; }
std::string key(const std::string& name, std::uint32_t type) { return string(name) + u32(type); }
std::string tensor(const std::string& name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                   std::uint64_t offset) {
  std::string out = string(name) + u32(static_cast<std::uint32_t>(extents.size()));
  for (const std::uint64_t extent : extents) out += u64(extent);
  return out + u32(type) + u64(offset);
}
std::string file(const std::vector<std::string>& values, const std::vector<std::string>& tensors,
                 const std::string& data, std::size_t alignment = 32, std::uint32_t version = 3) {
  std::string out = "GGUF" + u32(version) + u64(tensors.size()) + u64(values.size());
  for (const std::string& value : values) out += value;
  for (const std::string& one : tensors) out += one;
  out.resize((out.size() + alignment - 1) / alignment * alignment, '\0');
  return out + data;
}

/// The message about a file of these bytes; empty when it is accepted.
std::string judge(const std::string& bytes) {
  const test::Folder folder;
  test::write(folder / "f", bytes);
  const std::string text = message([&] { Gguf::open(folder / "f"); });
  if (!text.empty()) expect_pieces(text, {io::utf8_text(folder / "f")});
  return text;
}

std::string bytes_of(const Gguf& from, const GgufTensor& one) {
  std::string bytes(one.bytes(), '\0');
  from.read(one, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

TEST(GgmlTypes, TheTableIsConsistent) {
  for (const auto& row : io::detail::ggml_types) {
    EXPECT_EQ(io::ggml_type_numbered(static_cast<std::uint32_t>(row.type)), row.type);
    EXPECT_EQ(io::name(row.type), row.name);
    const auto scalar = io::scalar_type(row.type);
    EXPECT_TRUE(!scalar || io::ggml_type_of(*scalar) == row.type);
    EXPECT_TRUE(!scalar || io::bits(io::dtype_of(*scalar)) == 8 * io::block_bytes(row.type));
  }
  for (const std::uint32_t removed : {4u, 5u, 31u, 33u, 38u, 1000u}) EXPECT_FALSE(io::ggml_type_numbered(removed));
}

TEST(Gguf, ReadsEveryKindOfValue) {
  const test::Folder folder;
  const std::string nested =
      key("nested", 9) + u32(9) + u64(2) + (u32(0) + u64(2) + "\x01\x02") + (u32(8) + u64(1) + string("x"));
  test::write(folder / "f",
              file({key("b", 7) + '\x01', key("i8", 1) + '\xfe', key("f64", 12) + number(0.1), nested,
                    key("bools", 9) + u32(7) + u64(2) + std::string("\x01\x00", 2), key("empty", 9) + u32(5) + u64(0)},
                   {}, ""));
  const Gguf found = Gguf::open(folder / "f");
  EXPECT_EQ(found.header().version(), 3u);
  EXPECT_EQ(found.metadata().size(), 6u);
  EXPECT_EQ(*found.value<bool>("b"), true);
  EXPECT_EQ(*found.value<std::int8_t>("i8"), -2);
  EXPECT_EQ(*found.value<double>("f64"), 0.1);
  const io::GgufArray& lists = *found.value<io::GgufArray>("nested");
  ASSERT_EQ(lists.type(), GgufType::array);
  const auto& inner = std::get<std::vector<io::GgufArray>>(lists);
  EXPECT_EQ(std::get<std::vector<std::uint8_t>>(inner[0]), (std::vector<std::uint8_t>{1, 2}));
  EXPECT_EQ(std::get<std::vector<std::string>>(inner[1]), std::vector<std::string>{"x"});
  EXPECT_EQ(std::get<std::vector<bool>>(*found.value<io::GgufArray>("bools")), (std::vector<bool>{true, false}));
  EXPECT_EQ(found.value<io::GgufArray>("empty")->type(), GgufType::int32);
  EXPECT_EQ(found.value<bool>("none"), nullptr);
  expect_pieces(message([&] { (void)found.value<std::string>("b"); }), {"'b'", "expected string, found bool"});
  expect_pieces(message([&] { (void)found.unsigned_value("i8"); }), {"'i8'", "not negative", "-2"});
  expect_pieces(message([&] { (void)found.unsigned_value("f64"); }), {"'f64'", "an integer", "float64"});
}

TEST(Gguf, ReadsWhatThePackageWrote) {
  const Gguf found = Gguf::open(gguf_data() / "19_gguf_types" / "types.gguf");
  const Json about = io::detail::read_json_file(gguf_data() / "19_gguf_types" / "case.json", 1 << 20);
  EXPECT_EQ(found.header().alignment(), 64u);
  EXPECT_EQ(*found.value<std::uint8_t>("test.uint8"), 250);
  EXPECT_EQ(*found.value<std::int8_t>("test.int8"), -3);
  EXPECT_EQ(*found.value<std::uint16_t>("test.uint16"), 65000);
  EXPECT_EQ(*found.value<std::int16_t>("test.int16"), -30000);
  EXPECT_EQ(*found.value<std::uint32_t>("test.uint32"), 4000000000u);
  EXPECT_EQ(*found.value<std::int32_t>("test.int32"), -2000000000);
  EXPECT_EQ(*found.value<std::uint64_t>("test.uint64"), 9223372036854775813u);
  EXPECT_EQ(found.unsigned_value("test.uint64"), 9223372036854775813u);
  EXPECT_EQ(*found.value<std::int64_t>("test.int64"), -4611686018427387904);
  EXPECT_EQ(*found.value<float>("test.float32"), 0.1f);
  EXPECT_EQ(*found.value<double>("test.float64"), 0.1);
  EXPECT_EQ(*found.value<bool>("test.bool"), true);
  EXPECT_EQ(*found.value<std::string>("test.string"), "na\u00efve \"quoted\" \n text");
  EXPECT_EQ(std::get<std::vector<std::int32_t>>(*found.value<io::GgufArray>("test.array")),
            (std::vector<std::int32_t>{3, 1, 2}));
  EXPECT_EQ(std::get<std::vector<std::string>>(*found.value<io::GgufArray>("test.array_of_strings")),
            (std::vector<std::string>{"a", "", "ccc"}));
  const auto& tensors = about.at("tensors").get_ref<const Json::object_t&>();
  ASSERT_EQ(found.tensors().size(), tensors.size());
  for (const auto& [name, entry] : tensors) {
    const GgufTensor& one = found.tensor(name);
    EXPECT_EQ(io::name(one.type), entry.at("type").get<std::string>());
    EXPECT_EQ(one.shape, entry.at("shape").get<std::vector<std::uint64_t>>());
    EXPECT_EQ(found.file_offset(one), entry.at("offset").get<std::uint64_t>());
  }
  expect_pieces(message([&] { (void)found.tensor("none\x1b"); }), {"none\\x1b"});
  std::array<std::byte, 8> eight{};
  expect_pieces(message([&] { found.read(found.tensor("f32.weight"), 1273, eight); }), {"f32.weight", "at most 1280"});
}

TEST(Gguf, TensorsOrderShapesAndVersions) {
  const std::string data(64, 'x');
  EXPECT_EQ(judge(file({}, {}, "", 32, 2)), "");
  EXPECT_EQ(judge(file({}, {}, "")), "");
  EXPECT_EQ(judge(file({}, {}, "", 1)), "");  // without padding, where there is no data
  // Any order in the file, scalars, nothing at all, and what follows the data.
  const test::Folder folder;
  test::write(folder / "f",
              file({}, {tensor("b", {2, 3}, 0, 32), tensor("s", {}, 0, 0), tensor("e", {0, 7}, 1, 32)}, data));
  const Gguf found = Gguf::open(folder / "f");
  EXPECT_EQ(found.tensors()[0].name, "s");
  EXPECT_EQ(found.tensors()[1].name, "e");
  EXPECT_EQ(found.tensor("b").shape, (std::vector<std::uint64_t>{3, 2}));
  EXPECT_EQ(found.tensor("b").bytes(), 24u);
  EXPECT_EQ(found.file_offset(found.tensor("b")), found.header().data_begin() + 32);
  EXPECT_EQ(found.find("c"), nullptr);
  EXPECT_EQ(bytes_of(found, found.tensor("s")), "xxxx");
}

TEST(Gguf, WhatIsRefused) {
  const std::string data(64, 'x');
  const auto with_tensor = [&](const std::string& one) { return judge(file({}, {one}, data)); };
  const auto with_value = [&](const std::string& one) { return judge(file({one}, {}, "")); };
  expect_pieces(judge("GGUF"), {"found 4 bytes", "too short"});
  expect_pieces(judge(std::string(24, ' ')), {"begins with 'GGUF'"});
  expect_pieces(judge(file({}, {}, "", 32, 1)), {"version 2 or 3, found 1"});
  expect_pieces(judge(file({}, {}, "", 32, 0x03000000)), {"big-endian"});
  expect_pieces(judge("GGUF" + u32(3) + u64(std::uint64_t{1} << 60) + u64(0)),
                {"1152921504606846976 tensors", "found 8 bytes"});
  expect_pieces(judge("GGUF" + u32(3) + u64(0) + u64(1) + std::string(12, '\0')),
                {"1 metadata values", "found 12 bytes"});

  expect_pieces(with_value(key("x", 13) + u32(0)), {"metadata 'x'", "type below 13, found 13"});
  expect_pieces(with_value(key("x", 7) + '\x02'), {"metadata 'x'", "0 or 1, found 2"});
  expect_pieces(with_value(key("", 0) + "a"), {"metadata value 0", "1 to 65535 bytes, found 0"});
  expect_pieces(with_value(key(std::string(65536, 'k'), 0) + "a"), {"found 65536"});
  EXPECT_EQ(with_value(key(std::string(65535, 'k'), 0) + "a"), "");
  expect_pieces(with_value(key("\xff", 0) + "a"), {"UTF-8", "\\xff"});
  expect_pieces(with_value(key("x", 8) + string("\xc3")), {"metadata 'x'", "UTF-8", "\\xc3"});
  expect_pieces(with_value(key("x", 9) + u32(8) + u64(2) + string("a") + string("\xed\xa0\x80")),
                {"metadata 'x'", "UTF-8"});
  expect_pieces(with_value(key("x", 9) + u32(0) + u64(UINT64_MAX)), {"metadata 'x'", "18446744073709551615 elements"});
  expect_pieces(with_value(key("x", 9) + u32(12) + u64((std::uint64_t{1} << 61) + 1)), {"metadata 'x'", "elements"});
  expect_pieces(judge(file({key("x", 0) + "a", key("x", 1) + "b"}, {}, "")), {"metadata", "'x' twice"});
  std::string deep = key("x", 9);
  for (std::size_t i = 0; i < io::GgufHeader::max_nesting - 1; ++i) deep += u32(9) + u64(1);
  EXPECT_EQ(with_value(deep + u32(0) + u64(0)), "");
  expect_pieces(with_value(deep + u32(9) + u64(1) + u32(0) + u64(0)), {"metadata 'x'", "at most 8 arrays"});

  const auto aligned = [&](const std::string& value) {
    return judge(file({key("general.alignment", 4) + value}, {}, ""));
  };
  EXPECT_EQ(aligned(u32(8)), "");
  for (const std::uint32_t bad : {0u, 4u, 24u, 33u})
    expect_pieces(aligned(u32(bad)), {"general.alignment", "power of two", std::to_string(bad)});
  expect_pieces(judge(file({key("general.alignment", 10) + u64(32)}, {}, "")), {"general.alignment", "found uint64"});
  expect_pieces(judge(file({key("general.alignment", 4) + u32(1u << 31)}, {tensor("a", {1}, 0, 0)}, data)),
                {"data from byte 2147483648"});

  expect_pieces(with_tensor(tensor("", {1}, 0, 0)), {"tensor 0", "1 to 1024 bytes, found 0"});
  expect_pieces(with_tensor(tensor("a", {1, 1, 1, 1, 1}, 0, 0)), {"tensor 'a'", "at most 4 dimensions, found 5"});
  expect_pieces(with_tensor(tensor("a", {1}, 4, 0)), {"tensor 'a'", "ggml's types, found 4"});
  expect_pieces(with_tensor(tensor("a", {33}, 2, 0)), {"tensor 'a'", "blocks of 32 elements", "Q4_0 [33]"});
  expect_pieces(with_tensor(tensor("a", {128, 2}, 12, 0)), {"tensor 'a'", "blocks of 256 elements", "Q4_K [2, 128]"});
  expect_pieces(with_tensor(tensor("a", {std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0, 0)),
                {"tensor 'a'", "63 bits"});
  expect_pieces(with_tensor(tensor("a", {std::uint64_t{1} << 61}, 0, 0)), {"tensor 'a'", "63 bits"});
  expect_pieces(with_tensor(tensor("a", {std::uint64_t{1} << 63, 0}, 2, 0)), {"tensor 'a'", "63 bits"});
  expect_pieces(with_tensor(tensor("a", {1}, 0, UINT64_MAX - 31)), {"tensor 'a'", "63 bits can hold"});
  expect_pieces(with_tensor(tensor("a", {1}, 0, 16)), {"tensor 'a'", "multiple of the alignment, 32, found 16"});
  expect_pieces(with_tensor(tensor("a", {17}, 0, 0)), {"tensor 'a'", "64 bytes of data, found an end at 68"});
  expect_pieces(with_tensor(tensor("a", {1}, 0, 32)), {"tensor 'a'", "begin at byte 0", "belong to no tensor"});
  const auto with_two = [&](const std::string& a, const std::string& b) { return judge(file({}, {a, b}, data)); };
  expect_pieces(with_two(tensor("a", {1}, 0, 0), tensor("a", {1}, 0, 32)), {"'a' twice"});
  expect_pieces(with_two(tensor("a", {1}, 0, 0), tensor("b", {1}, 0, 0)),
                {"tensor 'b'", "begin at byte 32", "share bytes"});
  expect_pieces(with_two(tensor("a", {9}, 0, 0), tensor("b", {1}, 0, 32)),
                {"tensor 'b'", "begin at byte 64", "share bytes"});
}

/// What the message must name.
const std::map<std::string, std::vector<std::string>> rejected{
    {"bad_magic.gguf", {"GGUG"}},
    {"bad_version.gguf", {"version", "99"}},
    {"string_length.gguf", {"metadata value 0", "1099511627776 bytes of a key"}},
    {"value_string_length.gguf", {"'general.name'", "5000 bytes of a string", "end of the file"}},
    {"tensor_offset.gguf", {"'blk.0.attn_q.weight.lora_b'", "96 bytes of data", "end at 3248"}},
    {"tensor_unaligned.gguf", {"'blk.0.attn_q.weight.lora_b'", "multiple of the alignment", "36"}},
    {"truncated_data.gguf", {"'blk.0.attn_q.weight.lora_b'", "66 bytes of data", "end at 80"}},
    {"truncated_header.gguf", {"2 tensors", "22 bytes before the end of the file"}},
    {"lora_b_missing.gguf", {"'blk.0.attn_q'", "no lora_b"}},
};

TEST(Gguf, MalformedFilesAreJudgedAsTheIndexSays) {
  const Json index = io::detail::read_json_file(gguf_data() / "malformed" / "index.json", 1 << 20);
  std::size_t refused = 0;
  for (const auto& [name, about] : index.get_ref<const Json::object_t&>()) {
    SCOPED_TRACE(name);
    const std::string text = message([&, &file = name] { io::load_gguf_adapter(gguf_data() / "malformed" / file); });
    if (about.at("expect") == "accept") {
      EXPECT_EQ(text, "");
      continue;
    }
    ++refused;
    ASSERT_TRUE(rejected.contains(name));
    expect_pieces(text, rejected.at(name));
    for (const char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
  EXPECT_EQ(refused, rejected.size());
}

// ---- Writing

std::span<const std::byte> bytes(std::string_view text) { return io::detail::bytes_of(text); }

TEST(GgufWriter, RoundTripOfEveryKind) {
  const Gguf from = Gguf::open(gguf_data() / "19_gguf_types" / "types.gguf");
  const test::Folder folder;
  io::GgufMetadata metadata = from.metadata();
  metadata.emplace_back("nested",
                        io::GgufArray(std::vector<io::GgufArray>{io::GgufArray(std::vector<bool>{true, false}),
                                                                 io::GgufArray(std::vector<double>{0.5})}));
  io::GgufWriter writer(folder / "f", from.tensors(), metadata);
  for (const GgufTensor& one : from.tensors()) writer.write(bytes(bytes_of(from, one)));
  EXPECT_FALSE(test::fs::exists(folder / "f"));
  writer.flush();
  writer.commit();
  const Gguf to = Gguf::open(folder / "f");
  EXPECT_EQ(to.metadata(), metadata);
  EXPECT_EQ(to.file().size() % 64, 0u);
  ASSERT_EQ(to.tensors().size(), from.tensors().size());
  for (const GgufTensor& one : from.tensors()) {
    const GgufTensor& other = to.tensor(one.name);
    EXPECT_EQ(other.type, one.type);
    EXPECT_EQ(other.shape, one.shape);
    EXPECT_EQ(bytes_of(to, other), bytes_of(from, one));
  }
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(GgufWriter, GivesAnotherWritersFileByteForByte) {
  const Gguf from = Gguf::open(gguf_data() / "19_gguf_llama" / "base-q8_0.gguf");
  const test::Folder folder;
  io::GgufWriter writer(folder / "f", from.tensors(), from.metadata());
  std::string all;
  for (const GgufTensor& one : from.tensors()) all += bytes_of(from, one);
  for (std::size_t at = 0; at < all.size(); at += 1000) writer.write(bytes(std::string_view(all).substr(at, 1000)));
  writer.commit();
  EXPECT_EQ(test::read(folder / "f"), test::read(from.path()));
}

TEST(GgufWriter, TooFewOrTooManyBytesAndBadHeaders) {
  const test::Folder folder;
  const std::vector<GgufTensor> two{
      {"a", GgmlType::F16, {3}}, {"e", GgmlType::F32, {0}}, {"b", GgmlType::Q8_0, {1, 32}}};
  {
    io::GgufWriter writer(folder / "f", two, {});
    writer.write(bytes("abcdefgh"));
    expect_pieces(message([&] { writer.commit(); }), {"tensor 'b'", "all 34 bytes", "found 2"});
    expect_pieces(message([&] { writer.write(bytes(std::string(33, 'x'))); }),
                  {"expected the bytes of 3 tensors, found 1 more"});
  }
  const auto refused = [&](const std::vector<GgufTensor>& tensors, const io::GgufMetadata& metadata) {
    return message([&] { io::GgufWriter(folder / "f", tensors, metadata); });
  };
  expect_pieces(refused({{"a", GgmlType::F32, {1}}, {"a", GgmlType::F32, {1}}}, {}), {"'a' twice"});
  expect_pieces(refused({{"a", GgmlType::Q4_0, {31}}}, {}), {"tensor 'a'", "whole blocks"});
  expect_pieces(refused({}, {{"k", true}, {"k", 1.0}}), {"'k' twice"});
  expect_pieces(refused({}, {{"general.alignment", std::uint32_t{0}}}), {"power of two"});
  expect_pieces(refused({}, {{"k", "\xff"}}), {"UTF-8"});
  EXPECT_EQ(folder.entries(), 0u);
}

}  // namespace
}  // namespace gguf_container
