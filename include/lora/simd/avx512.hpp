// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors for AVX-512. The interface is the one of simd/portable.hpp, which documents it.

#include "lora/simd/isa.hpp"

#include "lora/core/scalar.hpp"

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

struct FloatLanes {
  using Compute = float;
  using F = __m512;
  struct Part;
  static constexpr int part_lanes = 16, dot_rows = 4, dot_columns = 4, single_rows = 8;
  static constexpr int axpy_groups = 4, wide_rows = 8, wide_vectors = 2, pair_groups = 2;
  static constexpr int pair_columns = 8, pair_columns_at_once = 4;

  static LORA_INLINE F zero() { return _mm512_setzero_ps(); }
  static LORA_INLINE F broadcast(float x) { return _mm512_set1_ps(x); }
  static LORA_INLINE F load(const float* p) { return _mm512_load_ps(p); }
  static LORA_INLINE void store(float* p, F x) { _mm512_store_ps(p, x); }
  static LORA_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static LORA_INLINE F fma(float a, F b, F c) { return fma(broadcast(a), b, c); }
  static LORA_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static LORA_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static LORA_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static LORA_INLINE void zip(F a, F b, F& low, F& high) {
    low = _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
    high =
        _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
  }
  static LORA_INLINE F canonical(F x) {
    const __m512i nan = _mm512_set1_epi32(static_cast<int>(ScalarTraits<float>::quiet_nan));
    const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
    const __mmask16 is_nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
    return _mm512_mask_blend_ps(is_nan, x, _mm512_castsi512_ps(nan));
  }
  static LORA_INLINE float reduce(F x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static LORA_INLINE void reduce_four(float* out, F a, F b, F c, F d) {
    // Each 128 bits hold what is left of one of the four, in the end its sum.
    const F ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const F four = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const F two = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4e));
    const F one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xb1));
    const __m512i pick = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm_store_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(pick, one)));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+v"(x)); }

  struct Numbers {
    F a, b;
  };
  static constexpr int delta_rows = 8, lines_together = 2;
  static constexpr bool has_fused_tiles = true;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Numbers add(Numbers x, Numbers y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, Numbers y) { return {_mm512_sub_ps(x.a, y.a), _mm512_sub_ps(x.b, y.b)}; }
  static LORA_INLINE void barrier(Numbers& x) { asm("" : "+v"(x.a), "+v"(x.b)); }
};

template <class T>
struct Lanes;

template <>
struct Lanes<float> : FloatLanes {
  struct Line {
    __m512i a, b;
  };
  static LORA_INLINE F load_widened(const float* p) { return _mm512_loadu_ps(p); }
  static LORA_INLINE Line load_line(const float* p) { return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 16)}; }
  static LORA_INLINE void store_line(float* p, Line x) {
    _mm512_storeu_si512(p, x.a);
    _mm512_storeu_si512(p + 16, x.b);
  }
  static LORA_INLINE Numbers widen(Line x) { return {_mm512_castsi512_ps(x.a), _mm512_castsi512_ps(x.b)}; }
  static LORA_INLINE Line narrow(Numbers x) { return {_mm512_castps_si512(x.a), _mm512_castps_si512(x.b)}; }
  class Special {
   public:
    LORA_INLINE Special() : a_(_mm512_setzero_ps()), b_(a_), zero_(a_) { asm("" : "+v"(zero_)); }
    LORA_INLINE void see(Line x) {
      // A finite number times 0 leaves 0, all others leave NaN.
      a_ = _mm512_fmadd_ps(_mm512_castsi512_ps(x.a), zero_, a_);
      b_ = _mm512_fmadd_ps(_mm512_castsi512_ps(x.b), zero_, b_);
    }
    LORA_INLINE bool any() const {
      const __m512i seen = _mm512_castps_si512(_mm512_or_ps(a_, b_));
      return _mm512_test_epi32_mask(seen, _mm512_set1_epi32(0x7fffffff)) != 0;
    }

   private:
    F a_, b_;
    // The compiler does not see that it is 0, and any() looks at bits: no flag can remove the question.
    F zero_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x0, Line x1, Line y0, Line y1) {
    const __m512i first = _mm512_packs_epi32(distance(x0.a, y0.a), distance(x0.b, y0.b));
    const __m512i second = _mm512_packs_epi32(distance(x1.a, y1.a), distance(x1.b, y1.b));
    // Each 128 bits now hold four positions of the first line's halves, then of the second line's.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(first, second)));
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    return {moved(x.a, bytes), moved(x.b, bytes + 16)};
  }

 private:
  static LORA_INLINE __m512i moved(__m512i x, const std::int8_t* bytes) {
    const __m128i steps = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    return ordered(_mm512_add_epi32(ordered(x), _mm512_cvtepi8_epi32(steps)));
  }
  static LORA_INLINE __m512i ordered(__m512i x) {
    // x ^ (sign & magnitude)
    return _mm512_ternarylogic_epi32(x, _mm512_srai_epi32(x, 31), _mm512_set1_epi32(0x7fffffff), 0x78);
  }
  /// That of finite numbers of one sign; those of different signs are far beyond a byte, here too.
  static LORA_INLINE __m512i distance(__m512i x, __m512i y) {
    const __m512i steps = _mm512_sub_epi32(x, y);
    return _mm512_mask_sub_epi32(steps, _mm512_movepi32_mask(x), _mm512_setzero_si512(), steps);
  }
};

