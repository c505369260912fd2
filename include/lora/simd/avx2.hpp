// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors for AVX2. The interface is the one of simd/portable.hpp, which documents it.

#include "lora/simd/isa.hpp"

#include "lora/core/scalar.hpp"

#if LORA_TARGETS_X86
#include <immintrin.h>

LORA_TAGGED_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace avx2 {

struct FloatLanes {
  using Compute = float;
  struct F {
    __m256 a, b;
  };
  static constexpr int part_lanes = 8, dot_rows = 4, dot_columns = 3, single_rows = 4;
  static constexpr int axpy_groups = 1, wide_rows = 4, wide_vectors = 1, pair_groups = 1;
  static constexpr int pair_columns = 6, pair_columns_at_once = 3;

  static LORA_INLINE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static LORA_INLINE F broadcast(float x) {
    const __m256 v = _mm256_set1_ps(x);
    return {v, v};
  }
  static LORA_INLINE F load(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
  static LORA_INLINE void store(float* p, F x) {
    _mm256_store_ps(p, x.a);
    _mm256_store_ps(p + 8, x.b);
  }
  static LORA_INLINE F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static LORA_INLINE F fma(float x, F y, F z) { return fma(broadcast(x), y, z); }
  static LORA_INLINE F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static LORA_INLINE F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static LORA_INLINE F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static LORA_INLINE void zip(F x, F y, F& low, F& high) {
    zip(x.a, y.a, low.a, low.b);
    zip(x.b, y.b, high.a, high.b);
  }
  static LORA_INLINE F canonical(F x) { return {canonical(x.a), canonical(x.b)}; }
  static LORA_INLINE float reduce(F x) {
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static LORA_INLINE void reduce_four(float* out, F a, F b, F c, F d) {
    // Each 64 bits hold what is left of one of the four, in the end its sum: a, c, b, d.
    const __m256 ab = halves(_mm256_add_ps(a.a, a.b), _mm256_add_ps(b.a, b.b));
    const __m256 cd = halves(_mm256_add_ps(c.a, c.b), _mm256_add_ps(d.a, d.b));
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 one = _mm256_add_ps(two, _mm256_permute_ps(two, 0xb1));
    const __m128 low = _mm256_castps256_ps128(one), high = _mm256_extractf128_ps(one, 1);  // a a c c, b b d d
    const __m128 mixed = _mm_shuffle_ps(low, high, 0x88);                                   // a c b d
    _mm_store_ps(out, _mm_shuffle_ps(mixed, mixed, 0xd8));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+x"(x.a), "+x"(x.b)); }

  struct Numbers {
    F a, b;
  };
  static constexpr int delta_rows = 2, lines_together = 1;
  static constexpr bool has_fused_tiles = true;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Numbers add(Numbers x, Numbers y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, Numbers y) {
    return {{_mm256_sub_ps(x.a.a, y.a.a), _mm256_sub_ps(x.a.b, y.a.b)},
            {_mm256_sub_ps(x.b.a, y.b.a), _mm256_sub_ps(x.b.b, y.b.b)}};
  }
  static LORA_INLINE void barrier(Numbers& x) {
    barrier(x.a);
    barrier(x.b);
  }

 private:
  static LORA_INLINE void zip(__m256 x, __m256 y, __m256& low, __m256& high) {
    const __m256 even = _mm256_unpacklo_ps(x, y), odd = _mm256_unpackhi_ps(x, y);
    low = _mm256_permute2f128_ps(even, odd, 0x20);
    high = _mm256_permute2f128_ps(even, odd, 0x31);
  }
  static LORA_INLINE __m256 canonical(__m256 x) {
    const __m256i nan = _mm256_set1_epi32(static_cast<int>(ScalarTraits<float>::quiet_nan));
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
    const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f800000));
    return _mm256_blendv_ps(x, _mm256_castsi256_ps(nan), _mm256_castsi256_ps(is_nan));
  }
  /// The upper half of each added to its lower one: x's in the lower 128 bits, y's in the upper.
  static LORA_INLINE __m256 halves(__m256 x, __m256 y) {
    return _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
  }
};

template <class T>
struct Lanes;

/// Eight lanes of a float type.
struct FloatPart {
  using V = __m256;
  static LORA_INLINE V zero() { return _mm256_setzero_ps(); }
  static LORA_INLINE V load(const float* p) { return _mm256_load_ps(p); }
  static LORA_INLINE void store(float* p, V x) { _mm256_store_ps(p, x); }
  static LORA_INLINE V fma(V x, V y, V z) { return _mm256_fmadd_ps(x, y, z); }
};

template <>
struct Lanes<float> : FloatLanes {
  struct Part : FloatPart {
    static LORA_INLINE V load_widened(const float* p) { return _mm256_loadu_ps(p); }
  };
  struct Line {
    __m256i v[4];
  };
  static LORA_INLINE F load_widened(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static LORA_INLINE Line load_line(const float* p) {
    Line x;
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8 * i));
    return x;
  }
  static LORA_INLINE void store_line(float* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8 * i), x.v[i]);
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {{_mm256_castsi256_ps(x.v[0]), _mm256_castsi256_ps(x.v[1])},
            {_mm256_castsi256_ps(x.v[2]), _mm256_castsi256_ps(x.v[3])}};
  }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{_mm256_castps_si256(x.a.a), _mm256_castps_si256(x.a.b), _mm256_castps_si256(x.b.a),
             _mm256_castps_si256(x.b.b)}};
  }
  class Special {
   public:
    LORA_INLINE Special() : seen_(_mm256_setzero_ps()), zero_(seen_) { asm("" : "+x"(zero_)); }
    LORA_INLINE void see(Line x) {
      // A finite number times 0 leaves 0, all others leave NaN.
      LORA_UNROLL for (int i = 0; i < 4; ++i)
        seen_ = _mm256_fmadd_ps(_mm256_castsi256_ps(x.v[i]), zero_, seen_);
    }
    LORA_INLINE bool any() const {
      return _mm256_testz_si256(_mm256_castps_si256(seen_), _mm256_set1_epi32(0x7fffffff)) == 0;
    }

   private:
    __m256 seen_;
    // The compiler does not see that it is 0, and any() looks at bits: no flag can remove the question.
    __m256 zero_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    __m256i d[4];
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      // Numbers of different signs are far beyond a byte, here too.
      const __m256i steps = _mm256_sub_epi32(x.v[i], y.v[i]);
      d[i] = _mm256_sign_epi32(steps, _mm256_or_si256(x.v[i], _mm256_set1_epi32(1)));
    }
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(d[0], d[1]), _mm256_packs_epi32(d[2], d[3]));
    // Each 128 bits hold four positions of each of the four vectors.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(bytes, order));
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const __m128i steps = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * i));
      x.v[i] = ordered(_mm256_add_epi32(ordered(x.v[i]), _mm256_cvtepi8_epi32(steps)));
    }
    return x;
  }

 private:
  static LORA_INLINE __m256i ordered(__m256i x) {
    return _mm256_xor_si256(x, _mm256_srli_epi32(_mm256_srai_epi32(x, 31), 1));
  }
};

