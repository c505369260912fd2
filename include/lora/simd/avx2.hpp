// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Groups of 16 lanes for AVX2. The interface is the one of simd/portable.hpp, which documents it.

#include "lora/simd/avx2_bytes.hpp"

#include "lora/core/scalar.hpp"

#if LORA_TARGETS_X86
#include <immintrin.h>

LORA_NAMESPACE_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace detail::avx2 {

struct FloatLanes {
  using Compute = float;
  struct F {
    __m256 a, b;
  };
  static constexpr int tile_rows = 4, tile_groups = 1, dot_rows = 1, dot_columns = 4;

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
  static LORA_INLINE F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static LORA_INLINE F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static LORA_INLINE float reduce(F x) {
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+x"(x.a), "+x"(x.b)); }
  static LORA_INLINE void compress(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
    compress_bytes(out, in, mask);
  }
};

template <class T>
struct Lanes;

template <>
struct Lanes<float> : FloatLanes {
  struct I {
    __m256i a, b;
  };
  static LORA_INLINE I load_bits(const float* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
  }
  static LORA_INLINE void store_bits(float* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
  }
  static LORA_INLINE F widen(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
  static LORA_INLINE I narrow(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
  static LORA_INLINE I ordered(I x) { return {ordered32(x.a), ordered32(x.b)}; }
  static LORA_INLINE I sum(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static LORA_INLINE unsigned escaped(I x) { return equal(x, _mm256_set1_epi32(-128)); }
  static LORA_INLINE unsigned nonfinite(I x) {
    const __m256i mask = _mm256_set1_epi32(0x7f800000);
    return equal({_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)}, mask);
  }
  static LORA_INLINE I largest(I a, I x) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    return {_mm256_max_epi32(a.a, _mm256_and_si256(x.a, magnitude)),
            _mm256_max_epi32(a.b, _mm256_and_si256(x.b, magnitude))};
  }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    const __m256i a = _mm256_sub_epi32(ordered32(x.a), ordered32(y.a));
    const __m256i b = _mm256_sub_epi32(ordered32(x.b), ordered32(y.b));
    // 8 + 8 words to 16 shorts, in the order 0-3, 8-11, 4-7, 12-15 of the two.
    return store_bytes(out, _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    const __m128i bytes = expand_bytes(in, mask);
    return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))};
  }

 private:
  static LORA_INLINE __m256i ordered32(__m256i x) {
    return _mm256_xor_si256(x, _mm256_srli_epi32(_mm256_srai_epi32(x, 31), 1));
  }
  static LORA_INLINE unsigned bits(__m256i a, __m256i b) {
    const int low = _mm256_movemask_ps(_mm256_castsi256_ps(a)), high = _mm256_movemask_ps(_mm256_castsi256_ps(b));
    return static_cast<unsigned>(low) | (static_cast<unsigned>(high) << 8);
  }
  static LORA_INLINE unsigned equal(I x, __m256i y) {
    return bits(_mm256_cmpeq_epi32(x.a, y), _mm256_cmpeq_epi32(x.b, y));
  }
};

/// 16-bit patterns: half and bfloat16.
struct Patterns16 : FloatLanes {
  using I = __m256i;
  static LORA_INLINE I ordered(I x) { return _mm256_xor_si256(x, _mm256_srli_epi16(_mm256_srai_epi16(x, 15), 1)); }
  static LORA_INLINE I sum(I a, I b) { return _mm256_add_epi16(a, b); }
  static LORA_INLINE unsigned escaped(I x) { return equal(x, _mm256_set1_epi16(-128)); }
  static LORA_INLINE I largest(I a, I x) { return _mm256_max_epi16(a, _mm256_and_si256(x, _mm256_set1_epi16(0x7fff))); }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    return store_bytes(out, _mm256_sub_epi16(ordered(x), ordered(y)));
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    return _mm256_cvtepi8_epi16(expand_bytes(in, mask));
  }

 protected:
  static LORA_INLINE unsigned equal(I x, I y) {
    const I same = _mm256_cmpeq_epi16(x, y);
    return static_cast<unsigned>(
        _mm_movemask_epi8(_mm_packs_epi16(_mm256_castsi256_si128(same), _mm256_extracti128_si256(same, 1))));
  }
  static LORA_INLINE unsigned all_ones(I x, short field) {
    const I mask = _mm256_set1_epi16(field);
    return equal(_mm256_and_si256(x, mask), mask);
  }
};

