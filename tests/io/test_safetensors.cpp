// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/safetensors/safetensors.hpp>

#include <chrono>
#include <cmath>

namespace io = lora::io;
using io::DType, io::Safetensors;
using test::expect_pieces, test::message;

namespace {

const std::string zeros24(24, '\0');

/// The message about a file "f" with this header and data; empty when it is accepted.
std::string judge(const std::string& json, const std::string& data = "") {
  const test::Folder folder;
  test::write(folder / "f", test::safetensors(json, data));
  const std::string text = message([&] { Safetensors::open(folder / "f"); });
  if (!text.empty()) expect_pieces(text, {io::utf8_text(folder / "f")});
  return text;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST(DTypes, NamesBitsAndScalars) {
  for (const auto& row : io::detail::dtypes) {
    EXPECT_EQ(io::dtype_named(row.name), row.dtype);
    EXPECT_EQ(io::name(row.dtype), row.name);
    const auto scalar = io::scalar_type(row.dtype);
    EXPECT_TRUE(!scalar || io::dtype_of(*scalar) == row.dtype);
  }
  EXPECT_EQ(io::bits(DType::F4), 4u);
  EXPECT_EQ(io::bits(DType::F6_E3M2), 6u);
  EXPECT_EQ(io::bits(DType::C64), 64u);
  EXPECT_EQ(io::scalar_type(DType::BF16), lora::ScalarType::bfloat16);
  EXPECT_FALSE(io::scalar_type(DType::I32));
  EXPECT_FALSE(io::dtype_named("F33"));
  EXPECT_FALSE(io::dtype_named("f32"));
}

TEST(Safetensors, OrderLookupAndMetadata) {
  const test::Folder folder;
  const std::string json = "{" + entry("layers.10", "U8", "[2]", "[3,5]") +
                           ",\"__metadata__\":{\"z\":\"1\",\"a\":\"\\u00e9\\n\"}," +
                           entry("layers.1", "U8", "[3,1]", "[0,3]") + "}   ";
  test::write(folder / "f", test::safetensors(json, "abcde"));
  const Safetensors file = Safetensors::open(folder / "f");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "layers.1");
  EXPECT_EQ(file.find("layers.10"), &file.tensors()[1]);
  EXPECT_EQ(file.find("layers"), nullptr);
  EXPECT_EQ(file.tensor("layers.1").shape, (std::vector<std::uint64_t>{3, 1}));
  EXPECT_EQ(file.metadata(), (io::Metadata{{"z", "1"}, {"a", "\u00e9\n"}}));
  EXPECT_EQ(test::data_of(file, file.tensor("layers.10")), "de");
  EXPECT_EQ(file.file_offset(file.tensor("layers.10")), 8 + json.size() + 3);
  const auto raw = file.header().raw();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(raw.data()), raw.size()),
            test::length_prefix(json.size()) + json);
  expect_pieces(message([&] { (void)file.tensor("layers.1\x1b[0m"); }), {"layers.1\\x1b[0m"});
  std::array<std::byte, 2> two{};
  file.read(file.tensor("layers.1"), 1, two);
  EXPECT_EQ(static_cast<char>(two[1]), 'c');
  expect_pieces(message([&] { file.read(file.tensor("layers.1"), 2, two); }), {"layers.1", "at most 3"});
}

TEST(Safetensors, EmptyTensorsAndSmallElements) {
  EXPECT_EQ(judge("{" + entry("e", "F32", "[0,4294967296]", "[4,4]") + "," + entry("s", "F32", "[]", "[0,4]") + "," +
                      entry("e2", "I64", "[5,0]", "[0,0]") + "," + entry("e3", "I64", "[0]", "[4,4]") + "}",
                  "1234"),
            "");
  EXPECT_EQ(
      judge("{" + entry("p", "F4", "[3,2]", "[0,3]") + "," + entry("q", "F6_E2M3", "[4]", "[3,6]") + "}", "123456"),
      "");
  expect_pieces(judge("{" + entry("p", "F4", "[3]", "[0,2]") + "}", "12"), {"tensor 'p'", "whole bytes", "F4 [3]"});
}