/// 16-bit patterns in the order of positions: half and bfloat16. `Infinity` is a pattern.
template <class T, int Infinity>
struct ShortLanes : FloatLanes {
  struct Line {
    __m256i v[2];
  };
  static LORA_INLINE Line load_line(const T* p) {
    const auto* words = reinterpret_cast<const __m256i*>(p);
    return {{_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)}};
  }
  static LORA_INLINE void store_line(T* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p) + i, x.v[i]);
  }
  class Special {
   public:
    LORA_INLINE Special() : largest_(_mm256_setzero_si256()) {}
    LORA_INLINE void see(Line x) {
      LORA_UNROLL for (int i = 0; i < 2; ++i)
        largest_ = _mm256_max_epi16(largest_, _mm256_and_si256(x.v[i], _mm256_set1_epi16(0x7fff)));
    }
    LORA_INLINE bool any() const {
      return _mm256_movemask_epi8(_mm256_cmpgt_epi16(largest_, _mm256_set1_epi16(Infinity - 1))) != 0;
    }

   private:
    __m256i largest_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    __m256i d[2];
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      // Numbers of different signs are far beyond a byte, here too.
      const __m256i steps = _mm256_sub_epi16(x.v[i], y.v[i]);
      d[i] = _mm256_sign_epi16(steps, _mm256_or_si256(x.v[i], _mm256_set1_epi16(1)));
    }
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(d[0], d[1]), 0xd8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      const __m128i steps = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * i));
      x.v[i] = ordered(_mm256_add_epi16(ordered(x.v[i]), _mm256_cvtepi8_epi16(steps)));
    }
    return x;
  }

 private:
  static LORA_INLINE __m256i ordered(__m256i x) {
    return _mm256_xor_si256(x, _mm256_srli_epi16(_mm256_srai_epi16(x, 15), 1));
  }
};

