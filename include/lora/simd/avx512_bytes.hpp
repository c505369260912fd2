// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Work on bytes for AVX-512, see simd/portable_bytes.hpp. What is done to tiles needs VBMI2, which the first processors with
/// AVX-512 do not have.

#include "lora/simd/isa.hpp"

#include <bit>
#include <cstdint>
#include <cstring>

#if LORA_TARGETS_X86
#include <immintrin.h>

// gcc 12 takes the undefined pass-through operand of its own intrinsics for an uninitialised variable.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

LORA_TAGGED_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512)
namespace avx512 {

LORA_INLINE bool any_extreme(const std::int8_t* bytes) {
  __m512i largest = _mm512_setzero_si512();
  LORA_UNROLL for (int i = 0; i < 4; ++i)
    largest = _mm512_max_epu8(largest, _mm512_abs_epi8(_mm512_loadu_si512(bytes + 64 * i)));
  return _mm512_cmpgt_epu8_mask(largest, _mm512_set1_epi8(126)) != 0;
}

/// Sums for every other stripe apart: an addition waits for the one before.
struct ChecksumLanes {
  __m512i products[2], words[2], key;

  LORA_INLINE explicit ChecksumLanes(const std::uint64_t* keys) : key(_mm512_loadu_si512(keys)) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) products[i] = words[i] = _mm512_setzero_si512();
  }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    add(0, stripe, key);
    key = next(key, step);
  }
  LORA_INLINE void add_two(const unsigned char* stripes, std::uint64_t step) {
    add(0, stripes, key);
    add(1, stripes + 64, next(key, step));
    key = next(key, 2 * step);
  }
  LORA_INLINE void store(std::uint64_t* product_sums, std::uint64_t* word_sums) const {
    _mm512_storeu_si512(product_sums, _mm512_add_epi64(products[0], products[1]));
    _mm512_storeu_si512(word_sums, _mm512_add_epi64(words[0], words[1]));
  }

 private:
  static LORA_INLINE __m512i next(__m512i from, std::uint64_t step) {
    return _mm512_add_epi64(from, _mm512_set1_epi64(static_cast<long long>(step)));
  }
  LORA_INLINE void add(int i, const unsigned char* stripe, __m512i with) {
    __m512i x = _mm512_loadu_si512(stripe);
    asm("" : "+v"(x));  // loaded once
    const __m512i mixed = _mm512_xor_si512(x, with);
    products[i] = _mm512_add_epi64(products[i], _mm512_mul_epu32(mixed, _mm512_srli_epi64(mixed, 32)));
    words[i] = _mm512_add_epi64(words[i], x);
  }
};

}  // namespace avx512
LORA_TARGET_END

LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512_VBMI2)
namespace avx512_vbmi2 {

struct TileBytes {
  static LORA_INLINE void masks(const std::int8_t* bytes, std::uint16_t* out) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const __m512i part = _mm512_loadu_si512(bytes + 64 * i);
      const std::uint64_t mask = _mm512_test_epi8_mask(part, part);
      std::memcpy(out + 4 * i, &mask, sizeof mask);
    }
  }
  static LORA_INLINE unsigned nonzero(const std::uint16_t* words) {
    const __m256i all = load_words(words);
    return _mm256_test_epi16_mask(all, all);
  }
  static LORA_INLINE unsigned char* compress(unsigned char* out, const std::int8_t* bytes, const std::uint16_t* masks) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const std::uint64_t mask = four_groups(masks, i);
      _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512(bytes + 64 * i)));
      out += std::popcount(mask);
    }
    return out;
  }
  static LORA_INLINE const unsigned char* expand(const unsigned char* in, const std::uint16_t* masks, std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const std::uint64_t mask = four_groups(masks, i);
      __m512i front = _mm512_loadu_si512(in);
      asm("" : "+v"(front));  // to expand out of memory takes some processors (Zen 4, Zen 5) several times as long
      _mm512_storeu_si512(bytes + 64 * i, _mm512_maskz_expand_epi8(mask, front));
      in += std::popcount(mask);
    }
    return in;
  }
  static LORA_INLINE unsigned char* compress_words(unsigned char* out, const std::uint16_t* words, unsigned mask) {
    const __m256i front = _mm256_maskz_compress_epi16(static_cast<__mmask16>(mask), load_words(words));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), front);
    return out + 2 * std::popcount(mask);
  }
  static LORA_INLINE const unsigned char* expand_words(const unsigned char* in, unsigned mask, std::uint16_t* words) {
    __m256i front = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
    asm("" : "+v"(front));  // as in expand()
    const __m256i back = _mm256_maskz_expand_epi16(static_cast<__mmask16>(mask), front);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), back);
    return in + 2 * std::popcount(mask);
  }
  static LORA_INLINE void extreme(const std::int8_t* bytes, std::uint16_t* out) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const __m512i magnitude = _mm512_abs_epi8(_mm512_loadu_si512(bytes + 64 * i));
      const std::uint64_t mask = _mm512_cmpgt_epu8_mask(magnitude, _mm512_set1_epi8(126));
      std::memcpy(out + 4 * i, &mask, sizeof mask);
    }
  }
  static LORA_INLINE bool any_escaped(const std::int8_t* bytes) {
    __m512i least = _mm512_setzero_si512();
    LORA_UNROLL for (int i = 0; i < 4; ++i) least = _mm512_min_epi8(least, _mm512_loadu_si512(bytes + 64 * i));
    return _mm512_cmpeq_epi8_mask(least, _mm512_set1_epi8(-128)) != 0;
  }

 private:
  static LORA_INLINE __m256i load_words(const std::uint16_t* words) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  }
  static LORA_INLINE std::uint64_t four_groups(const std::uint16_t* masks, int i) {
    std::uint64_t mask;
    std::memcpy(&mask, masks + 4 * i, sizeof mask);
    return mask;
  }
};

}  // namespace avx512_vbmi2
LORA_TARGET_END
LORA_TAGGED_END

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