TEST(Safetensors, ArithmeticThatWouldWrap) {
  const auto bytes = [](DType dtype, std::vector<std::uint64_t> shape) {
    return io::detail::tensor_bytes(dtype, shape);
  };
  constexpr std::uint64_t one = 1;
  EXPECT_EQ(bytes(DType::F32, {one << 60}), one << 62);
  EXPECT_EQ(bytes(DType::F32, {(one << 61) - 16}), (one << 63) - 64);
  EXPECT_FALSE(bytes(DType::F32, {one << 61}));
  EXPECT_FALSE(bytes(DType::F64, {one << 62, 2}));
  EXPECT_FALSE(bytes(DType::U8, {one << 32, one << 32}));
  EXPECT_FALSE(bytes(DType::U8, {one << 33, one << 33}));
  EXPECT_FALSE(bytes(DType::U8, {one << 63}));
  EXPECT_EQ(bytes(DType::F4, {(one << 63) - 2}), (one << 62) - 1);
  EXPECT_EQ(bytes(DType::F64, {0, (one << 63) - 1, (one << 63) - 1}), 0u);
  expect_pieces(judge("{" + entry("x", "U8", "[9223372036854775808]", "[0,0]") + "}"),
                {"tensor 'x'", "9223372036854775808"});
  expect_pieces(judge("{" + entry("x", "U8", "[4]", "[18446744073709551612,0]") + "}", "1234"), {"tensor 'x'"});
  expect_pieces(judge("{" + entry("x", "U8", "[4]", "[4,0]") + "}", "1234"), {"tensor 'x'", "in order"});
}

TEST(Safetensors, TheHeaderIsStrict) {
  const std::string good = entry("a", "F32", "[2,3]", "[0,24]");
  EXPECT_EQ(judge("{" + good + "}", zeros24), "");
  EXPECT_EQ(judge("{}"), "");
  expect_pieces(judge("[]"), {"JSON object"});
  expect_pieces(judge("\xef\xbb\xbf{}"), {"JSON object"});
  expect_pieces(judge("{} {}"), {"expected JSON"});
  expect_pieces(judge(std::string("{}\0\0", 4)), {"expected JSON", "zero byte"});
  expect_pieces(judge("{" + good + ",}", zeros24), {"expected JSON"});
  expect_pieces(judge("{/**/}"), {"expected JSON"});
  expect_pieces(judge("{" + good + "}", zeros24 + "x"), {"25", "last 1"});
  expect_pieces(judge("{\"a\":null}"), {"tensor 'a'", "found null"});
  expect_pieces(judge("{\"a\":3}"), {"tensor 'a'", "found 3"});
  expect_pieces(judge("{\"a\":{}}"), {"tensor 'a'", "found no dtype"});
  expect_pieces(judge("{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}"), {"tensor 'a'", "found no data_offsets"});
  expect_pieces(judge("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}"), {"tensor 'a'", "dtype once"});
  expect_pieces(judge("{\"a\":{\"dtype\":\"U8\",\"strides\":[]}}"), {"tensor 'a'", "'strides'"});
  expect_pieces(judge("{\"a\":{\"dtype\":8}}"), {"tensor 'a'", "dtype", "found 8"});
  expect_pieces(judge("{\"a\":{\"shape\":4}}"), {"tensor 'a'", "shape", "found 4"});
  expect_pieces(judge("{\"a\":{\"shape\":[[4]]}}"), {"tensor 'a'", "found a list"});
  expect_pieces(judge("{\"a\":{\"shape\":[4.0]}}"), {"tensor 'a'", "found 4.0"});
  expect_pieces(judge("{\"a\":{\"shape\":[1e2]}}"), {"tensor 'a'", "found 1e2"});
  expect_pieces(judge("{\"a\":{\"shape\":[true]}}"), {"tensor 'a'", "true or false"});
  expect_pieces(judge("{" + entry("a", "U8", "[]", "[0]") + "}", "x"), {"tensor 'a'", "found 1"});
  expect_pieces(judge("{" + entry("a", "U8", "[]", "[0,1,2]") + "}", "x"), {"tensor 'a'", "third"});
  expect_pieces(judge("{\"__metadata__\":3}"), {"__metadata__", "found 3"});
  expect_pieces(judge("{\"__metadata__\":{\"k\":3}}"), {"__metadata__", "'k'", "expected a string", "found 3"});
  expect_pieces(judge("{\"__metadata__\":{\"k\":{}}}"), {"'k'", "found an object"});
  expect_pieces(judge("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}"), {"__metadata__", "'k' twice"});
  expect_pieces(judge("{\"__metadata__\":{},\"__metadata__\":{}}"), {"__metadata__", "two"});
  expect_pieces(judge("{\"\\ud800\":{}}"), {"expected JSON"});
}

