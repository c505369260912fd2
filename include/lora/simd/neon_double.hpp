// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors of double for 64-bit Arm. See simd/portable.hpp.

#include "lora/simd/neon.hpp"

#if LORA_TARGETS_NEON
LORA_TAGGED_BEGIN
namespace neon {

/// Two lanes.
struct DoublePart {
  using V = float64x2_t;
  static LORA_INLINE V zero() { return vdupq_n_f64(0.0); }
  static LORA_INLINE V load(const double* p) { return vld1q_f64(p); }
  static LORA_INLINE V load_widened(const double* p) { return vld1q_f64(p); }
  static LORA_INLINE void store(double* p, V x) { vst1q_f64(p, x); }
  static LORA_INLINE V fma(V x, V y, V z) { return vfmaq_f64(z, x, y); }
  /// As FloatPart's.
  static LORA_INLINE V fma(double x, V y, V z) {
    asm("fmla %0.2d, %1.2d, %2.d[0]" : "+w"(z) : "w"(y), "w"(x));
    return z;
  }
};

/// Eight lanes.
struct Doubles {
  float64x2_t a, b, c, d;

  static LORA_INLINE Doubles load(const double* p) {
    return {vld1q_f64(p), vld1q_f64(p + 2), vld1q_f64(p + 4), vld1q_f64(p + 6)};
  }
  LORA_INLINE void store(double* p) const {
    vst1q_f64(p, a);
    vst1q_f64(p + 2, b);
    vst1q_f64(p + 4, c);
    vst1q_f64(p + 6, d);
  }
  static LORA_INLINE Doubles fma(Doubles x, Doubles y, Doubles z) {
    return {vfmaq_f64(z.a, x.a, y.a), vfmaq_f64(z.b, x.b, y.b), vfmaq_f64(z.c, x.c, y.c), vfmaq_f64(z.d, x.d, y.d)};
  }
  static LORA_INLINE Doubles fma(double x, Doubles y, Doubles z) {
    return {DoublePart::fma(x, y.a, z.a), DoublePart::fma(x, y.b, z.b), DoublePart::fma(x, y.c, z.c),
            DoublePart::fma(x, y.d, z.d)};
  }
  static LORA_INLINE Doubles add(Doubles x, Doubles y) {
    return {vaddq_f64(x.a, y.a), vaddq_f64(x.b, y.b), vaddq_f64(x.c, y.c), vaddq_f64(x.d, y.d)};
  }
  static LORA_INLINE Doubles sub(Doubles x, Doubles y) {
    return {vsubq_f64(x.a, y.a), vsubq_f64(x.b, y.b), vsubq_f64(x.c, y.c), vsubq_f64(x.d, y.d)};
  }
  static LORA_INLINE Doubles mul(Doubles x, Doubles y) {
    return {vmulq_f64(x.a, y.a), vmulq_f64(x.b, y.b), vmulq_f64(x.c, y.c), vmulq_f64(x.d, y.d)};
  }
  static LORA_INLINE Doubles div(Doubles x, Doubles y) {
    return {vdivq_f64(x.a, y.a), vdivq_f64(x.b, y.b), vdivq_f64(x.c, y.c), vdivq_f64(x.d, y.d)};
  }
  /// The first halves of two, lane by lane by turns; and the second ones.
  static LORA_INLINE Doubles zip_low(Doubles x, Doubles y) {
    return {vzip1q_f64(x.a, y.a), vzip2q_f64(x.a, y.a), vzip1q_f64(x.b, y.b), vzip2q_f64(x.b, y.b)};
  }
  static LORA_INLINE Doubles zip_high(Doubles x, Doubles y) {
    return {vzip1q_f64(x.c, y.c), vzip2q_f64(x.c, y.c), vzip1q_f64(x.d, y.d), vzip2q_f64(x.d, y.d)};
  }
  LORA_INLINE Doubles canonical() const { return {canonical(a), canonical(b), canonical(c), canonical(d)}; }
  LORA_INLINE void barrier() { asm("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d)); }

 private:
  static LORA_INLINE float64x2_t canonical(float64x2_t x) {
    const uint64x2_t magnitude = vandq_u64(vreinterpretq_u64_f64(x), vdupq_n_u64(0x7fffffffffffffffu));
    const uint64x2_t is_nan = vcgtq_u64(magnitude, vdupq_n_u64(0x7ff0000000000000u));
    return vbslq_f64(is_nan, vreinterpretq_f64_u64(vdupq_n_u64(ScalarTraits<double>::quiet_nan)), x);
  }
};

template <>
struct Lanes<double> {
  using Compute = double;
  struct F {
    Doubles a, b;
  };
  using Part = DoublePart;
  static constexpr int part_lanes = 2, dot_rows = 4, dot_columns = 4, single_rows = 2;
  static constexpr int axpy_groups = 1, wide_rows = 2, wide_vectors = 1;

  static LORA_INLINE F zero() { return broadcast(0.0); }
  static LORA_INLINE F broadcast(double x) {
    const float64x2_t v = vdupq_n_f64(x);
    return {{v, v, v, v}, {v, v, v, v}};
  }
  static LORA_INLINE F load(const double* p) { return {Doubles::load(p), Doubles::load(p + 8)}; }
  static LORA_INLINE F load_widened(const double* p) { return load(p); }
  static LORA_INLINE void store(double* p, F x) {
    x.a.store(p);
    x.b.store(p + 8);
  }
  static LORA_INLINE F fma(F x, F y, F z) { return {Doubles::fma(x.a, y.a, z.a), Doubles::fma(x.b, y.b, z.b)}; }
  static LORA_INLINE F fma(double x, F y, F z) { return {Doubles::fma(x, y.a, z.a), Doubles::fma(x, y.b, z.b)}; }
  static LORA_INLINE F add(F x, F y) { return {Doubles::add(x.a, y.a), Doubles::add(x.b, y.b)}; }
  static LORA_INLINE F mul(F x, F y) { return {Doubles::mul(x.a, y.a), Doubles::mul(x.b, y.b)}; }
  static LORA_INLINE F div(F x, F y) { return {Doubles::div(x.a, y.a), Doubles::div(x.b, y.b)}; }
  static LORA_INLINE void zip(F x, F y, F& low, F& high) {
    low = {Doubles::zip_low(x.a, y.a), Doubles::zip_high(x.a, y.a)};
    high = {Doubles::zip_low(x.b, y.b), Doubles::zip_high(x.b, y.b)};
  }
  static LORA_INLINE F canonical(F x) { return {x.a.canonical(), x.b.canonical()}; }
  static LORA_INLINE double reduce(F x) { return vpaddd_f64(fold(x)); }
  static LORA_INLINE void reduce_four(double* out, F a, F b, F c, F d) {
    vst1q_f64(out, vpaddq_f64(fold(a), fold(b)));
    vst1q_f64(out + 2, vpaddq_f64(fold(c), fold(d)));
  }
  static LORA_INLINE void barrier(F& x) {
    x.a.barrier();
    x.b.barrier();
  }

  struct Line {
    int64x2_t v[16];
  };
  struct Numbers {
    F a, b;
  };
  static constexpr int delta_rows = 1, lines_together = 1;
  static constexpr bool has_fused_tiles = true;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Line load_line(const double* p) {
    Line x;
    LORA_UNROLL for (int i = 0; i < 16; ++i) x.v[i] = vreinterpretq_s64_u8(load_bytes(p + 2 * i));
    return x;
  }
  static LORA_INLINE void store_line(double* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 16; ++i) store_bytes(p + 2 * i, vreinterpretq_u8_s64(x.v[i]));
  }
  static LORA_INLINE Numbers widen(Line x) { return {{widen<0>(x), widen<4>(x)}, {widen<8>(x), widen<12>(x)}}; }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{bits(x.a.a.a), bits(x.a.a.b), bits(x.a.a.c), bits(x.a.a.d), bits(x.a.b.a), bits(x.a.b.b), bits(x.a.b.c),
             bits(x.a.b.d), bits(x.b.a.a), bits(x.b.a.b), bits(x.b.a.c), bits(x.b.a.d), bits(x.b.b.a), bits(x.b.b.b),
             bits(x.b.b.c), bits(x.b.b.d)}};
  }
  static LORA_INLINE Numbers add(Numbers x, Numbers y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, Numbers y) { return {sub(x.a, y.a), sub(x.b, y.b)}; }
  static LORA_INLINE void barrier(Numbers& x) {
    barrier(x.a);
    barrier(x.b);
  }
  class Special {
   public:
    LORA_INLINE Special() : seen_{DoublePart::zero(), DoublePart::zero()}, zero_(seen_[0]) { asm("" : "+w"(zero_)); }
    LORA_INLINE void see(Line x) {
      // A finite number times 0 leaves 0, all others leave NaN.
      LORA_UNROLL for (int i = 0; i < 16; ++i) seen_[i % 2] = vfmaq_f64(seen_[i % 2], number(x.v[i]), zero_);
    }
    LORA_INLINE bool any() const {
      const int64x2_t both = vorrq_s64(bits(seen_[0]), bits(seen_[1]));
      // All but the sign.
      return vmaxvq_u32(vreinterpretq_u32_s64(vshlq_n_s64(both, 1))) != 0;
    }

