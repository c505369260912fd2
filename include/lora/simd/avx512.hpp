// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Groups of 16 lanes for AVX-512. The interface is the one of simd/portable.hpp, which documents it.

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

LORA_NAMESPACE_BEGIN
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512)
namespace detail::avx512 {

LORA_INLINE unsigned nonzero_words(const std::uint16_t* words) {
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  return _mm256_test_epi16_mask(all, all);
}

/// 16 distances in bytes, and their masks.
LORA_INLINE Difference store_bytes(std::uint8_t* out, __m128i bytes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
  const __m128i shifted = _mm_add_epi8(bytes, _mm_set1_epi8(126));  // -126 .. 126: 0 .. 252; beyond: 253 .. 255
  return {_mm_test_epi8_mask(bytes, bytes), _mm_cmpgt_epu8_mask(shifted, _mm_set1_epi8(-4))};
}

/// Writes the bytes of `in` whose mask bit is set one after the other; up to 16 bytes behind `out` are overwritten.
LORA_INLINE void compress_bytes(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
  const __m512i wide = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
  const __m512i packed = _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), wide);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(packed));
}

struct FloatLanes {
  using Compute = float;
  using F = __m512;
  using I = __m512i;
  static constexpr int tile_rows = 8, tile_groups = 2, dot_rows = 4, dot_columns = 4;

  static LORA_INLINE F zero() { return _mm512_setzero_ps(); }
  static LORA_INLINE F broadcast(float x) { return _mm512_set1_ps(x); }
  static LORA_INLINE F load(const float* p) { return _mm512_load_ps(p); }
  static LORA_INLINE void store(float* p, F x) { _mm512_store_ps(p, x); }
  static LORA_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static LORA_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static LORA_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static LORA_INLINE float reduce(F x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+v"(x)); }
  static LORA_INLINE void compress(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
    compress_bytes(out, in, mask);
  }
};

/// 32-bit patterns: float itself, and bfloat16 as the float it is the upper half of.
struct Patterns32 : FloatLanes {
  static LORA_INLINE I sum(I a, I b) { return _mm512_add_epi32(a, b); }
  static LORA_INLINE unsigned escaped(I x) { return _mm512_cmpeq_epi32_mask(x, _mm512_set1_epi32(-128)); }
  static LORA_INLINE I largest(I a, I x) {
    return _mm512_max_epi32(a, _mm512_and_si512(x, _mm512_set1_epi32(0x7fffffff)));
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    const __m512i packed = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
    return _mm512_maskz_expand_epi32(static_cast<__mmask16>(mask), packed);
  }

 protected:
  static LORA_INLINE Difference store_words(std::uint8_t* out, I x) {
    return store_bytes(out, _mm512_cvtsepi32_epi8(x));
  }
  static LORA_INLINE I ordered32(I x, int magnitude) {
    // x ^ (sign & magnitude)
    return _mm512_ternarylogic_epi32(x, _mm512_srai_epi32(x, 31), _mm512_set1_epi32(magnitude), 0x78);
  }
  static LORA_INLINE unsigned all_ones(I x, int field) {
    const I mask = _mm512_set1_epi32(field);
    return _mm512_cmpeq_epi32_mask(_mm512_and_si512(x, mask), mask);
  }
};

template <class T>
struct Lanes;

template <>
struct Lanes<float> : Patterns32 {
  static LORA_INLINE I load_bits(const float* p) { return _mm512_loadu_si512(p); }
  static LORA_INLINE void store_bits(float* p, I x) { _mm512_storeu_si512(p, x); }
  static LORA_INLINE F widen(I x) { return _mm512_castsi512_ps(x); }
  static LORA_INLINE I narrow(F x) { return _mm512_castps_si512(x); }
  static LORA_INLINE I ordered(I x) { return ordered32(x, 0x7fffffff); }
  static LORA_INLINE unsigned nonfinite(I x) { return all_ones(x, 0x7f800000); }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    return store_words(out, _mm512_sub_epi32(ordered(x), ordered(y)));
  }
};

