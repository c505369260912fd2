// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Sums of products of bfloat16 pairs by AVX512_BF16 (VDPBF16PS), of which one is that with a zero: the other is then
/// added by a fused multiply-add that flushes denormals, as docs/FORWARD-ORDER.md, "Pairs" wants it. What remains of the
/// zero is the sign of a sum that is zero, and NaN where the zero meets an infinity or NaN.

#include "lora/simd/avx512.hpp"
#include "lora/simd/fp_environment.hpp"

#if LORA_TARGETS_X86
#include <immintrin.h>

#include <cstdint>
#include <cstring>

// As in simd/avx512.hpp.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

LORA_TAGGED_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512)
namespace avx512 {

/// sum + both products of two words. (Assembly, since assemblers know it without a flag, and compilers do not.)
template <class F>
LORA_INLINE F dot_product(F a, F b, F sum) {
  asm("{vdpbf16ps %2, %1, %0|vdpbf16ps %0, %1, %2}" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}

/// Floats of 16 columns of X, and words of two bfloat16 numbers, whose lower half is the first.
struct SixteenColumns : Lanes<Eigen::bfloat16> {
  static constexpr int lanes = 16;

  static LORA_INLINE F word(int word) { return _mm512_castsi512_ps(_mm512_set1_epi32(word)); }
  /// The lanes that are zero or NaN.
  static LORA_INLINE unsigned zeros_and_nans(F x) {
    return static_cast<unsigned>(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_EQ_UQ));
  }
  static LORA_INLINE bool any_nan(F x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q) != 0; }
};

/// The same of 8, by the same names.
struct EightColumns {
  using F = __m256;
  static constexpr int lanes = 8;

  static LORA_INLINE F zero() { return _mm256_setzero_ps(); }
  static LORA_INLINE F load(const float* p) { return _mm256_load_ps(p); }
  static LORA_INLINE void store(float* p, F x) { _mm256_store_ps(p, x); }
  static LORA_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
  static LORA_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static LORA_INLINE F word(int word) { return _mm256_castsi256_ps(_mm256_set1_epi32(word)); }
  static LORA_INLINE F first(F words) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(words), 16)); }
  static LORA_INLINE F second(F words) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(words), _mm256_set1_epi32(-0x10000)));
  }
};

/// Whether bfloat16 numbers are zero, all of them.
template <class T>
LORA_NOINLINE bool are_zero(const T* numbers, Index count) {
  __m512i seen = _mm512_setzero_si512();
  for (; count >= 32; count -= 32, numbers += 32) seen = _mm512_or_si512(seen, _mm512_loadu_si512(numbers));
  T edge[32] = {};
  std::memcpy(static_cast<void*>(edge), numbers, static_cast<std::size_t>(count) * sizeof(T));
  seen = _mm512_or_si512(seen, _mm512_loadu_si512(edge));
  return _mm512_test_epi16_mask(seen, _mm512_set1_epi16(0x7fff)) == 0;
}

/// One of the two ways in which sums are continued by the product of W's number in one half of a word, the upper one or
/// not, and X's, whose other half is zero: by a dot product ...
struct ByDotProducts {
  static constexpr bool is_exact = false;
  template <class V, bool Upper>
  static LORA_INLINE typename V::F step(typename V::F w, typename V::F x, typename V::F sum) {
    return dot_product(w, x, sum);
  }
};

/// ... or by a multiply-add, under FlushedDenormals.
struct ByMultiplyAdds {
  static constexpr bool is_exact = true;
  template <class V, bool Upper>
  static LORA_INLINE typename V::F step(typename V::F w, typename V::F x, typename V::F sum) {
    return Upper ? V::fma(V::second(w), V::second(x), sum) : V::fma(V::first(w), V::first(x), sum);
  }
};

/// Whether the two agree, but for signs of zeros, in a few thousand products around the smallest normal number and the
/// largest, where processors could differ. Under FlushedDenormals.
LORA_NOINLINE inline bool dot_products_equal_multiply_adds() {
  using V = SixteenColumns;
  bool alike = true;
  std::uint64_t state = 1;
  for (int i = 0; i < 256; ++i) {
    alignas(64) std::uint32_t w[16], x[16], sum[16], by_dot[16], by_fma[16];
    const bool upper = i % 2 == 0, long_ones = i / 2 % 2 == 0, long_sums = i / 4 % 2 == 0, large = i / 8 % 2 == 0;
    for (int l = 0; l < 16; ++l) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const auto random = static_cast<std::uint32_t>(state >> 32);
      // Products from 2^-150 to 2^-117 and sums below 2^-122, or products from 2^122 to 2^130 and sums from 2^119 on, with many
      // digits or few; any number beside a zero.
      const std::uint32_t exponent = (large ? 160 : 30) + random % 64, digits = long_ones ? 0x7f : 1;
      const std::uint32_t both = large ? 376 + random / 64 % 8 : 104 + random / 64 % 32 + 30;
      const std::uint32_t of_w = (random >> 28 & 1) << 15 | exponent << 7 | (random >> 11 & digits);
      const std::uint32_t of_x = (both - exponent) << 7 | (random >> 18 & digits);
      const std::uint32_t other = random >> 3 & 0x3fff;
      w[l] = upper ? of_w << 16 | other : other << 16 | of_w;
      x[l] = upper ? of_x << 16 : of_x;
      sum[l] = (random >> 29 & 1) << 31 | ((large ? 246 : 0) + (random >> 25 & 7)) << 23 | (random & (long_sums ? 0x7fffff : 3));
    }
    V::F vectors[3];
    std::memcpy(&vectors[0], w, sizeof w);
    std::memcpy(&vectors[1], x, sizeof x);
    std::memcpy(&vectors[2], sum, sizeof sum);
    const V::F dot = dot_product(vectors[0], vectors[1], vectors[2]);
    const V::F fma = upper ? ByMultiplyAdds::step<V, true>(vectors[0], vectors[1], vectors[2])
                           : ByMultiplyAdds::step<V, false>(vectors[0], vectors[1], vectors[2]);
    std::memcpy(by_dot, &dot, sizeof by_dot);
    std::memcpy(by_fma, &fma, sizeof by_fma);
    for (int l = 0; l < 16; ++l) alike = alike && (by_dot[l] == by_fma[l] || ((by_dot[l] | by_fma[l]) & 0x7fffffffu) == 0);
  }
  return alike;
}

}  // namespace avx512
LORA_TARGET_END

/// Whether this machine has AVX512_BF16, and it rounds and flushes as it should: asked once.
inline bool machine_has_dot_products() {
  static const bool has = [] {
    bool exact = false;
    if (machine_isa() >= Isa::avx512_bf16 && machine_has_avx512_bf16())  // a virtual machine may show tiles alone
      with_fp_environment([&] { with_flushed_denormals([&] { exact = avx512::dot_products_equal_multiply_adds(); }); });
    return exact;
  }();
  return has;
}

LORA_TAGGED_END
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
