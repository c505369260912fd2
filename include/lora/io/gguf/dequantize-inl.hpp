// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/dequantize.hpp"
#include "lora/simd/fp_environment.hpp"

#include <bit>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// One block's bytes.
class Block {
 public:
  explicit Block(const std::byte* data) : data_(data) {}

  unsigned byte(std::size_t at) const { return std::to_integer<unsigned>(data_[at]); }
  int signed_byte(std::size_t at) const { return static_cast<std::int8_t>(byte(at)); }
  unsigned low(std::size_t at) const { return byte(at) & 15; }
  unsigned high(std::size_t at) const { return byte(at) >> 4; }
  unsigned nibble(std::size_t at, bool is_high) const { return is_high ? high(at) : low(at); }
  unsigned bit(std::size_t at, std::size_t number) const { return (byte(at) >> number) & 1; }
  unsigned two_bits(std::size_t at, std::size_t number) const { return (byte(at) >> (2 * number)) & 3; }
  float half(std::size_t at) const {
    return lora::detail::half_to_float(static_cast<std::uint16_t>(byte(at) | byte(at + 1) << 8));
  }
  float single(std::size_t at) const {
    float value = 0;
    std::memcpy(&value, data_ + at, sizeof value);
    return value;
  }

 private:
  const std::byte* data_;
};

template <class Number>
float as_float(Number number) {
  return static_cast<float>(number);
}

inline void dequantize_q4_0(Block block, float* out) {
  const float d = block.half(0);
  for (std::size_t i = 0; i < 32; ++i) out[i] = d * as_float(static_cast<int>(block.nibble(2 + i % 16, i >= 16)) - 8);
}
inline void dequantize_q4_1(Block block, float* out) {
  const float d = block.half(0), m = block.half(2);
  for (std::size_t i = 0; i < 32; ++i) out[i] = d * as_float(block.nibble(4 + i % 16, i >= 16)) + m;
}
/// The fifth bits stand together before the others.
inline unsigned five_bits(Block block, std::size_t at, std::size_t i) {
  return block.nibble(at + 4 + i % 16, i >= 16) | block.bit(at + i / 8, i % 8) << 4;
}
inline void dequantize_q5_0(Block block, float* out) {
  const float d = block.half(0);
  for (std::size_t i = 0; i < 32; ++i) out[i] = d * as_float(static_cast<int>(five_bits(block, 2, i)) - 16);
}
inline void dequantize_q5_1(Block block, float* out) {
  const float d = block.half(0), m = block.half(2);
  for (std::size_t i = 0; i < 32; ++i) out[i] = d * as_float(five_bits(block, 4, i)) + m;
}
inline void dequantize_q8_0(Block block, float* out) {
  const float d = block.half(0);
  for (std::size_t i = 0; i < 32; ++i) out[i] = d * as_float(block.signed_byte(2 + i));
}

/// Two bits of element i of 256: four elements that are 32 apart share a byte.
inline unsigned two_bits_of(Block block, std::size_t at, std::size_t i) {
  return block.two_bits(at + 32 * (i / 128) + i % 32, i % 128 / 32);
}
inline void dequantize_q2_k(Block block, float* out) {
  const float d = block.half(80), m = block.half(82);
  for (std::size_t g = 0; g < 16; ++g) {
    const float scale = d * as_float(block.low(g)), least = m * as_float(block.high(g));
    for (std::size_t i = 16 * g; i < 16 * g + 16; ++i) out[i] = scale * as_float(two_bits_of(block, 16, i)) - least;
  }
}
inline void dequantize_q3_k(Block block, float* out) {
  const float d = block.half(108);
  for (std::size_t g = 0; g < 16; ++g) {
    // Of the sixteen scales' six bits, four lie in the first eight bytes and two in the last four.
    const unsigned six_bits = block.nibble(96 + g % 8, g >= 8) | block.two_bits(104 + g % 4, g / 4) << 4;
    const float scale = d * as_float(static_cast<int>(six_bits) - 32);
    for (std::size_t i = 16 * g; i < 16 * g + 16; ++i)
      out[i] = scale * as_float(static_cast<int>(two_bits_of(block, 32, i) | block.bit(i % 32, i / 32) << 2) - 4);
  }
}