template <>
struct Lanes<Eigen::bfloat16> : Patterns32 {
  static LORA_INLINE I load_bits(const Eigen::bfloat16* p) {
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16);
  }
  static LORA_INLINE void store_bits(Eigen::bfloat16* p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(x, 16)));
  }
  static LORA_INLINE F widen(I x) { return _mm512_castsi512_ps(x); }
  static LORA_INLINE I narrow(F x) {
    const I bits = _mm512_castps_si512(x);
    const I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const I rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_and_si512(rounded, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  }
  static LORA_INLINE I ordered(I x) { return ordered32(x, 0x7fff0000); }
  static LORA_INLINE unsigned escaped(I x) { return Patterns32::escaped(_mm512_srai_epi32(x, 16)); }
  static LORA_INLINE unsigned nonfinite(I x) { return all_ones(x, 0x7f800000); }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    return store_words(out, _mm512_srai_epi32(_mm512_sub_epi32(ordered(x), ordered(y)), 16));
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    return _mm512_slli_epi32(Patterns32::expand(in, mask), 16);
  }
};

template <>
struct Lanes<Eigen::half> : FloatLanes {
  using I = __m256i;  // 16-bit patterns, as the conversions take and give them
  static LORA_INLINE I load_bits(const Eigen::half* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static LORA_INLINE void store_bits(Eigen::half* p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x); }
  static LORA_INLINE F widen(I x) { return _mm512_cvtph_ps(x); }
  static LORA_INLINE I narrow(F x) { return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static LORA_INLINE I ordered(I x) {
    return _mm256_ternarylogic_epi32(x, _mm256_srai_epi16(x, 15), _mm256_set1_epi16(0x7fff), 0x78);
  }
  static LORA_INLINE I sum(I a, I b) { return _mm256_add_epi16(a, b); }
  static LORA_INLINE unsigned escaped(I x) { return _mm256_cmpeq_epi16_mask(x, _mm256_set1_epi16(-128)); }
  static LORA_INLINE I largest(I a, I x) { return _mm256_max_epi16(a, _mm256_and_si256(x, _mm256_set1_epi16(0x7fff))); }
  static LORA_INLINE unsigned nonfinite(I x) {
    const I mask = _mm256_set1_epi16(0x7c00);
    return _mm256_cmpeq_epi16_mask(_mm256_and_si256(x, mask), mask);
  }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    return store_bytes(out, _mm256_cvtsepi16_epi8(_mm256_sub_epi16(ordered(x), ordered(y))));
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    return _mm512_cvtepi32_epi16(Patterns32::expand(in, mask));
  }
};

template <>
struct Lanes<double> {
  using Compute = double;
  struct F {
    __m512d a, b;
  };
  struct I {
    __m512i a, b;
  };
  static constexpr int tile_rows = 8, tile_groups = 1, dot_rows = 2, dot_columns = 4;