TEST(Safetensors, NamesOutOfTheFileArePrintedHarmlessly) {
  const std::string text = judge("{\"a\\u001b[2J\\n\\u0007" + std::string(5000, 'b') + "\":null}");
  expect_pieces(text, {"a\\x1b[2J\\x0a\\x07", "bytes)..."});
  EXPECT_LT(text.size(), 600u);
  for (const char c : text) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
}

TEST(Safetensors, AnyDepthOfNestingIsRefusedWithoutRecursion) {
  for (const std::string& open : {std::string("["), std::string("{\"a\":")})
    expect_pieces(judge("{\"a\":{\"shape\":" +
                        [&] {
                          std::string deep;
                          for (int i = 0; i < 1'000'000; ++i) deep += open;
                          return deep;
                        }()),
                  {"tensor 'a'"});
}

TEST(Safetensors, AMillionTensorsInLinearTime) {
  const test::Folder folder;
  std::string json = "{";
  constexpr int count = 1'000'000;
  for (int i = 0; i < count; ++i) {
    // Backwards, so that sorting has work to do.
    const std::string at = std::to_string(count - 1 - i), end = std::to_string(count - i);
    json += (i == 0 ? "" : ",") + entry("t" + at, "U8", "[1]", "[" + at + "," + end + "]");
  }
  json += "}";
  test::write(folder / "f", test::safetensors(json, std::string(count, 'x')));
  const auto begin = std::chrono::steady_clock::now();
  const Safetensors file = Safetensors::open(folder / "f");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(file.tensors().size(), static_cast<std::size_t>(count));
  EXPECT_EQ(file.tensor("t654321").begin, 654321u);
  EXPECT_LT(seconds.count(), 300.0)
      << "1 to 3 seconds are usual, a minute with sanitizers; quadratic work would take hours";
}

TEST(Safetensors, AFileThatShrinksIsAnError) {
  const test::Folder folder;
  test::write(folder / "f",
              test::safetensors("{" + entry("a", "F32", "[5000,1]", "[0,20000]") + "}", std::string(20000, '\0')));
  const Safetensors file = Safetensors::open(folder / "f");
  std::filesystem::resize_file(folder / "f", 5000);
  expect_pieces(message([&] { (void)file.read_matrix<float>(file.tensor("a")); }), {"became shorter"});
  expect_pieces(message([&] { (void)file.read_matrix<double>(file.tensor("a")); }), {"became shorter"});
}

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
  std::string out;
  for (const T value : values) {
    const auto bytes = std::bit_cast<std::array<char, sizeof(T)>>(value);
    out.append(bytes.data(), bytes.size());
  }
  return out;
}

