// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Quantised types, bit for bit: against the gguf package's own decoding, and against the formulas written down again
/// here on random blocks.

#include "io/files.hpp"

#include <lora/io/gguf/gguf.hpp>
#include <lora/io/gguf/writer.hpp>

#include <cfenv>
#include <cmath>
#include <random>

namespace io = lora::io;
using io::GgmlType, io::Gguf, io::GgufTensor;
using test::expect_pieces, test::message;

namespace gguf_types {
namespace {

test::fs::path types_data() { return test::data() / "gguf" / "19_gguf_types"; }

TEST(GgufTypes, AsThePackageDequantises) {
  const Gguf file = Gguf::open(types_data() / "types.gguf");
  const io::Safetensors expect = io::Safetensors::open(types_data() / "expect.safetensors");
  std::size_t compared = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    SCOPED_TRACE(tensor.name);
    if (!io::is_readable(tensor.type)) {
      EXPECT_TRUE(tensor.type == GgmlType::IQ4_NL || tensor.type == GgmlType::IQ4_XS);
      expect_pieces(message([&] { file.read_matrix<float>(tensor); }),
                    {tensor.name, "that can be read", std::string(io::name(tensor.type))});
      continue;
    }
    const auto expected = expect.read_matrix<float>(expect.tensor("dequantised." + tensor.name));
    const auto found = file.read_matrix<float>(tensor);
    ASSERT_EQ(found.rows(), expected.rows());
    ASSERT_EQ(found.cols(), expected.cols());
    for (lora::Index i = 0; i < found.size(); ++i)
      ASSERT_EQ(lora::detail::to_bits(found.data()[i]), lora::detail::to_bits(expected.data()[i])) << i;
    EXPECT_TRUE((file.read_matrix<double>(tensor).array() == found.cast<double>().array()).all());
    ++compared;
  }
  EXPECT_EQ(compared, 15u);
}

TEST(GgufTypes, AModelAsThePackageDequantises) {
  const auto folder = test::data() / "gguf" / "19_gguf_llama";
  const Gguf file = Gguf::open(folder / "base-q8_0.gguf");
  const io::Safetensors expect = io::Safetensors::open(folder / "expect.safetensors");
  std::size_t compared = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.type != GgmlType::Q8_0) continue;
    const auto expected = expect.read_matrix<float>(expect.tensor("gguf.base-q8_0.gguf." + tensor.name));
    EXPECT_TRUE((file.read_matrix<float>(tensor).array() == expected.array()).all()) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, 9u);
}

// ---- The formulas again, one element at a time, from the layout of ggml's blocks, in double (where they are exact but
// for the last rounding to float)

using Bytes = std::vector<std::uint8_t>;

double half_at(const Bytes& b, std::size_t at) {
  return static_cast<double>(lora::detail::half_to_float(static_cast<std::uint16_t>(b[at] + 256 * b[at + 1])));
}
/// `count` bits from bit `first` of the bytes from `at` on, least significant first.
int bits_at(const Bytes& b, std::size_t at, std::size_t first, std::size_t count) {
  int out = 0;
  for (std::size_t k = 0; k < count; ++k) out += ((b[at + (first + k) / 8] >> ((first + k) % 8)) & 1) << k;
  return out;
}
int signed_at(const Bytes& b, std::size_t at) { return b[at] < 128 ? b[at] : b[at] - 256; }

/// Element i of one block.
double element(GgmlType type, const Bytes& b, std::size_t i) {
  const auto nibble = [&](std::size_t at) { return bits_at(b, at + i % 16, i < 16 ? 0 : 4, 4); };
  const std::size_t half = i / 128, quarter = i % 128 / 32, lane = i % 32;
  // Six bits each of scale and minimum of group g, in twelve bytes: 4 x (6 low scale bits, 2 high), then the nibbles.
  const auto six = [&](std::size_t at, bool minimum) {
    const std::size_t g = i / 32, from = at + (minimum ? 4 : 0);
    if (g < 4) return bits_at(b, from + g, 0, 6);
    return bits_at(b, at + 4 + g, minimum ? 4 : 0, 4) + 16 * bits_at(b, from + g - 4, 6, 2);
  };
  switch (type) {
    case GgmlType::Q4_0: return half_at(b, 0) * (nibble(2) - 8);
    case GgmlType::Q4_1: return half_at(b, 0) * nibble(4) + half_at(b, 2);
    case GgmlType::Q5_0: return half_at(b, 0) * (nibble(6) + 16 * bits_at(b, 2, i, 1) - 16);
    case GgmlType::Q5_1: return half_at(b, 0) * (nibble(8) + 16 * bits_at(b, 4, i, 1)) + half_at(b, 2);
    case GgmlType::Q8_0: return half_at(b, 0) * signed_at(b, 2 + i);
    case GgmlType::Q2_K:
      return half_at(b, 80) * bits_at(b, i / 16, 0, 4) * bits_at(b, 16 + 32 * half + lane, 2 * quarter, 2) -
             half_at(b, 82) * bits_at(b, i / 16, 4, 4);
    case GgmlType::Q3_K: {
      const std::size_t g = i / 16;
      const int scale = bits_at(b, 96 + g % 8, g < 8 ? 0 : 4, 4) + 16 * bits_at(b, 104 + g % 4, 2 * (g / 4), 2) - 32;
      return half_at(b, 108) * scale *
             (bits_at(b, 32 + 32 * half + lane, 2 * quarter, 2) - 4 * (1 - bits_at(b, lane, 4 * half + quarter, 1)));
    }
    case GgmlType::Q4_K:
      return half_at(b, 0) * six(4, false) * bits_at(b, 16 + 32 * (i / 64) + lane, i % 64 < 32 ? 0 : 4, 4) -
             half_at(b, 2) * six(4, true);
    case GgmlType::Q5_K:
      return half_at(b, 0) * six(4, false) *
                 (bits_at(b, 48 + 32 * (i / 64) + lane, i % 64 < 32 ? 0 : 4, 4) +
                  16 * bits_at(b, 16 + lane, i / 32, 1)) -
             half_at(b, 2) * six(4, true);
    case GgmlType::Q6_K:
      return half_at(b, 208) * signed_at(b, 192 + i / 16) *
             (bits_at(b, 64 * half + i % 64, i % 128 < 64 ? 0 : 4, 4) +
              16 * bits_at(b, 128 + 32 * half + lane, 2 * quarter, 2) - 32);
    default: {
      float d = 0;
      std::memcpy(&d, b.data(), 4);
      return static_cast<double>(d) * signed_at(b, 4 + i);
    }
  }
}

