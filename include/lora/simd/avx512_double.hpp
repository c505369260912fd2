// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors of double for AVX-512. See simd/portable.hpp.

#include "lora/simd/avx512.hpp"

#if LORA_TARGETS_X86
// gcc 12 takes the undefined pass-through operand of its own intrinsics for an uninitialised variable.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

LORA_TAGGED_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512)
namespace avx512 {

template <>
struct Lanes<double> {
  using Compute = double;
  struct F {
    __m512d a, b;
  };
  static constexpr int part_lanes = 8, dot_rows = 4, dot_columns = 4, single_rows = 4;
  static constexpr int axpy_groups = 2, wide_rows = 8, wide_vectors = 1;

  static LORA_INLINE F zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static LORA_INLINE F broadcast(double x) { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
  static LORA_INLINE F load(const double* p) { return {_mm512_load_pd(p), _mm512_load_pd(p + 8)}; }
  static LORA_INLINE void store(double* p, F x) {
    _mm512_store_pd(p, x.a);
    _mm512_store_pd(p + 8, x.b);
  }
  static LORA_INLINE F fma(F x, F y, F z) { return {_mm512_fmadd_pd(x.a, y.a, z.a), _mm512_fmadd_pd(x.b, y.b, z.b)}; }
  static LORA_INLINE F fma(double x, F y, F z) { return fma(broadcast(x), y, z); }
  static LORA_INLINE F add(F x, F y) { return {_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)}; }
  static LORA_INLINE F mul(F x, F y) { return {_mm512_mul_pd(x.a, y.a), _mm512_mul_pd(x.b, y.b)}; }
  static LORA_INLINE F div(F x, F y) { return {_mm512_div_pd(x.a, y.a), _mm512_div_pd(x.b, y.b)}; }
  static LORA_INLINE void zip(F x, F y, F& low, F& high) {
    zip(x.a, y.a, low.a, low.b);
    zip(x.b, y.b, high.a, high.b);
  }
  static LORA_INLINE F canonical(F x) { return {canonical(x.a), canonical(x.b)}; }
  static LORA_INLINE F load_widened(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
  struct Part {
    using V = __m512d;
    static LORA_INLINE V zero() { return _mm512_setzero_pd(); }
    static LORA_INLINE V load(const double* p) { return _mm512_load_pd(p); }
    static LORA_INLINE V load_widened(const double* p) { return _mm512_loadu_pd(p); }
    static LORA_INLINE void store(double* p, V x) { _mm512_store_pd(p, x); }
    static LORA_INLINE V fma(V x, V y, V z) { return _mm512_fmadd_pd(x, y, z); }
  };
  static LORA_INLINE double reduce(F x) {
    const __m512d eight = _mm512_add_pd(x.a, x.b);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LORA_INLINE void reduce_four(double* out, F a, F b, F c, F d) {
    out[0] = reduce(a);
    out[1] = reduce(b);
    out[2] = reduce(c);
    out[3] = reduce(d);
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+v"(x.a), "+v"(x.b)); }

  struct Line {
    __m512i v[4];
  };
  struct Numbers {
    F a, b;
  };
  static constexpr int delta_rows = 4, lines_together = 1;
  static constexpr bool has_fused_tiles = true;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Line load_line(const double* p) {
    return {{_mm512_loadu_si512(p), _mm512_loadu_si512(p + 8), _mm512_loadu_si512(p + 16), _mm512_loadu_si512(p + 24)}};
  }
  static LORA_INLINE void store_line(double* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) _mm512_storeu_si512(p + 8 * i, x.v[i]);
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {{_mm512_castsi512_pd(x.v[0]), _mm512_castsi512_pd(x.v[1])},
            {_mm512_castsi512_pd(x.v[2]), _mm512_castsi512_pd(x.v[3])}};
  }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{_mm512_castpd_si512(x.a.a), _mm512_castpd_si512(x.a.b), _mm512_castpd_si512(x.b.a),
             _mm512_castpd_si512(x.b.b)}};
  }
  static LORA_INLINE Numbers add(Numbers x, Numbers y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, Numbers y) {
    return {{_mm512_sub_pd(x.a.a, y.a.a), _mm512_sub_pd(x.a.b, y.a.b)},
            {_mm512_sub_pd(x.b.a, y.b.a), _mm512_sub_pd(x.b.b, y.b.b)}};
  }
  static LORA_INLINE void barrier(Numbers& x) {
    barrier(x.a);
    barrier(x.b);
  }
  class Special {
   public:
    LORA_INLINE Special() : seen_{_mm512_setzero_pd(), _mm512_setzero_pd()}, zero_(seen_[0]) { asm("" : "+v"(zero_)); }
    LORA_INLINE void see(Line x) {
      // A finite number times 0 leaves 0, all others leave NaN.
      LORA_UNROLL for (int i = 0; i < 4; ++i)
        seen_[i % 2] = _mm512_fmadd_pd(_mm512_castsi512_pd(x.v[i]), zero_, seen_[i % 2]);
    }
    LORA_INLINE bool any() const {
      const __m512i seen = _mm512_castpd_si512(_mm512_or_pd(seen_[0], seen_[1]));
      return _mm512_test_epi64_mask(seen, _mm512_set1_epi64(0x7fffffffffffffff)) != 0;
    }

   private:
    __m512d seen_[2];
    // The compiler does not see that it is 0, and any() looks at bits: no flag can remove the question.
    __m512d zero_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      // Numbers of different signs are far beyond a byte, here too.
      const __m512i steps = _mm512_sub_epi64(x.v[i], y.v[i]);
      const __mmask8 negative = _mm512_movepi64_mask(x.v[i]);
      const __m512i distance = _mm512_mask_sub_epi64(steps, negative, _mm512_setzero_si512(), steps);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 8 * i), _mm512_cvtsepi64_epi8(distance));
    }
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const __m128i steps = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * i));
      x.v[i] = ordered(_mm512_add_epi64(ordered(x.v[i]), _mm512_cvtepi8_epi64(steps)));
    }
    return x;
  }

 private:
  static LORA_INLINE void zip(__m512d x, __m512d y, __m512d& low, __m512d& high) {
    low = _mm512_permutex2var_pd(x, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), y);
    high = _mm512_permutex2var_pd(x, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), y);
  }
  static LORA_INLINE __m512d canonical(__m512d x) {
    const __m512i nan = _mm512_set1_epi64(static_cast<long long>(ScalarTraits<double>::quiet_nan));
    const __m512i magnitude = _mm512_and_si512(_mm512_castpd_si512(x), _mm512_set1_epi64(0x7fffffffffffffff));
    const __mmask8 is_nan = _mm512_cmpgt_epi64_mask(magnitude, _mm512_set1_epi64(0x7ff0000000000000));
    return _mm512_mask_blend_pd(is_nan, x, _mm512_castsi512_pd(nan));
  }
  static LORA_INLINE __m512i ordered(__m512i x) {
    return _mm512_ternarylogic_epi64(x, _mm512_srai_epi64(x, 63), _mm512_set1_epi64(0x7fffffffffffffff), 0x78);
  }
};

}  // namespace avx512
LORA_TARGET_END
LORA_TAGGED_END

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
