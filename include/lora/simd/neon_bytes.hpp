// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Work on bytes for 64-bit Arm, see simd/portable_bytes.hpp. There is neither a mask of bytes nor compress and expand: bits
/// are put together by sums of neighbours, the others are looked up in tables.

#include "lora/simd/isa.hpp"
#include "lora/simd/shuffle_tables.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#if LORA_TARGETS_NEON
#include <arm_neon.h>

LORA_TAGGED_BEGIN
namespace neon {

/// The largest magnitude of a tile's 256 bytes.
LORA_INLINE unsigned largest_magnitude(const std::int8_t* bytes) {
  uint8x16_t largest[2] = {vdupq_n_u8(0), vdupq_n_u8(0)};
  LORA_UNROLL for (int i = 0; i < 16; ++i)
    largest[i % 2] = vmaxq_u8(largest[i % 2], vreinterpretq_u8_s8(vabsq_s8(vld1q_s8(bytes + 16 * i))));
  return vmaxvq_u8(vmaxq_u8(largest[0], largest[1]));
}

LORA_INLINE bool any_extreme(const std::int8_t* bytes) { return largest_magnitude(bytes) >= 127; }

struct TileBytes {
  static LORA_INLINE void masks(const std::int8_t* bytes, std::uint16_t* out) {
    masks_where(bytes, out, [](int8x16_t x) { return vtstq_s8(x, x); });
  }
  static LORA_INLINE unsigned nonzero(const std::uint16_t* words) {
    const uint16x8_t low = vld1q_u16(words), high = vld1q_u16(words + 8);
    uint8x16_t bits = vmovn_high_u16(vmovn_u16(vtstq_u16(low, low)), vtstq_u16(high, high));
    bits = vandq_u8(bits, bit_of_each());
    for (int i = 0; i < 3; ++i) bits = vpaddq_u8(bits, bits);
    return vgetq_lane_u16(vreinterpretq_u16_u8(bits), 0);
  }
  // Without a branch: where differences are is not to be guessed.
  static LORA_INLINE unsigned char* compress(unsigned char* out, const std::int8_t* bytes, const std::uint16_t* masks) {
    const auto* mask = reinterpret_cast<const unsigned char*>(masks);
    unsigned char counts[32];
    count_bits(mask, counts);
    for (int i = 0; i < 32; ++i) {
      const uint8x8_t eight = vreinterpret_u8_s8(vld1_s8(bytes + 8 * i));
      vst1_u8(out, vtbl1_u8(eight, places(shuffle_tables.compress, mask[i])));
      out += counts[i];
    }
    return out;
  }
  static LORA_INLINE const unsigned char* expand(const unsigned char* in, const std::uint16_t* masks, std::int8_t* bytes) {
    const auto* mask = reinterpret_cast<const unsigned char*>(masks);
    unsigned char counts[32];
    count_bits(mask, counts);
    for (int i = 0; i < 32; ++i) {
      const uint8x8_t eight = vtbl1_u8(vld1_u8(in), places(shuffle_tables.expand, mask[i]));
      vst1_s8(bytes + 8 * i, vreinterpret_s8_u8(eight));
      in += counts[i];
    }
    return in;
  }
  static LORA_INLINE unsigned char* compress_words(unsigned char* out, const std::uint16_t* words, unsigned mask) {
    for (int i = 0; i < 2; ++i, mask >>= 8) {
      const uint8x16_t eight = vreinterpretq_u8_u16(vld1q_u16(words + 8 * i));
      vst1q_u8(out, vqtbl1q_u8(eight, word_places(shuffle_tables.compress, mask & 0xffu)));
      out += 2 * std::popcount(mask & 0xffu);
    }
    return out;
  }
  static LORA_INLINE const unsigned char* expand_words(const unsigned char* in, unsigned mask, std::uint16_t* words) {
    for (int i = 0; i < 2; ++i, mask >>= 8) {
      const uint8x16_t eight = vqtbl1q_u8(vld1q_u8(in), word_places(shuffle_tables.expand, mask & 0xffu));
      vst1q_u16(words + 8 * i, vreinterpretq_u16_u8(eight));
      in += 2 * std::popcount(mask & 0xffu);
    }
    return in;
  }
  static LORA_INLINE void extreme(const std::int8_t* bytes, std::uint16_t* out) {
    masks_where(bytes, out, [](int8x16_t x) { return vcgeq_u8(vreinterpretq_u8_s8(vabsq_s8(x)), vdupq_n_u8(127)); });
  }
  static LORA_INLINE bool any_escaped(const std::int8_t* bytes) { return largest_magnitude(bytes) == 128; }

