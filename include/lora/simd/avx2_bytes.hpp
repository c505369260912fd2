// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// 16 bytes or words at once for AVX2, which has no compress and expand: they are looked up in tables.

#include "lora/simd/isa.hpp"

#include <array>

#if LORA_TARGETS_X86
#include <immintrin.h>

LORA_NAMESPACE_BEGIN
namespace detail::avx2 {

/// For each 8-bit mask, the byte shuffles that move the marked bytes to the front, and back (0x80 writes a zero).
struct ShuffleTables {
  std::array<std::uint64_t, 256> compress{}, expand{};

  constexpr ShuffleTables() {
    for (unsigned mask = 0; mask < 256; ++mask) {
      std::uint64_t front = 0x8080808080808080u, back = 0x8080808080808080u;
      unsigned next = 0;
      for (unsigned bit = 0; bit < 8; ++bit) {
        if ((mask >> bit & 1u) == 0) continue;
        front = (front & ~(std::uint64_t{0xff} << (8 * next))) | (std::uint64_t{bit} << (8 * next));
        back = (back & ~(std::uint64_t{0xff} << (8 * bit))) | (std::uint64_t{next} << (8 * bit));
        ++next;
      }
      compress[mask] = front;
      expand[mask] = back;
    }
  }
};
inline constexpr ShuffleTables shuffle_tables;

}  // namespace detail::avx2

LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace detail::avx2 {

LORA_INLINE unsigned nonzero_words(const std::uint16_t* words) {
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  const __m256i zero = _mm256_cmpeq_epi16(all, _mm256_setzero_si256());
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(zero), _mm256_extracti128_si256(zero, 1));
  return ~static_cast<unsigned>(_mm_movemask_epi8(bytes)) & 0xffffu;
}

/// The masks of 16 distances in bytes.
LORA_INLINE Difference masks_of(__m128i bytes) {
  const __m128i shifted = _mm_add_epi8(bytes, _mm_set1_epi8(126));  // -126 .. 126: 0 .. 252; beyond: 253 .. 255
  const int zero = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
  const int extreme = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(shifted, _mm_set1_epi8(-3)), shifted));
  return {~static_cast<unsigned>(zero) & 0xffffu, static_cast<unsigned>(extreme)};
}

/// 16 distances, saturated to bytes.
LORA_INLINE Difference store_bytes(std::uint8_t* out, __m256i shorts) {
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
  return masks_of(bytes);
}

/// Writes the bytes of `in` whose mask bit is set one after the other; up to 16 bytes behind `out` are overwritten.
LORA_INLINE void compress_bytes(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
  const unsigned low = mask & 0xffu, high = mask >> 8;
  const __m128i front = _mm_shuffle_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in)),
                                         _mm_cvtsi64_si128(static_cast<long long>(shuffle_tables.compress[low])));
  const __m128i rest = _mm_shuffle_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + 8)),
                                        _mm_cvtsi64_si128(static_cast<long long>(shuffle_tables.compress[high])));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), front);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out + __builtin_popcount(low)), rest);
}

/// The inverse of compress_bytes, zeros where the mask has none; reads up to 16 bytes.
LORA_INLINE __m128i expand_bytes(const std::uint8_t* in, unsigned mask) {
  const unsigned low = mask & 0xffu, high = mask >> 8;
  const __m128i front = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in));
  const __m128i rest = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(in + __builtin_popcount(low)));
  return _mm_unpacklo_epi64(
      _mm_shuffle_epi8(front, _mm_cvtsi64_si128(static_cast<long long>(shuffle_tables.expand[low]))),
      _mm_shuffle_epi8(rest, _mm_cvtsi64_si128(static_cast<long long>(shuffle_tables.expand[high]))));
}

}  // namespace detail::avx2
LORA_TARGET_END
LORA_NAMESPACE_END
#endif
