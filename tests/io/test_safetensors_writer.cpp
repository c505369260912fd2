// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/safetensors/safetensors.hpp>
#include <lora/io/safetensors/writer.hpp>

namespace io = lora::io;
using io::DType, io::Safetensors, io::SafetensorsWriter, io::TensorInfo;
using test::expect_pieces, test::message;

namespace {

std::span<const std::byte> bytes(std::string_view text) { return io::detail::bytes_of(text); }

const std::vector<TensorInfo> three{
    {"z", DType::U8, {3}}, {"empty", DType::F32, {0, 7}}, {"a\n\"\u00e9", DType::F16, {1, 2}}};

TEST(SafetensorsWriter, RoundTrip) {
  const test::Folder folder;
  SafetensorsWriter writer(folder / "f", three, {{"format", "pt"}, {"note", "\"\\\x01"}});
  writer.write(bytes("ab"));
  writer.write(bytes("cdefg"));
  EXPECT_FALSE(std::filesystem::exists(folder / "f"));
  writer.flush();
  writer.commit();

  const Safetensors file = Safetensors::open(folder / "f");
  ASSERT_EQ(file.tensors().size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(file.tensors()[i].name, three[i].name);
    EXPECT_EQ(file.tensors()[i].dtype, three[i].dtype);
    EXPECT_EQ(file.tensors()[i].shape, three[i].shape);
  }
  EXPECT_EQ(file.metadata(), (io::Metadata{{"format", "pt"}, {"note", "\"\\\x01"}}));
  EXPECT_EQ(file.header().raw().size() % 8, 0u);
  EXPECT_EQ(test::data_of(file, file.tensor("a\n\"\u00e9"))[0], 'd');
}

TEST(SafetensorsWriter, AnotherFilesHeaderIsKeptByteForByte) {
  const test::Folder folder;
  const std::string json =
      "{ \"b\" : "
      "{\"shape\":[2],\"dtype\":\"U8\",\"data_offsets\":[1,3]},\n\t\"a\":{\"data_offsets\":[0,1],\"dtype\":\"BOOL\","
      "\"shape\":[]},\"__metadata__\":{\"\\u0041\":\"\"}}  ";
  test::write(folder / "from", test::safetensors(json, "xyz"));
  const Safetensors from = Safetensors::open(folder / "from");
  SafetensorsWriter writer(folder / "to", from.header());
  for (const TensorInfo& tensor : from.tensors()) writer.write(bytes(test::data_of(from, tensor)));
  writer.commit();
  EXPECT_EQ(test::read(folder / "to"), test::read(folder / "from"));
}

TEST(SafetensorsWriter, AnyOrderAndOverwriting) {
  const test::Folder folder;
  SafetensorsWriter writer(folder / "f", three);
  writer.write_at(5, bytes("fg"));
  writer.write_at(0, bytes("ab"));
  expect_pieces(message([&] { writer.commit(); }), {"tensor 'z'", "7 bytes", "offset 2"});
  writer.write_at(1, bytes("Bcde"));
  writer.commit();
  EXPECT_TRUE(test::read(folder / "f").ends_with("aBcdefg"));
}

TEST(SafetensorsWriter, ManyPiecesInRandomOrderAreCountedRightly) {
  const test::Folder folder;
  const std::vector<TensorInfo> one{{"t", DType::U8, {1000}}};
  SafetensorsWriter writer(folder / "f", one);
  // 37 and 1000 share no factor: every byte comes once, in a scattered order.
  for (std::uint64_t i = 0; i < 999; ++i) writer.write_at(i * 37 % 1000, bytes("x"));
  expect_pieces(message([&] { writer.flush(); }), {"offset " + std::to_string(999 * 37 % 1000)});
  writer.write_at(999 * 37 % 1000, bytes("x"));
  writer.commit();
}

TEST(SafetensorsWriter, TooFewOrTooManyBytes) {
  const test::Folder folder;
  {
    SafetensorsWriter writer(folder / "f", three);
    writer.write(bytes("abcd"));
    expect_pieces(message([&] { writer.commit(); }), {"tensor 'a\\x0a", "offset 4"});
    expect_pieces(message([&] { writer.write(bytes("abcd")); }), {"at most 7", "4 at offset 4"});
    expect_pieces(message([&] { writer.write_at(UINT64_MAX, bytes("a")); }), {"at most 7"});
  }
  EXPECT_EQ(folder.entries(), 0u) << "an interrupted writer leaves nothing";
}

TEST(SafetensorsWriter, AFailureLeavesTheOldFile) {
  const test::Folder folder;
  test::write(folder / "f", "old");
  {
    SafetensorsWriter writer(folder / "f", three);
    writer.write(bytes("abc"));
  }
  EXPECT_EQ(test::read(folder / "f"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(SafetensorsWriter, NoTensorsAtAll) {
  const test::Folder folder;
  SafetensorsWriter writer(folder / "f", std::vector<TensorInfo>{});
  writer.commit();
  EXPECT_TRUE(Safetensors::open(folder / "f").tensors().empty());
}

TEST(SafetensorsWriter, RefusesHeadersThatCannotBe) {
  const test::Folder folder;
  const auto refused = [&](const std::vector<TensorInfo>& tensors, const io::Metadata& metadata = {}) {
    return message([&] { SafetensorsWriter(folder / "f", tensors, metadata); });
  };
  constexpr std::uint64_t big = std::uint64_t{1} << 62;
  expect_pieces(refused({{"a", DType::U8, {1}}, {"a", DType::U8, {2}}}), {"'a' twice"});
  expect_pieces(refused({{"\xff", DType::U8, {1}}}), {"UTF-8", "\\xff"});
  expect_pieces(refused({{"__metadata__", DType::U8, {1}}}), {"__metadata__"});
  expect_pieces(refused({{"a", DType::F64, {big, 8}}}), {"tensor 'a'", "2^62"});
  expect_pieces(refused({{"a", DType::U8, {big}}, {"b", DType::U8, {big}}, {"c", DType::U8, {big}}}),
                {"tensor 'c'", "2^62"});
  expect_pieces(refused({{"a", DType::F4, {3}}}), {"tensor 'a'", "F4 [3]"});
  expect_pieces(refused({}, {{"k", "1"}, {"k", "2"}}), {"'k' twice"});
  EXPECT_EQ(folder.entries(), 0u);
}

}  // namespace
