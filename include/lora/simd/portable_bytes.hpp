// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Work on bytes in plain C++: a tile's distances, and checksums. The other simd/*_bytes.hpp have the same
/// interface; their functions may read and write up to 64 bytes behind what they take from or put at a cursor.

#include "lora/simd/isa.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

LORA_TAGGED_BEGIN
namespace portable {

/// Whether any of a tile's 256 bytes is beyond -126 .. 126.
LORA_INLINE bool any_extreme(const std::int8_t* bytes) {
  return std::any_of(bytes, bytes + 256, [](std::int8_t byte) { return byte < -126 || byte > 126; });
}

/// What is done to the bytes of a tile: 256 of them, in 16 groups.
struct TileBytes {
  /// For each group a mask of the bytes that are not 0.
  static LORA_INLINE void masks(const std::int8_t* bytes, std::uint16_t* out) {
    for (unsigned g = 0; g < 16; ++g) {
      unsigned mask = 0;
      for (unsigned i = 0; i < 16; ++i) mask |= static_cast<unsigned>(bytes[16 * g + i] != 0) << i;
      out[g] = static_cast<std::uint16_t>(mask);
    }
  }
  /// A mask of the words, of 16, that are not 0.
  static LORA_INLINE unsigned nonzero(const std::uint16_t* words) {
    unsigned mask = 0;
    for (unsigned g = 0; g < 16; ++g) mask |= static_cast<unsigned>(words[g] != 0) << g;
    return mask;
  }
  /// Writes the bytes that `masks` names, in order; returns the end.
  static LORA_INLINE unsigned char* compress(unsigned char* out, const std::int8_t* bytes, const std::uint16_t* masks) {
    for (unsigned i = 0; i < 256; ++i)
      if ((masks[i / 16] >> i % 16 & 1u) != 0) *out++ = static_cast<unsigned char>(bytes[i]);
    return out;
  }
  /// The inverse, 0 for the others; returns the end of what was read.
  static LORA_INLINE const unsigned char* expand(const unsigned char* in, const std::uint16_t* masks, std::int8_t* bytes) {
    for (unsigned i = 0; i < 256; ++i)
      bytes[i] = (masks[i / 16] >> i % 16 & 1u) != 0 ? static_cast<std::int8_t>(*in++) : std::int8_t{0};
    return in;
  }
  /// The same for the words that a mask names.
  static LORA_INLINE unsigned char* compress_words(unsigned char* out, const std::uint16_t* words, unsigned mask) {
    for (unsigned g = 0; g < 16; ++g)
      if ((mask >> g & 1u) != 0) {
        std::memcpy(out, words + g, 2);
        out += 2;
      }
    return out;
  }
  static LORA_INLINE const unsigned char* expand_words(const unsigned char* in, unsigned mask, std::uint16_t* words) {
    for (unsigned g = 0; g < 16; ++g) {
      words[g] = 0;
      if ((mask >> g & 1u) != 0) {
        std::memcpy(words + g, in, 2);
        in += 2;
      }
    }
    return in;
  }
  /// For each group a mask of the bytes beyond -126 .. 126.
  static LORA_INLINE void extreme(const std::int8_t* bytes, std::uint16_t* out) {
    std::memset(out, 0, 32);
    for (unsigned i = 0; i < 256; ++i)
      if (bytes[i] < -126 || bytes[i] > 126) out[i / 16] = static_cast<std::uint16_t>(out[i / 16] | 1u << i % 16);
  }
  /// Whether any is -128.
  static LORA_INLINE bool any_escaped(const std::int8_t* bytes) {
    return std::find(bytes, bytes + 256, std::int8_t{-128}) != bytes + 256;
  }
};

/// Eight 64-bit lanes of a checksum (exact/checksum.hpp has the definition), products and words apart.
struct ChecksumLanes {
  std::uint64_t products[8] = {}, words[8] = {}, key[8];

  explicit ChecksumLanes(const std::uint64_t* keys) { std::memcpy(key, keys, sizeof key); }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    std::uint64_t x[8];
    std::memcpy(x, stripe, sizeof x);
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t mixed = x[i] ^ key[i];
      products[i] += (mixed & 0xffffffffu) * (mixed >> 32);
      words[i] += x[i];
      key[i] += step;
    }
  }
  LORA_INLINE void add_two(const unsigned char* stripes, std::uint64_t step) {
    add(stripes, step);
    add(stripes + 64, step);
  }
  LORA_INLINE void store(std::uint64_t* product_sums, std::uint64_t* word_sums) const {
    std::memcpy(product_sums, products, sizeof products);
    std::memcpy(word_sums, words, sizeof words);
  }
};

}  // namespace portable
LORA_TAGGED_END