  static LORA_INLINE F zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static LORA_INLINE F broadcast(double x) { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
  static LORA_INLINE F load(const double* p) { return {_mm512_load_pd(p), _mm512_load_pd(p + 8)}; }
  static LORA_INLINE void store(double* p, F x) {
    _mm512_store_pd(p, x.a);
    _mm512_store_pd(p + 8, x.b);
  }
  static LORA_INLINE F fma(F x, F y, F z) { return {_mm512_fmadd_pd(x.a, y.a, z.a), _mm512_fmadd_pd(x.b, y.b, z.b)}; }
  static LORA_INLINE F add(F x, F y) { return {_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)}; }
  static LORA_INLINE F sub(F x, F y) { return {_mm512_sub_pd(x.a, y.a), _mm512_sub_pd(x.b, y.b)}; }
  static LORA_INLINE double reduce(F x) {
    const __m512d eight = _mm512_add_pd(x.a, x.b);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+v"(x.a), "+v"(x.b)); }
  static LORA_INLINE void compress(std::uint8_t* out, const std::uint8_t* in, unsigned mask) {
    compress_bytes(out, in, mask);
  }

  static LORA_INLINE I load_bits(const double* p) { return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 8)}; }
  static LORA_INLINE void store_bits(double* p, I x) {
    _mm512_storeu_si512(p, x.a);
    _mm512_storeu_si512(p + 8, x.b);
  }
  static LORA_INLINE F widen(I x) { return {_mm512_castsi512_pd(x.a), _mm512_castsi512_pd(x.b)}; }
  static LORA_INLINE I narrow(F x) { return {_mm512_castpd_si512(x.a), _mm512_castpd_si512(x.b)}; }
  static LORA_INLINE I ordered(I x) { return {ordered64(x.a), ordered64(x.b)}; }
  static LORA_INLINE I sum(I x, I y) { return {_mm512_add_epi64(x.a, y.a), _mm512_add_epi64(x.b, y.b)}; }
  static LORA_INLINE unsigned escaped(I x) {
    const __m512i mark = _mm512_set1_epi64(-128);
    return both(_mm512_cmpeq_epi64_mask(x.a, mark), _mm512_cmpeq_epi64_mask(x.b, mark));
  }
  static LORA_INLINE unsigned nonfinite(I x) {
    const __m512i mask = _mm512_set1_epi64(0x7ff0000000000000);
    return both(_mm512_cmpeq_epi64_mask(_mm512_and_si512(x.a, mask), mask),
                _mm512_cmpeq_epi64_mask(_mm512_and_si512(x.b, mask), mask));
  }
  static LORA_INLINE I largest(I a, I x) {
    const __m512i magnitude = _mm512_set1_epi64(0x7fffffffffffffff);
    return {_mm512_max_epi64(a.a, _mm512_and_si512(x.a, magnitude)),
            _mm512_max_epi64(a.b, _mm512_and_si512(x.b, magnitude))};
  }
  static LORA_INLINE Difference difference(std::uint8_t* out, I x, I y) {
    const __m512i low = _mm512_sub_epi64(ordered64(x.a), ordered64(y.a));
    const __m512i high = _mm512_sub_epi64(ordered64(x.b), ordered64(y.b));
    return store_bytes(out, _mm_unpacklo_epi64(_mm512_cvtsepi64_epi8(low), _mm512_cvtsepi64_epi8(high)));
  }
  static LORA_INLINE I expand(const std::uint8_t* in, unsigned mask) {
    const __m512i wide = Patterns32::expand(in, mask);
    return {_mm512_cvtepi32_epi64(_mm512_castsi512_si256(wide)),
            _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(wide, 1))};
  }

 private:
  static LORA_INLINE unsigned both(unsigned low, unsigned high) { return low | (high << 8); }
  static LORA_INLINE __m512i ordered64(__m512i x) {
    return _mm512_ternarylogic_epi64(x, _mm512_srai_epi64(x, 63), _mm512_set1_epi64(0x7fffffffffffffff), 0x78);
  }
};

/// Eight 64-bit lanes of a checksum (exact/checksum.hpp has the definition).
struct ChecksumLanes {
  __m512i sum, key;

  LORA_INLINE void load(const std::uint64_t* sums, const std::uint64_t* keys) {
    sum = _mm512_loadu_si512(sums);
    key = _mm512_loadu_si512(keys);
  }
  LORA_INLINE void store(std::uint64_t* sums, std::uint64_t* keys) const {
    _mm512_storeu_si512(sums, sum);
    _mm512_storeu_si512(keys, key);
  }
  LORA_INLINE void add(const unsigned char* stripe, std::uint64_t step) {
    const __m512i x = _mm512_loadu_si512(stripe);
    const __m512i mixed = _mm512_xor_si512(x, key);
    const __m512i product = _mm512_mul_epu32(mixed, _mm512_srli_epi64(mixed, 32));
    sum = _mm512_add_epi64(sum, _mm512_add_epi64(product, _mm512_shuffle_epi32(x, _MM_PERM_BADC)));
    key = _mm512_add_epi64(key, _mm512_set1_epi64(static_cast<long long>(step)));
  }
};

}  // namespace detail::avx512
LORA_TARGET_END
LORA_NAMESPACE_END

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