 private:
  static LORA_INLINE uint8x16_t bit_of_each() { return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u)); }
  /// For each group a mask of the bytes for which `where` gives ones.
  template <class Where>
  static LORA_INLINE void masks_where(const std::int8_t* bytes, std::uint16_t* out, const Where& where) {
    for (int half = 0; half < 2; ++half, bytes += 128, out += 8) {
      uint8x16_t sums[8];
      LORA_UNROLL for (int i = 0; i < 8; ++i) sums[i] = vandq_u8(where(vld1q_s8(bytes + 16 * i)), bit_of_each());
      LORA_UNROLL for (int i = 0; i < 4; ++i) sums[i] = vpaddq_u8(sums[2 * i], sums[2 * i + 1]);
      LORA_UNROLL for (int i = 0; i < 2; ++i) sums[i] = vpaddq_u8(sums[2 * i], sums[2 * i + 1]);
      vst1q_u16(out, vreinterpretq_u16_u8(vpaddq_u8(sums[0], sums[1])));
    }
  }
  static LORA_INLINE void count_bits(const unsigned char* mask, unsigned char* counts) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) vst1q_u8(counts + 16 * i, vcntq_u8(vld1q_u8(mask + 16 * i)));
  }
  static LORA_INLINE uint8x8_t places(const std::array<std::uint64_t, 256>& table, unsigned mask) {
    return vcreate_u8(table[mask]);
  }
  /// The places of words: 2 i and 2 i + 1 for i, and still no place for 0x80.
  static LORA_INLINE uint8x16_t word_places(const std::array<std::uint64_t, 256>& table, unsigned mask) {
    const uint8x8_t i = places(table, mask);
    const uint8x16_t both = vcombine_u8(vzip1_u8(i, i), vzip2_u8(i, i));
    return vqaddq_u8(vqaddq_u8(both, both), vreinterpretq_u8_u16(vdupq_n_u16(0x100)));
  }
};

struct ChecksumLanes {
  uint64x2_t products[4], words[4], key[4];

  LORA_INLINE explicit ChecksumLanes(const std::uint64_t* keys) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      products[i] = words[i] = vdupq_n_u64(0);
      key[i] = vld1q_u64(keys + 2 * i);
    }
  }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    LORA_UNROLL for (int i = 0; i < 4; i += 2) {
      uint32x4_t mixed[2];
      LORA_UNROLL for (int k = i; k < i + 2; ++k) {
        const uint64x2_t x = vreinterpretq_u64_u8(vld1q_u8(stripe + 16 * k));
        mixed[k - i] = vreinterpretq_u32_u64(veorq_u64(x, key[k]));
        words[k] = vaddq_u64(words[k], x);
        key[k] = vaddq_u64(key[k], vdupq_n_u64(step));
      }
      const uint32x4_t low = vuzp1q_u32(mixed[0], mixed[1]), high = vuzp2q_u32(mixed[0], mixed[1]);
      products[i] = vmlal_u32(products[i], vget_low_u32(low), vget_low_u32(high));
      products[i + 1] = vmlal_high_u32(products[i + 1], low, high);
    }
  }
  LORA_INLINE void add_two(const unsigned char* stripes, std::uint64_t step) {
    add(stripes, step);
    add(stripes + 64, step);
  }
  LORA_INLINE void store(std::uint64_t* product_sums, std::uint64_t* word_sums) const {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      vst1q_u64(product_sums + 2 * i, products[i]);
      vst1q_u64(word_sums + 2 * i, words[i]);
    }
  }
};

}  // namespace neon
LORA_TAGGED_END
#endif