   private:
    float64x2_t seen_[2];
    // The compiler does not see that it is 0, and any() looks at bits: no flag can remove the question.
    float64x2_t zero_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    int16x8_t d[4];
    LORA_UNROLL for (int i = 0; i < 4; ++i)
      d[i] = vqmovn_high_s32(vqmovn_s32(distances(x, y, 4 * i)), distances(x, y, 4 * i + 2));
    LORA_UNROLL for (int i = 0; i < 2; ++i)
      vst1q_s8(out + 16 * i, vqmovn_high_s16(vqmovn_s16(d[2 * i]), d[2 * i + 1]));
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const int16x8_t eight = vmovl_s8(vld1_s8(bytes + 8 * i));
      const int32x4_t low = vmovl_s16(vget_low_s16(eight)), high = vmovl_high_s16(eight);
      x.v[4 * i] = ordered(vaddw_s32(ordered(x.v[4 * i]), vget_low_s32(low)));
      x.v[4 * i + 1] = ordered(vaddw_high_s32(ordered(x.v[4 * i + 1]), low));
      x.v[4 * i + 2] = ordered(vaddw_s32(ordered(x.v[4 * i + 2]), vget_low_s32(high)));
      x.v[4 * i + 3] = ordered(vaddw_high_s32(ordered(x.v[4 * i + 3]), high));
    }
    return x;
  }

 private:
  static LORA_INLINE float64x2_t number(int64x2_t x) { return vreinterpretq_f64_s64(x); }
  static LORA_INLINE int64x2_t bits(float64x2_t x) { return vreinterpretq_s64_f64(x); }
  template <int First>
  static LORA_INLINE Doubles widen(const Line& x) {
    return {number(x.v[First]), number(x.v[First + 1]), number(x.v[First + 2]), number(x.v[First + 3])};
  }
  static LORA_INLINE float64x2_t fold(F x) {
    const Doubles eight = Doubles::add(x.a, x.b);
    return vaddq_f64(vaddq_f64(eight.a, eight.c), vaddq_f64(eight.b, eight.d));
  }
  static LORA_INLINE F sub(F x, F y) { return {Doubles::sub(x.a, y.a), Doubles::sub(x.b, y.b)}; }
  /// Those of two vectors, saturated. Numbers of different signs are far beyond a byte, here too.
  static LORA_INLINE int32x4_t distances(const Line& x, const Line& y, int first) {
    return vqmovn_high_s64(vqmovn_s64(distance(x.v[first], y.v[first])), distance(x.v[first + 1], y.v[first + 1]));
  }
  static LORA_INLINE int64x2_t distance(int64x2_t x, int64x2_t y) {
    const int64x2_t steps = vsubq_s64(x, y), sign = vshrq_n_s64(x, 63);
    return vsubq_s64(veorq_s64(steps, sign), sign);
  }
  static LORA_INLINE int64x2_t ordered(int64x2_t x) {
    return veorq_s64(x, vandq_s64(vshrq_n_s64(x, 63), vdupq_n_s64(0x7fffffffffffffff)));
  }
};

}  // namespace neon
LORA_TAGGED_END
#endif
