// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Work on bytes for AVX2, see simd/portable_bytes.hpp. There is no compress and expand: they are looked up in tables.

#include "lora/simd/isa.hpp"
#include "lora/simd/shuffle_tables.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#if LORA_TARGETS_X86
#include <immintrin.h>

LORA_TAGGED_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace avx2 {

LORA_INLINE bool any_extreme(const std::int8_t* bytes) {
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < 8; ++i)
    largest = _mm256_max_epu8(
        largest, _mm256_abs_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32 * i))));
  const __m256i extreme = _mm256_cmpeq_epi8(_mm256_max_epu8(largest, _mm256_set1_epi8(127)), largest);
  return _mm256_movemask_epi8(extreme) != 0;
}

struct TileBytes {
  static LORA_INLINE void masks(const std::int8_t* bytes, std::uint16_t* out) {
    for (int i = 0; i < 8; ++i) {
      const __m256i zero = _mm256_cmpeq_epi8(load(bytes + 32 * i), _mm256_setzero_si256());
      const unsigned mask = ~static_cast<unsigned>(_mm256_movemask_epi8(zero));
      std::memcpy(out + 2 * i, &mask, sizeof mask);
    }
  }
  static LORA_INLINE unsigned nonzero(const std::uint16_t* words) {
    const __m256i zero = _mm256_cmpeq_epi16(load(words), _mm256_setzero_si256());
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(zero), _mm256_extracti128_si256(zero, 1));
    return ~static_cast<unsigned>(_mm_movemask_epi8(bytes)) & 0xffffu;
  }
  // Without a branch: where differences are is not to be guessed.
  static LORA_INLINE unsigned char* compress(unsigned char* out, const std::int8_t* bytes, const std::uint16_t* masks) {
    const auto* mask = reinterpret_cast<const unsigned char*>(masks);
    for (int i = 0; i < 32; ++i) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out),
                       _mm_shuffle_epi8(load_eight(bytes + 8 * i), places(shuffle_tables.compress, mask[i])));
      out += std::popcount(unsigned{mask[i]});
    }
    return out;
  }
  static LORA_INLINE const unsigned char* expand(const unsigned char* in, const std::uint16_t* masks, std::int8_t* bytes) {
    const auto* mask = reinterpret_cast<const unsigned char*>(masks);
    for (int i = 0; i < 32; ++i) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(bytes + 8 * i),
                       _mm_shuffle_epi8(load_eight(in), places(shuffle_tables.expand, mask[i])));
      in += std::popcount(unsigned{mask[i]});
    }
    return in;
  }
  static LORA_INLINE unsigned char* compress_words(unsigned char* out, const std::uint16_t* words, unsigned mask) {
    for (int i = 0; i < 2; ++i, mask >>= 8) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words + 8 * i));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                       _mm_shuffle_epi8(eight, word_places(shuffle_tables.compress, mask & 0xffu)));
      out += 2 * std::popcount(mask & 0xffu);
    }
    return out;
  }
  static LORA_INLINE const unsigned char* expand_words(const unsigned char* in, unsigned mask, std::uint16_t* words) {
    for (int i = 0; i < 2; ++i, mask >>= 8) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words + 8 * i),
                       _mm_shuffle_epi8(eight, word_places(shuffle_tables.expand, mask & 0xffu)));
      in += 2 * std::popcount(mask & 0xffu);
    }
    return in;
  }
  static LORA_INLINE void extreme(const std::int8_t* bytes, std::uint16_t* out) {
    for (int i = 0; i < 8; ++i) {
      const __m256i magnitude = _mm256_abs_epi8(load(bytes + 32 * i));
      const __m256i extreme = _mm256_cmpeq_epi8(_mm256_max_epu8(magnitude, _mm256_set1_epi8(127)), magnitude);
      const unsigned mask = static_cast<unsigned>(_mm256_movemask_epi8(extreme));
      std::memcpy(out + 2 * i, &mask, sizeof mask);
    }
  }
  static LORA_INLINE bool any_escaped(const std::int8_t* bytes) {
    __m256i least = _mm256_setzero_si256();
    for (int i = 0; i < 8; ++i) least = _mm256_min_epi8(least, load(bytes + 32 * i));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_set1_epi8(-128))) != 0;
  }

 private:
  static LORA_INLINE __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static LORA_INLINE __m128i load_eight(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
  static LORA_INLINE __m128i places(const std::array<std::uint64_t, 256>& table, unsigned mask) {
    return load_eight(&table[mask]);
  }
  /// The places of words: 2 i and 2 i + 1 for i, and still no place for 0x80.
  static LORA_INLINE __m128i word_places(const std::array<std::uint64_t, 256>& table, unsigned mask) {
    const __m128i i = places(table, mask), both = _mm_unpacklo_epi8(i, i);
    return _mm_adds_epu8(_mm_adds_epu8(both, both), _mm_set1_epi16(0x100));
  }
};

struct ChecksumLanes {
  __m256i products[2], words[2], key[2];

  LORA_INLINE explicit ChecksumLanes(const std::uint64_t* keys) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      products[i] = words[i] = _mm256_setzero_si256();
      key[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys + 4 * i));
    }
  }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stripe + 32 * i));
      const __m256i mixed = _mm256_xor_si256(x, key[i]);
      products[i] = _mm256_add_epi64(products[i], _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32)));
      words[i] = _mm256_add_epi64(words[i], x);
      key[i] = _mm256_add_epi64(key[i], _mm256_set1_epi64x(static_cast<long long>(step)));
    }
  }
  LORA_INLINE void add_two(const unsigned char* stripes, std::uint64_t step) {
    add(stripes, step);
    add(stripes + 64, step);
  }
  LORA_INLINE void store(std::uint64_t* product_sums, std::uint64_t* word_sums) const {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(product_sums + 4 * i), products[i]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(word_sums + 4 * i), words[i]);
    }
  }
};

}  // namespace avx2
LORA_TARGET_END
LORA_TAGGED_END
#endif
