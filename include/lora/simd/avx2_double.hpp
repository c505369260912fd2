// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors of double for AVX2. See simd/portable.hpp.

#include "lora/simd/avx2.hpp"

#if LORA_TARGETS_X86
LORA_TAGGED_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace avx2 {

template <>
struct Lanes<double> {
  using Compute = double;
  struct F {
    __m256d a, b, c, d;
  };
  static constexpr int part_lanes = 4, dot_rows = 4, dot_columns = 3, single_rows = 2;
  static constexpr int axpy_groups = 1, wide_rows = 2, wide_vectors = 1;

  static LORA_INLINE F zero() { return broadcast(0.0); }
  static LORA_INLINE F broadcast(double x) {
    const __m256d v = _mm256_set1_pd(x);
    return {v, v, v, v};
  }
  static LORA_INLINE F load(const double* p) {
    return {_mm256_load_pd(p), _mm256_load_pd(p + 4), _mm256_load_pd(p + 8), _mm256_load_pd(p + 12)};
  }
  static LORA_INLINE void store(double* p, F x) {
    _mm256_store_pd(p, x.a);
    _mm256_store_pd(p + 4, x.b);
    _mm256_store_pd(p + 8, x.c);
    _mm256_store_pd(p + 12, x.d);
  }
  static LORA_INLINE F fma(F x, F y, F z) {
    return {_mm256_fmadd_pd(x.a, y.a, z.a), _mm256_fmadd_pd(x.b, y.b, z.b), _mm256_fmadd_pd(x.c, y.c, z.c),
            _mm256_fmadd_pd(x.d, y.d, z.d)};
  }
  static LORA_INLINE F fma(double x, F y, F z) { return fma(broadcast(x), y, z); }
  static LORA_INLINE F mul(F x, F y) {
    return {_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b), _mm256_mul_pd(x.c, y.c), _mm256_mul_pd(x.d, y.d)};
  }
  static LORA_INLINE F div(F x, F y) {
    return {_mm256_div_pd(x.a, y.a), _mm256_div_pd(x.b, y.b), _mm256_div_pd(x.c, y.c), _mm256_div_pd(x.d, y.d)};
  }
  static LORA_INLINE F add(F x, F y) {
    return {_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b), _mm256_add_pd(x.c, y.c), _mm256_add_pd(x.d, y.d)};
  }
  static LORA_INLINE void zip(F x, F y, F& low, F& high) {
    zip(x.a, y.a, low.a, low.b);
    zip(x.b, y.b, low.c, low.d);
    zip(x.c, y.c, high.a, high.b);
    zip(x.d, y.d, high.c, high.d);
  }
  static LORA_INLINE F canonical(F x) { return {canonical(x.a), canonical(x.b), canonical(x.c), canonical(x.d)}; }
  static LORA_INLINE F load_widened(const double* p) {
    return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8), _mm256_loadu_pd(p + 12)};
  }
  struct Part {
    using V = __m256d;
    static LORA_INLINE V zero() { return _mm256_setzero_pd(); }
    static LORA_INLINE V load(const double* p) { return _mm256_load_pd(p); }
    static LORA_INLINE V load_widened(const double* p) { return _mm256_loadu_pd(p); }
    static LORA_INLINE void store(double* p, V x) { _mm256_store_pd(p, x); }
    static LORA_INLINE V fma(V x, V y, V z) { return _mm256_fmadd_pd(x, y, z); }
  };
  static LORA_INLINE double reduce(F x) {
    const __m256d four = _mm256_add_pd(_mm256_add_pd(x.a, x.c), _mm256_add_pd(x.b, x.d));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LORA_INLINE void reduce_four(double* out, F a, F b, F c, F d) {
    out[0] = reduce(a);
    out[1] = reduce(b);
    out[2] = reduce(c);
    out[3] = reduce(d);
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+x"(x.a), "+x"(x.b), "+x"(x.c), "+x"(x.d)); }

  struct Line {
    __m256i v[8];
  };
  struct Numbers {
    F a, b;
  };
  static constexpr int delta_rows = 1, lines_together = 1;
  static constexpr bool has_fused_tiles = true;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Line load_line(const double* p) {
    Line x;
    LORA_UNROLL for (int i = 0; i < 8; ++i) x.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 4 * i));
    return x;
  }
  static LORA_INLINE void store_line(double* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 8; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 4 * i), x.v[i]);
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {{_mm256_castsi256_pd(x.v[0]), _mm256_castsi256_pd(x.v[1]), _mm256_castsi256_pd(x.v[2]),
             _mm256_castsi256_pd(x.v[3])},
            {_mm256_castsi256_pd(x.v[4]), _mm256_castsi256_pd(x.v[5]), _mm256_castsi256_pd(x.v[6]),
             _mm256_castsi256_pd(x.v[7])}};
  }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{_mm256_castpd_si256(x.a.a), _mm256_castpd_si256(x.a.b), _mm256_castpd_si256(x.a.c),
             _mm256_castpd_si256(x.a.d), _mm256_castpd_si256(x.b.a), _mm256_castpd_si256(x.b.b),
             _mm256_castpd_si256(x.b.c), _mm256_castpd_si256(x.b.d)}};
  }
  static LORA_INLINE Numbers add(Numbers x, Numbers y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, Numbers y) { return {sub(x.a, y.a), sub(x.b, y.b)}; }
  static LORA_INLINE void barrier(Numbers& x) {
    barrier(x.a);
    barrier(x.b);
  }
  class Special {
   public:
    LORA_INLINE Special() : seen_(_mm256_setzero_pd()), zero_(seen_) { asm("" : "+x"(zero_)); }
    LORA_INLINE void see(Line x) {
      // A finite number times 0 leaves 0, all others leave NaN.
      LORA_UNROLL for (int i = 0; i < 8; ++i)
        seen_ = _mm256_fmadd_pd(_mm256_castsi256_pd(x.v[i]), zero_, seen_);
    }
    LORA_INLINE bool any() const {
      return _mm256_testz_si256(_mm256_castpd_si256(seen_), _mm256_set1_epi64x(0x7fffffffffffffff)) == 0;
    }

   private:
    __m256d seen_;
    // The compiler does not see that it is 0, and any() looks at bits: no flag can remove the question.
    __m256d zero_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    const __m256i least = _mm256_set1_epi64x(-128), largest = _mm256_set1_epi64x(127);
    // The low byte of each 64 bits, two from each 128.
    const __m256i pick = _mm256_setr_epi8(0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 8, -1, -1, -1,
                                          -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    LORA_UNROLL for (int i = 0; i < 8; ++i) {
      __m256i d = _mm256_sub_epi64(ordered(x.v[i]), ordered(y.v[i]));
      d = _mm256_blendv_epi8(d, largest, _mm256_cmpgt_epi64(d, largest));
      d = _mm256_blendv_epi8(d, least, _mm256_cmpgt_epi64(least, d));
      d = _mm256_shuffle_epi8(d, pick);
      const __m128i four = _mm_unpacklo_epi16(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
      const int word = _mm_cvtsi128_si32(four);
      __builtin_memcpy(out + 4 * i, &word, 4);
    }
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 8; ++i) {
      int word;
      __builtin_memcpy(&word, bytes + 4 * i, 4);
      x.v[i] = ordered(_mm256_add_epi64(ordered(x.v[i]), _mm256_cvtepi8_epi64(_mm_cvtsi32_si128(word))));
    }
    return x;
  }

 private:
  static LORA_INLINE void zip(__m256d x, __m256d y, __m256d& low, __m256d& high) {
    const __m256d even = _mm256_unpacklo_pd(x, y), odd = _mm256_unpackhi_pd(x, y);
    low = _mm256_permute2f128_pd(even, odd, 0x20);
    high = _mm256_permute2f128_pd(even, odd, 0x31);
  }
  static LORA_INLINE __m256d canonical(__m256d x) {
    const __m256i nan = _mm256_set1_epi64x(static_cast<long long>(ScalarTraits<double>::quiet_nan));
    const __m256i magnitude = _mm256_and_si256(_mm256_castpd_si256(x), _mm256_set1_epi64x(0x7fffffffffffffff));
    const __m256i is_nan = _mm256_cmpgt_epi64(magnitude, _mm256_set1_epi64x(0x7ff0000000000000));
    return _mm256_blendv_pd(x, _mm256_castsi256_pd(nan), _mm256_castsi256_pd(is_nan));
  }
  static LORA_INLINE F sub(F x, F y) {
    return {_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b), _mm256_sub_pd(x.c, y.c), _mm256_sub_pd(x.d, y.d)};
  }
  static LORA_INLINE __m256i ordered(__m256i x) {
    const __m256i sign = _mm256_cmpgt_epi64(_mm256_setzero_si256(), x);
    return _mm256_xor_si256(x, _mm256_srli_epi64(sign, 1));
  }
};

}  // namespace avx2
LORA_TARGET_END
LORA_TAGGED_END
#endif