template <>
struct Lanes<Eigen::bfloat16> : Patterns16 {
  static LORA_INLINE I load_bits(const Eigen::bfloat16* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static LORA_INLINE void store_bits(Eigen::bfloat16* p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static LORA_INLINE F widen(I x) {
    return {high_half(_mm256_castsi256_si128(x)), high_half(_mm256_extracti128_si256(x, 1))};
  }
  static LORA_INLINE I narrow(F x) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded(x.a), rounded(x.b)), 0xd8);
  }
  static LORA_INLINE unsigned nonfinite(I x) { return all_ones(x, 0x7f80); }

 private:
  static LORA_INLINE __m256 high_half(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static LORA_INLINE __m256i rounded(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  }
};

template <>
struct Lanes<Eigen::half> : Patterns16 {
  static LORA_INLINE I load_bits(const Eigen::half* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static LORA_INLINE void store_bits(Eigen::half* p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static LORA_INLINE F widen(I x) {
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))};
  }
  static LORA_INLINE I narrow(F x) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT;
    return _mm256_set_m128i(_mm256_cvtps_ph(x.b, nearest), _mm256_cvtps_ph(x.a, nearest));
  }
  static LORA_INLINE unsigned nonfinite(I x) { return all_ones(x, 0x7c00); }
};

template <>
struct Lanes<double> {
  using Compute = double;
  struct F {
    __m256d v[4];
  };
  struct I {
    __m256i v[4];
  };
  static constexpr int tile_rows = 2, tile_groups = 1, dot_rows = 1, dot_columns = 2;