/// 16-bit patterns in the order of positions: half and bfloat16. `Infinity` is a pattern.
template <class T, int Infinity>
struct ShortLanes : FloatLanes {
  using Line = __m512i;
  static LORA_INLINE Line load_line(const T* p) { return _mm512_loadu_si512(p); }
  static LORA_INLINE void store_line(T* p, Line x) { _mm512_storeu_si512(p, x); }

  class Special {
   public:
    LORA_INLINE Special() : largest_(_mm512_setzero_si512()) {}
    LORA_INLINE void see(Line x) {
      largest_ = _mm512_max_epi16(largest_, _mm512_and_si512(x, _mm512_set1_epi16(0x7fff)));
    }
    LORA_INLINE bool any() const { return _mm512_cmpge_epi16_mask(largest_, _mm512_set1_epi16(Infinity)) != 0; }

   private:
    Line largest_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x0, Line x1, Line y0, Line y1) {
    const __m512i lines = _mm512_packs_epi16(distance(x0, y0), distance(x1, y1));
    // Each 128 bits now hold eight positions of the first line, then of the second.
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(order, lines));
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    const __m512i steps = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
    return ordered(_mm512_add_epi16(ordered(x), steps));
  }

 private:
  static LORA_INLINE __m512i ordered(__m512i x) {
    return _mm512_ternarylogic_epi32(x, _mm512_srai_epi16(x, 15), _mm512_set1_epi16(0x7fff), 0x78);
  }
  /// As that of Lanes<float>.
  static LORA_INLINE __m512i distance(__m512i x, __m512i y) {
    const __m512i steps = _mm512_sub_epi16(x, y);
    return _mm512_mask_sub_epi16(steps, _mm512_movepi16_mask(x), _mm512_setzero_si512(), steps);
  }
};

/// Even positions come first, then odd ones: a line's words are then floats but for a shift or a mask.
template <>
struct Lanes<Eigen::bfloat16> : ShortLanes<Eigen::bfloat16, 0x7f80> {
  static constexpr int position(int lane) { return lane % 16 * 2 + lane / 16; }