/// Where the scales, halves or for Q8_K a float, lie in a block.
std::vector<std::size_t> scales_of(GgmlType type) {
  switch (type) {
    case GgmlType::Q4_0:
    case GgmlType::Q5_0:
    case GgmlType::Q8_0: return {0};
    case GgmlType::Q2_K: return {80, 82};
    case GgmlType::Q3_K: return {108};
    case GgmlType::Q6_K: return {208};
    case GgmlType::Q8_K: return {2};  // the upper half of the float
    default: return {0, 2};
  }
}

class GgufBlocks : public testing::TestWithParam<GgmlType> {};

TEST_P(GgufBlocks, RandomBlocksAsTheFormulasSay) {
  const GgmlType type = GetParam();
  const std::size_t size = io::block_bytes(type), elements = io::block_elements(type);
  std::mt19937 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    Bytes block(size);
    for (std::uint8_t& byte : block) byte = static_cast<std::uint8_t>(random());
    bool is_finite = true;  // of random halves one in 32 is not
    for (const std::size_t at : scales_of(type))
      if ((block[at + 1] & 0x7f) >= 0x7c) is_finite = false;
    std::vector<float> found(elements);
    io::detail::dequantize(type, reinterpret_cast<const std::byte*>(block.data()), 1, found.data());
    for (std::size_t i = 0; i < elements; ++i) {
      const auto expected = static_cast<float>(element(type, block, i));
      if (!is_finite && std::isnan(expected))
        ASSERT_EQ(lora::detail::to_bits(found[i]), 0x7fc00000u);
      else
        ASSERT_EQ(lora::detail::to_bits(found[i]), lora::detail::to_bits(expected))
            << "trial " << trial << ", element " << i;
    }
  }
}

TEST_P(GgufBlocks, TheCallersRoundingChangesNothing) {
  const GgmlType type = GetParam();
  std::mt19937 random(8);
  Bytes block(io::block_bytes(type) * 20);
  for (std::uint8_t& byte : block) byte = static_cast<std::uint8_t>(random() & 0x3f);
  std::vector<float> nearest(io::block_elements(type) * 20), upward(nearest.size());
  const auto* const data = reinterpret_cast<const std::byte*>(block.data());
  io::detail::dequantize(type, data, 20, nearest.data());
  std::fesetround(FE_UPWARD);
  io::detail::dequantize(type, data, 20, upward.data());
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(std::memcmp(nearest.data(), upward.data(), nearest.size() * sizeof(float)), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, GgufBlocks,
                         testing::Values(GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q5_0, GgmlType::Q5_1, GgmlType::Q8_0,
                                         GgmlType::Q2_K, GgmlType::Q3_K, GgmlType::Q4_K, GgmlType::Q5_K, GgmlType::Q6_K,
                                         GgmlType::Q8_K),
                         [](const auto& test) { return std::string(io::name(test.param)); });

TEST(GgufTypes, LargeMatricesAreReadInPieces) {
  const test::Folder folder;
  const std::uint64_t rows = 37, cols = 4096;
  std::string data(rows * cols / 32 * 34, '\0');
  std::mt19937 random(9);
  for (std::size_t block = 0; block < data.size(); block += 34) {
    data[block + 1] = static_cast<char>(0x3c);  // the scale 1
    for (std::size_t i = 2; i < 34; ++i) data[block + i] = static_cast<char>(random());
  }
  io::GgufWriter writer(folder / "f", {{"w", GgmlType::Q8_0, {rows, cols}}}, {});
  writer.write(std::as_bytes(std::span(data)));
  writer.commit();
  const Gguf file = Gguf::open(folder / "f");
  const auto W = file.read_matrix<Eigen::bfloat16>(file.tensor("w"));
  for (std::uint64_t i = 0; i < rows * cols; ++i)
    ASSERT_EQ(static_cast<float>(W.data()[i]),
              static_cast<float>(static_cast<std::int8_t>(data[i / 32 * 34 + 2 + i % 32])));
  expect_pieces(message([&] { file.read_vector<float>(file.tensor("w")); }), {"'w'", "one dimension", "[37, 4096]"});
}

}  // namespace
}  // namespace gguf_types