TEST(ReadMatrix, EveryTypeFromUnalignedData) {
  const test::Folder folder;
  // One byte before each tensor, so that none is aligned.
  const std::string data = "x" + bytes_of<std::uint16_t>({0x3c00, 0xc000, 0x0001, 0x7bff, 0x0000, 0x8000}) +
                           bytes_of<std::uint16_t>({0x3f80, 0xc000, 0x0001, 0x7f7f, 0x0000, 0x8000}) +
                           bytes_of<float>({1.0f, -2.0f, 1e-45f, 3e38f, 0.1f, -0.0f}) +
                           bytes_of<double>({1.0, -2.0, 5e-324, 1e308, 0.1, -0.0}) + "123456";
  const std::string json = "{" + entry("x", "U8", "[1]", "[0,1]") + "," + entry("h", "F16", "[2,3]", "[1,13]") + "," +
                           entry("b", "BF16", "[3,2]", "[13,25]") + "," + entry("f", "F32", "[2,3]", "[25,49]") + "," +
                           entry("d", "F64", "[6,1]", "[49,97]") + "," + entry("i", "I8", "[2,3]", "[97,103]") + "}";
  test::write(folder / "f", test::safetensors(json, data));
  const Safetensors file = Safetensors::open(folder / "f");

  const auto half = file.read_matrix<float>(file.tensor("h"));
  EXPECT_EQ(half.rows(), 2);
  EXPECT_EQ(half.cols(), 3);
  EXPECT_EQ(half(0, 2), std::ldexp(1.0f, -24));
  EXPECT_EQ(half(1, 0), 65504.0f);
  EXPECT_TRUE(std::signbit(half(1, 2)));
  const auto brain = file.read_matrix<double>(file.tensor("b"));
  EXPECT_EQ(brain(0, 1), -2.0);
  EXPECT_EQ(brain(1, 0), std::ldexp(1.0, -133));
  EXPECT_EQ(file.read_matrix<float>(file.tensor("f"))(1, 1), 0.1f);
  EXPECT_EQ(file.read_matrix<double>(file.tensor("f"))(1, 1), static_cast<double>(0.1f));
  EXPECT_EQ(file.read_matrix<double>(file.tensor("d"))(2, 0), 5e-324);
  EXPECT_EQ(file.read_matrix<float>(file.tensor("d"))(4, 0), 0.1f);
  EXPECT_TRUE(std::isinf(file.read_matrix<float>(file.tensor("d"))(3, 0)));
  EXPECT_EQ(lora::detail::to_bits(file.read_matrix<Eigen::bfloat16>(file.tensor("f"))(1, 1)), 0x3dcd);
  EXPECT_EQ(lora::detail::to_bits(file.read_matrix<Eigen::half>(file.tensor("h"))(0, 2)), 0x0001);
  expect_pieces(message([&] { (void)file.read_matrix<float>(file.tensor("i")); }), {"tensor 'i'", "found I8"});
  expect_pieces(message([&] { (void)file.read_matrix<float>(file.tensor("x")); }),
                {"tensor 'x'", "two dimensions", "[1]"});
}

TEST(ReadMatrix, TheSameTypeKeepsEveryBit) {
  const test::Folder folder;
  const std::string nans = bytes_of<std::uint32_t>({0x7f800001u, 0xffc12345u, 0x7fc00000u, 0x00000001u});
  test::write(folder / "f", test::safetensors("{" + entry("a", "F32", "[2,2]", "[0,16]") + "}", nans));
  const Safetensors file = Safetensors::open(folder / "f");
  const auto matrix = file.read_matrix<float>(file.tensor("a"));
  EXPECT_EQ(std::memcmp(matrix.data(), nans.data(), nans.size()), 0);
}

TEST(ReadMatrix, LongerThanItsBuffer) {
  const test::Folder folder;
  std::string data;
  for (int i = 0; i < 100'003; ++i) data += bytes_of<float>({static_cast<float>(i)});
  test::write(folder / "f", test::safetensors("{" + entry("a", "F32", "[100003,1]", "[0,400012]") + "}", data));
  const Safetensors file = Safetensors::open(folder / "f");
  const auto matrix = file.read_matrix<double>(file.tensor("a"));
  for (lora::Index i = 0; i < matrix.rows(); ++i) ASSERT_EQ(matrix(i, 0), static_cast<double>(i));
}

TEST(ReadMatrix, DoublesTowardsSixteenBitsAreRoundedOnce) {
  // Just above the middle between two neighbours: a float in between would land on it, and a tie goes to even.
  const double brain = 1.0 + std::ldexp(1.0, -8) + std::ldexp(1.0, -40);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::bfloat16>(brain)), 0x3f81);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::bfloat16>(-brain)), 0xbf81);
  const double below = 1.0 + 3 * std::ldexp(1.0, -8) - std::ldexp(1.0, -40);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::bfloat16>(below)), 0x3f81);
  const double half = 1.0 + std::ldexp(1.0, -11) + std::ldexp(1.0, -50);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::half>(half)), 0x3c01);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::half>(65519.999999999)), 0x7bff);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::half>(1e300)), 0x7c00);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::half>(-std::ldexp(1.0, -25))), 0x8000);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::half>(std::ldexp(1.0, -25) * 1.0000000001)), 0x0001);
  EXPECT_EQ(lora::detail::to_bits(lora::detail::convert<Eigen::half>(std::nan(""))), 0x7e00);
}

}  // namespace