  static LORA_INLINE F zero() {
    const __m256d v = _mm256_setzero_pd();
    return {{v, v, v, v}};
  }
  static LORA_INLINE F broadcast(double x) {
    const __m256d v = _mm256_set1_pd(x);
    return {{v, v, v, v}};
  }
  static LORA_INLINE F load(const double* p) {
    return {{_mm256_load_pd(p), _mm256_load_pd(p + 4), _mm256_load_pd(p + 8), _mm256_load_pd(p + 12)}};
  }
  static LORA_INLINE void store(double* p, F x) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) _mm256_store_pd(p + 4 * i, x.v[i]);
  }
  static LORA_INLINE F fma(F x, F y, F z) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) z.v[i] = _mm256_fmadd_pd(x.v[i], y.v[i], z.v[i]);
    return z;
  }
  static LORA_INLINE F add(F x, F y) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = _mm256_add_pd(x.v[i], y.v[i]);
    return x;
  }
  static LORA_INLINE F sub(F x, F y) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = _mm256_sub_pd(x.v[i], y.v[i]);
    return x;
  }
  static LORA_INLINE double reduce(F x) {
    const __m256d four = _mm256_add_pd(_mm256_add_pd(x.v[0], x.v[2]), _mm256_add_pd(x.v[1], x.v[3]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+x"(x.v[0]), "+x"(x.v[1]), "+x"(x.v[2]), "+x"(x.v[3])); }
  static LORA_INLINE void compress(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
    compress_bytes(out, in, mask);
  }

  static LORA_INLINE I load_bits(const double* p) {
    I x;
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 4 * i));
    return x;
  }
  static LORA_INLINE void store_bits(double* p, I x) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 4 * i), x.v[i]);
  }
  static LORA_INLINE F widen(I x) {
    F out;
    LORA_UNROLL for (int i = 0; i < 4; ++i) out.v[i] = _mm256_castsi256_pd(x.v[i]);
    return out;
  }
  static LORA_INLINE I narrow(F x) {
    I out;
    LORA_UNROLL for (int i = 0; i < 4; ++i) out.v[i] = _mm256_castpd_si256(x.v[i]);
    return out;
  }
  static LORA_INLINE I ordered(I x) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const __m256i sign = _mm256_cmpgt_epi64(_mm256_setzero_si256(), x.v[i]);
      x.v[i] = _mm256_xor_si256(x.v[i], _mm256_srli_epi64(sign, 1));
    }
    return x;
  }
  static LORA_INLINE I sum(I x, I y) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = _mm256_add_epi64(x.v[i], y.v[i]);
    return x;
  }
  static LORA_INLINE unsigned escaped(I x) { return equal(x, _mm256_set1_epi64x(-128)); }
  static LORA_INLINE unsigned nonfinite(I x) {
    const __m256i mask = _mm256_set1_epi64x(0x7ff0000000000000);
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = _mm256_and_si256(x.v[i], mask);
    return equal(x, mask);
  }
  static LORA_INLINE I largest(I a, I x) {
    // The upper halves tell.
    const __m256i magnitude = _mm256_set1_epi64x(0x7fffffff00000000);
    LORA_UNROLL for (int i = 0; i < 4; ++i) a.v[i] = _mm256_max_epi32(a.v[i], _mm256_and_si256(x.v[i], magnitude));
    return a;
  }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    const I a = ordered(x), b = ordered(y);
    const __m256i low = _mm256_set1_epi64x(-127), high = _mm256_set1_epi64x(127);
    // The low byte of each lane, four at a time.
    const __m256i pick = _mm256_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 8, 0, -1, -1, -1, -1,
                                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 8, 0);
    alignas(16) std::uint8_t bytes[16];
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      __m256i d = _mm256_sub_epi64(a.v[i], b.v[i]);
      d = _mm256_blendv_epi8(d, high, _mm256_cmpgt_epi64(d, high));
      d = _mm256_blendv_epi8(d, _mm256_set1_epi64x(-128), _mm256_cmpgt_epi64(low, d));
      d = _mm256_shuffle_epi8(d, pick);
      const __m128i four = _mm_unpacklo_epi16(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
      const int word = _mm_cvtsi128_si32(four);
      __builtin_memcpy(bytes + 4 * i, &word, 4);
    }
    const __m128i all = _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), all);
    return masks_of(all);
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    __m128i bytes = expand_bytes(in, mask);
    I x;
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      x.v[i] = _mm256_cvtepi8_epi64(bytes);
      bytes = _mm_srli_si128(bytes, 4);
    }
    return x;
  }

 private:
  static LORA_INLINE unsigned bits(__m256i x) {
    return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(x)));
  }
  static LORA_INLINE unsigned equal(I x, __m256i y) {
    unsigned mask = 0;
    LORA_UNROLL for (int i = 0; i < 4; ++i) mask |= bits(_mm256_cmpeq_epi64(x.v[i], y)) << (4 * i);
    return mask;
  }
};

/// Eight 64-bit lanes of a checksum (exact/checksum.hpp has the definition).
struct ChecksumLanes {
  __m256i sum[2], key[2];

  LORA_INLINE void load(const std::uint64_t* sums, const std::uint64_t* keys) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      sum[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + 4 * i));
      key[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys + 4 * i));
    }
  }
  LORA_INLINE void store(std::uint64_t* sums, std::uint64_t* keys) const {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + 4 * i), sum[i]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(keys + 4 * i), key[i]);
    }
  }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    LORA_UNROLL for (int i = 0; i < 2; ++i) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stripe + 32 * i));
      const __m256i mixed = _mm256_xor_si256(x, key[i]);
      const __m256i product = _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32));
      sum[i] = _mm256_add_epi64(sum[i], _mm256_add_epi64(product, _mm256_shuffle_epi32(x, 0x4e)));
      key[i] = _mm256_add_epi64(key[i], _mm256_set1_epi64x(static_cast<long long>(step)));
    }
  }
};

}  // namespace detail::avx2
LORA_TARGET_END
LORA_NAMESPACE_END
#endif