/// Of each 16 words even positions come first, then odd ones: they are then floats but for a shift or a mask.
template <>
struct Lanes<Eigen::bfloat16> : ShortLanes<Eigen::bfloat16, 0x7f80> {
  static constexpr int position(int lane) { return lane / 16 * 16 + lane % 8 * 2 + lane % 16 / 8; }

  struct Part : FloatPart {
    static LORA_INLINE V load_widened(const Eigen::bfloat16* p) {
      const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
    }
  };
  static LORA_INLINE F load_widened(const Eigen::bfloat16* p) {
    return {Part::load_widened(p), Part::load_widened(p + 8)};
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {widen(x.v[0]), widen(x.v[1])};
  }
  static LORA_INLINE Line narrow(Numbers x) { return {{narrow(x.a), narrow(x.b)}}; }

  static constexpr bool flushes_by_processor = true;
  static constexpr int few_pair_columns = 2;
  static LORA_INLINE void transpose_pairs(const Eigen::bfloat16* lines, Index stride, float* out) {
    for (int half = 0; half < 2; ++half, lines += 8 * stride - 32, out += 8 - 256)
      for (int part = 0; part < 4; ++part, lines += 8, out += 64) {  // of four words
        const __m256i a = halves(lines, stride), b = halves(lines + stride, stride);
        const __m256i c = halves(lines + 2 * stride, stride), d = halves(lines + 3 * stride, stride);
        const __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
        const __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
        store_words(out, _mm256_unpacklo_epi64(ab0, cd0));
        store_words(out + 16, _mm256_unpackhi_epi64(ab0, cd0));
        store_words(out + 32, _mm256_unpacklo_epi64(ab1, cd1));
        store_words(out + 48, _mm256_unpackhi_epi64(ab1, cd1));
      }
  }
  static LORA_INLINE void load_pairs(const Eigen::bfloat16* lines, Index stride, F (&words)[16]) {
    alignas(32) float turned[256];  // more than there are registers
    transpose_pairs(lines, stride, turned);
    for (int i = 0; i < 16; ++i) words[i] = load(turned + 16 * i);
  }
  static LORA_INLINE F pairs(const Eigen::bfloat16* p, const Eigen::bfloat16* q) {
    const F low = load_widened(p), high = load_widened(q);
    return {_mm256_or_ps(_mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(low.a), 16)), high.a),
            _mm256_or_ps(_mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(low.b), 16)), high.b)};
  }
  static LORA_INLINE F first(F words) {
    return {widen(_mm256_castps_si256(words.a)).a, widen(_mm256_castps_si256(words.b)).a};
  }
  static LORA_INLINE F second(F words) {
    return {widen(_mm256_castps_si256(words.a)).b, widen(_mm256_castps_si256(words.b)).b};
  }
  static LORA_INLINE F operand(F x) { return x; }
  static LORA_INLINE F pair_fma(F x, F y, F z) { return fma(x, y, z); }
  static LORA_INLINE F pair_add(F x, F y) { return add(x, y); }

 private:
  /// Four words of a line and of the fourth one after it.
  static LORA_INLINE __m256i halves(const Eigen::bfloat16* p, Index stride) {
    return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(p + 4 * stride), reinterpret_cast<const __m128i*>(p));
  }
  static LORA_INLINE void store_words(float* p, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), x); }
  static LORA_INLINE F widen(__m256i x) {
    const __m256i odd = _mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), _mm256_castsi256_ps(odd)};
  }
  static LORA_INLINE __m256i narrow(F x) {
    return _mm256_blend_epi16(_mm256_srli_epi32(rounded(x.a), 16), rounded(x.b), 0xaa);
  }
  /// The upper halves are what is rounded to nearest even; the lower ones are left over.
  static LORA_INLINE __m256i rounded(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  }
};

template <>
struct Lanes<Eigen::half> : ShortLanes<Eigen::half, 0x7c00> {
  struct Part : FloatPart {
    static LORA_INLINE V load_widened(const Eigen::half* p) {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
  };
  static LORA_INLINE F load_widened(const Eigen::half* p) {
    return {Part::load_widened(p), Part::load_widened(p + 8)};
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {widen(x.v[0]), widen(x.v[1])};
  }
  static LORA_INLINE Line narrow(Numbers x) { return {{narrow(x.a), narrow(x.b)}}; }

 private:
  static LORA_INLINE F widen(__m256i x) {
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))};
  }
  static LORA_INLINE __m256i narrow(F x) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT;
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, nearest), _mm256_cvtps_ph(x.a, nearest));
  }
};

}  // namespace avx2
LORA_TARGET_END
LORA_TAGGED_END
#endif