/// Scale and minimum of one of eight groups, six bits each: those of the first four are whole, and their upper bits are
/// the last four's.
struct ScaleAndMinimum {
  unsigned scale, minimum;
};
inline ScaleAndMinimum scale_and_minimum(Block block, std::size_t at, std::size_t g) {
  if (g < 4) return {block.byte(at + g) & 63, block.byte(at + 4 + g) & 63};
  return {block.low(at + 4 + g) | (block.byte(at + g - 4) >> 6) << 4, block.high(at + 4 + g) | (block.byte(at + g) >> 6)
                                                                                                   << 4};
}
inline void dequantize_q4_k(Block block, float* out) {
  const float d = block.half(0), m = block.half(2);
  for (std::size_t g = 0; g < 8; ++g) {
    const auto [scale, minimum] = scale_and_minimum(block, 4, g);
    const float s = d * as_float(scale), least = m * as_float(minimum);
    for (std::size_t i = 0; i < 32; ++i)
      out[32 * g + i] = s * as_float(block.nibble(16 + 32 * (g / 2) + i, g % 2 == 1)) - least;
  }
}
inline void dequantize_q5_k(Block block, float* out) {
  const float d = block.half(0), m = block.half(2);
  for (std::size_t g = 0; g < 8; ++g) {
    const auto [scale, minimum] = scale_and_minimum(block, 4, g);
    const float s = d * as_float(scale), least = m * as_float(minimum);
    for (std::size_t i = 0; i < 32; ++i)
      out[32 * g + i] =
          s * as_float(block.nibble(48 + 32 * (g / 2) + i, g % 2 == 1) | block.bit(16 + i, g) << 4) - least;
  }
}
inline void dequantize_q6_k(Block block, float* out) {
  const float d = block.half(208);
  for (std::size_t g = 0; g < 16; ++g) {
    const float scale = d * as_float(block.signed_byte(192 + g));
    for (std::size_t i = 16 * g; i < 16 * g + 16; ++i) {
      const unsigned lower = block.nibble(64 * (i / 128) + i % 64, i % 128 >= 64);
      out[i] = scale * as_float(static_cast<int>(lower | two_bits_of(block, 128, i) << 4) - 32);
    }
  }
}
inline void dequantize_q8_k(Block block, float* out) {
  const float d = block.single(0);
  for (std::size_t i = 0; i < 256; ++i) out[i] = d * as_float(block.signed_byte(4 + i));
}

using DequantizeBlock = void (*)(Block, float*);
inline DequantizeBlock dequantize_block(GgmlType type) {
  switch (type) {
    case GgmlType::Q4_0: return dequantize_q4_0;
    case GgmlType::Q4_1: return dequantize_q4_1;
    case GgmlType::Q5_0: return dequantize_q5_0;
    case GgmlType::Q5_1: return dequantize_q5_1;
    case GgmlType::Q8_0: return dequantize_q8_0;
    case GgmlType::Q2_K: return dequantize_q2_k;
    case GgmlType::Q3_K: return dequantize_q3_k;
    case GgmlType::Q4_K: return dequantize_q4_k;
    case GgmlType::Q5_K: return dequantize_q5_k;
    case GgmlType::Q6_K: return dequantize_q6_k;
    default: return dequantize_q8_k;
  }
}

LORA_FUNC void dequantize(GgmlType type, const std::byte* data, std::size_t blocks, float* out) {
  const DequantizeBlock run = dequantize_block(type);
  const std::size_t elements = block_elements(type), bytes = block_bytes(type);
  lora::detail::with_fp_environment([&] {
    for (std::size_t b = 0; b < blocks; ++b) {
      float* const to = out + b * elements;
      run(Block(data + b * bytes), to);
      for (std::size_t i = 0; i < elements; ++i)
        if (lora::detail::is_nan(to[i]))
          to[i] = lora::detail::from_bits<float>(lora::detail::ScalarTraits<float>::quiet_nan);
    }
  });
}

}  // namespace io::detail
LORA_NAMESPACE_END