  static LORA_INLINE F load_widened(const Eigen::bfloat16* p) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)), _mm512_castsi512_ps(_mm512_and_si512(x, upper()))};
  }
  static LORA_INLINE Line narrow(Numbers x) {
    // (odd & upper) | (even >> 16)
    return _mm512_ternarylogic_epi32(rounded(x.b), upper(), _mm512_srli_epi32(rounded(x.a), 16), 0xea);
  }

  static constexpr bool flushes_by_processor = true;
  static LORA_INLINE void transpose_pairs(const Eigen::bfloat16* lines, Index stride, float* out) {
    LORA_UNROLL for (int part = 0; part < 4; ++part, lines += 8, out += 64) {  // of four words
      const __m512i a = quarters(lines, stride), b = quarters(lines + stride, stride);
      const __m512i c = quarters(lines + 2 * stride, stride), d = quarters(lines + 3 * stride, stride);
      const __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
      const __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
      _mm512_store_si512(out, _mm512_unpacklo_epi64(ab0, cd0));
      _mm512_store_si512(out + 16, _mm512_unpackhi_epi64(ab0, cd0));
      _mm512_store_si512(out + 32, _mm512_unpacklo_epi64(ab1, cd1));
      _mm512_store_si512(out + 48, _mm512_unpackhi_epi64(ab1, cd1));
    }
  }
  static constexpr int few_pair_columns = 4;
  static LORA_INLINE void load_pairs(const Eigen::bfloat16* lines, Index stride, F (&words)[16]) {
    LORA_UNROLL for (int half = 0; half < 2; ++half, lines += 16) {
      __m512i turned[2][4];  // of lines 0 to 7, and 8 to 15
      LORA_UNROLL for (int i = 0; i < 2; ++i) {
        const Eigen::bfloat16* const p = lines + 8 * i * stride;
        const __m512i a = halves(p, stride), b = halves(p + stride, stride);
        const __m512i c = halves(p + 2 * stride, stride), d = halves(p + 3 * stride, stride);
        const __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
        const __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
        turned[i][0] = _mm512_unpacklo_epi64(ab0, cd0);
        turned[i][1] = _mm512_unpackhi_epi64(ab0, cd0);
        turned[i][2] = _mm512_unpacklo_epi64(ab1, cd1);
        turned[i][3] = _mm512_unpackhi_epi64(ab1, cd1);
      }
      LORA_UNROLL for (int k = 0; k < 4; ++k) {
        const __m512i a = turned[0][k], b = turned[1][k];
        words[8 * half + k] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a, b, 0x88));
        words[8 * half + 4 + k] = _mm512_castsi512_ps(_mm512_shuffle_i32x4(a, b, 0xdd));
      }
    }
  }
  static LORA_INLINE F pairs(const Eigen::bfloat16* p, const Eigen::bfloat16* q) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_castps_si512(load_widened(q))));
  }
  static LORA_INLINE F first(F words) { return widen(_mm512_castps_si512(words)).a; }
  static LORA_INLINE F second(F words) { return widen(_mm512_castps_si512(words)).b; }
  static LORA_INLINE F operand(F x) { return x; }
  static LORA_INLINE F pair_fma(F a, F b, F c) { return fma(a, b, c); }
  static LORA_INLINE F pair_add(F a, F b) { return add(a, b); }

 private:
  /// Four words of each fourth line. (Loads that merge take no shuffle, and cross cache lines less often than longer ones.)
  static LORA_INLINE __m512i quarters(const Eigen::bfloat16* p, Index stride) {
    const auto load = [&](Index line) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + line * stride));
    };
    __m512i out = _mm512_castsi128_si512(load(0));
    out = _mm512_mask_broadcast_i32x4(out, 0x00f0, load(4));
    out = _mm512_mask_broadcast_i32x4(out, 0x0f00, load(8));
    return _mm512_mask_broadcast_i32x4(out, 0xf000, load(12));
  }
  /// Eight words of a line and of the fourth one below it.
  static LORA_INLINE __m512i halves(const Eigen::bfloat16* p, Index stride) {
    const auto load = [&](Index line) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + line * stride));
    };
    return _mm512_mask_broadcast_i64x4(_mm512_castsi256_si512(load(0)), 0xf0, load(4));
  }
  static LORA_INLINE __m512i upper() { return _mm512_set1_epi32(static_cast<int>(0xffff0000u)); }
  /// The upper halves are what is rounded to nearest even; the lower ones are left over.
  static LORA_INLINE __m512i rounded(F x) {
    const __m512i bits = _mm512_castps_si512(x), up = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    return _mm512_mask_add_epi32(up, _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000)), up,
                                 _mm512_set1_epi32(1));
  }
};

template <>
struct Lanes<Eigen::half> : ShortLanes<Eigen::half, 0x7c00> {
  static LORA_INLINE F load_widened(const Eigen::half* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {_mm512_cvtph_ps(_mm512_castsi512_si256(x)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1))};
  }
  static LORA_INLINE Line narrow(Numbers x) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_maskz_cvtps_ph(0xffff, x.a, nearest)),
                              _mm512_maskz_cvtps_ph(0xffff, x.b, nearest), 1);
  }
};

}  // namespace avx512
LORA_TARGET_END
LORA_TAGGED_END

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
