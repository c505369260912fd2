// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Vectors for 64-bit Arm (Advanced SIMD). The interface is the one of simd/portable.hpp, which documents it. Nothing
/// beyond Armv8.0 is used: its conversions of half round as the library's own (FpEnvironment clears FPCR's AHP), and what
/// FEAT_FP16 and FEAT_BF16 compute has other bits.

#include "lora/simd/isa.hpp"

#include "lora/core/scalar.hpp"
#include "lora/simd/neon_pairs.hpp"

#if LORA_TARGETS_NEON
#include <arm_neon.h>

LORA_TAGGED_BEGIN
namespace neon {

/// Four lanes of a float type.
struct FloatPart {
  using V = float32x4_t;
  static LORA_INLINE V zero() { return vdupq_n_f32(0.0f); }
  static LORA_INLINE V load(const float* p) { return vld1q_f32(p); }
  static LORA_INLINE void store(float* p, V x) { vst1q_f32(p, x); }
  static LORA_INLINE V fma(V x, V y, V z) { return vfmaq_f32(z, x, y); }
  /// By an element of a register: intrinsics would copy it to all lanes first.
  static LORA_INLINE V fma(float x, V y, V z) {
    asm("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(z) : "w"(y), "w"(x));
    return z;
  }
};

struct FloatLanes {
  using Compute = float;
  struct F {
    float32x4_t a, b, c, d;
  };
  static constexpr int part_lanes = 4, dot_rows = 4, dot_columns = 4, single_rows = 4;
  static constexpr int axpy_groups = 1, wide_rows = 6, wide_vectors = 1;

  static LORA_INLINE F zero() { return broadcast(0.0f); }
  static LORA_INLINE F broadcast(float x) {
    const float32x4_t v = vdupq_n_f32(x);
    return {v, v, v, v};
  }
  static LORA_INLINE F load(const float* p) {
    return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
  }
  static LORA_INLINE void store(float* p, F x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
  }
  static LORA_INLINE F fma(F x, F y, F z) {
    return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c), vfmaq_f32(z.d, x.d, y.d)};
  }
  static LORA_INLINE F fma(float x, F y, F z) {
    return {FloatPart::fma(x, y.a, z.a), FloatPart::fma(x, y.b, z.b), FloatPart::fma(x, y.c, z.c),
            FloatPart::fma(x, y.d, z.d)};
  }
  static LORA_INLINE F add(F x, F y) {
    return {vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
  }
  static LORA_INLINE F mul(F x, F y) {
    return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
  }
  static LORA_INLINE F div(F x, F y) {
    return {vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
  }
  static LORA_INLINE void zip(F x, F y, F& low, F& high) {
    low = {vzip1q_f32(x.a, y.a), vzip2q_f32(x.a, y.a), vzip1q_f32(x.b, y.b), vzip2q_f32(x.b, y.b)};
    high = {vzip1q_f32(x.c, y.c), vzip2q_f32(x.c, y.c), vzip1q_f32(x.d, y.d), vzip2q_f32(x.d, y.d)};
  }
  static LORA_INLINE F canonical(F x) { return {canonical(x.a), canonical(x.b), canonical(x.c), canonical(x.d)}; }
  static LORA_INLINE float reduce(F x) {
    const float32x4_t four = fold(x);
    return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
  }
  static LORA_INLINE void reduce_four(float* out, F a, F b, F c, F d) {
    // Each 64 bits hold what is left of one of the four.
    vst1q_f32(out, vpaddq_f32(halves(fold(a), fold(b)), halves(fold(c), fold(d))));
  }
  static LORA_INLINE void barrier(F& x) { asm("" : "+w"(x.a), "+w"(x.b), "+w"(x.c), "+w"(x.d)); }

  struct Numbers {
    F a, b;
  };
  static constexpr int delta_rows = 2, lines_together = 1;
  static constexpr bool has_fused_tiles = true;
  static constexpr int position(int lane) { return lane; }

  static LORA_INLINE Numbers add(Numbers x, Numbers y) { return {add(x.a, y.a), add(x.b, y.b)}; }
  static LORA_INLINE Numbers sub(Numbers x, Numbers y) { return {sub(x.a, y.a), sub(x.b, y.b)}; }
  static LORA_INLINE void barrier(Numbers& x) {
    barrier(x.a);
    barrier(x.b);
  }

 private:
  static LORA_INLINE F sub(F x, F y) {
    return {vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
  }
  static LORA_INLINE float32x4_t canonical(float32x4_t x) {
    const uint32x4_t magnitude = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x7fffffffu));
    const uint32x4_t is_nan = vcgtq_u32(magnitude, vdupq_n_u32(0x7f800000u));
    return vbslq_f32(is_nan, vreinterpretq_f32_u32(vdupq_n_u32(ScalarTraits<float>::quiet_nan)), x);
  }
  static LORA_INLINE float32x4_t fold(F x) { return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)); }
  /// The upper half of each added to its lower one: x's in the lower 64 bits, y's in the upper.
  static LORA_INLINE float32x4_t halves(float32x4_t x, float32x4_t y) {
    const float64x2_t p = vreinterpretq_f64_f32(x), q = vreinterpretq_f64_f32(y);
    return vaddq_f32(vreinterpretq_f32_f64(vzip1q_f64(p, q)), vreinterpretq_f32_f64(vzip2q_f64(p, q)));
  }
};

// Patterns are loaded and stored as bytes, which may be of any type.
template <class T>
LORA_INLINE uint8x16_t load_bytes(const T* p) {
  return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p));
}
template <class T>
LORA_INLINE uint16x4_t load_four_words(const T* p) {
  return vreinterpret_u16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p)));
}
template <class T>
LORA_INLINE void store_bytes(T* p, uint8x16_t x) {
  vst1q_u8(reinterpret_cast<std::uint8_t*>(p), x);
}

template <class T>
struct Lanes;

template <>
struct Lanes<float> : FloatLanes {
  struct Part : FloatPart {
    static LORA_INLINE V load_widened(const float* p) { return vld1q_f32(p); }
  };
  struct Line {
    int32x4_t v[8];
  };
  static LORA_INLINE F load_widened(const float* p) { return load(p); }
  static LORA_INLINE Line load_line(const float* p) {
    Line x;
    LORA_UNROLL for (int i = 0; i < 8; ++i) x.v[i] = vreinterpretq_s32_u8(load_bytes(p + 4 * i));
    return x;
  }
  static LORA_INLINE void store_line(float* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 8; ++i) store_bytes(p + 4 * i, vreinterpretq_u8_s32(x.v[i]));
  }
  static LORA_INLINE Numbers widen(Line x) {
    return {{number(x.v[0]), number(x.v[1]), number(x.v[2]), number(x.v[3])},
            {number(x.v[4]), number(x.v[5]), number(x.v[6]), number(x.v[7])}};
  }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{bits(x.a.a), bits(x.a.b), bits(x.a.c), bits(x.a.d), bits(x.b.a), bits(x.b.b), bits(x.b.c), bits(x.b.d)}};
  }
  class Special {
   public:
    LORA_INLINE Special() : seen_{FloatPart::zero(), FloatPart::zero()}, zero_(seen_[0]) { asm("" : "+w"(zero_)); }
    LORA_INLINE void see(Line x) {
      // A finite number times 0 leaves 0, all others leave NaN.
      LORA_UNROLL for (int i = 0; i < 8; ++i) seen_[i % 2] = vfmaq_f32(seen_[i % 2], number(x.v[i]), zero_);
    }
    LORA_INLINE bool any() const {
      const int32x4_t both = vorrq_s32(bits(seen_[0]), bits(seen_[1]));
      return vmaxvq_u32(vreinterpretq_u32_s32(vandq_s32(both, vdupq_n_s32(0x7fffffff)))) != 0;
    }

   private:
    float32x4_t seen_[2];
    // The compiler does not see that it is 0, and any() looks at bits: no flag can remove the question.
    float32x4_t zero_;
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    int16x8_t d[4];
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const int16x4_t low = vqmovn_s32(distance(x.v[2 * i], y.v[2 * i]));
      d[i] = vqmovn_high_s32(low, distance(x.v[2 * i + 1], y.v[2 * i + 1]));
    }
    LORA_UNROLL for (int i = 0; i < 2; ++i)
      vst1q_s8(out + 16 * i, vqmovn_high_s16(vqmovn_s16(d[2 * i]), d[2 * i + 1]));
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) {
      const int16x8_t steps = vmovl_s8(vld1_s8(bytes + 8 * i));
      x.v[2 * i] = ordered(vaddw_s16(ordered(x.v[2 * i]), vget_low_s16(steps)));
      x.v[2 * i + 1] = ordered(vaddw_high_s16(ordered(x.v[2 * i + 1]), steps));
    }
    return x;
  }

 private:
  static LORA_INLINE float32x4_t number(int32x4_t x) { return vreinterpretq_f32_s32(x); }
  static LORA_INLINE int32x4_t bits(float32x4_t x) { return vreinterpretq_s32_f32(x); }
  /// Numbers of different signs are far beyond a byte, here too.
  static LORA_INLINE int32x4_t distance(int32x4_t x, int32x4_t y) {
    const int32x4_t steps = vsubq_s32(x, y), sign = vshrq_n_s32(x, 31);
    return vsubq_s32(veorq_s32(steps, sign), sign);
  }
  static LORA_INLINE int32x4_t ordered(int32x4_t x) {
    return veorq_s32(x, vandq_s32(vshrq_n_s32(x, 31), vdupq_n_s32(0x7fffffff)));
  }
};

/// 16-bit patterns in the order of positions: half and bfloat16. `Infinity` is a pattern.
template <class T, int Infinity>
struct ShortLanes : FloatLanes {
  struct Line {
    int16x8_t v[4];
  };
  static LORA_INLINE Line load_line(const T* p) {
    Line x;
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = vreinterpretq_s16_u8(load_bytes(p + 8 * i));
    return x;
  }
  static LORA_INLINE void store_line(T* p, Line x) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) store_bytes(p + 8 * i, vreinterpretq_u8_s16(x.v[i]));
  }
  class Special {
   public:
    LORA_INLINE Special() : largest_(vdupq_n_u16(0)) {}
    LORA_INLINE void see(Line x) {
      LORA_UNROLL for (int i = 0; i < 4; ++i)
        largest_ = vmaxq_u16(largest_, vshlq_n_u16(vreinterpretq_u16_s16(x.v[i]), 1));
    }
    LORA_INLINE bool any() const { return vmaxvq_u16(largest_) >= 2 * Infinity; }

   private:
    uint16x8_t largest_;  ///< of magnitudes, doubled
  };
  static LORA_INLINE void distances(std::int8_t* out, Line x, Line y) {
    LORA_UNROLL for (int i = 0; i < 2; ++i)
      vst1q_s8(out + 16 * i, vqmovn_high_s16(vqmovn_s16(distance(x.v[2 * i], y.v[2 * i])),
                                             distance(x.v[2 * i + 1], y.v[2 * i + 1])));
  }
  static LORA_INLINE Line moved(Line x, const std::int8_t* bytes) {
    LORA_UNROLL for (int i = 0; i < 4; ++i) x.v[i] = ordered(vaddw_s8(ordered(x.v[i]), vld1_s8(bytes + 8 * i)));
    return x;
  }

 private:
  /// Numbers of different signs are far beyond a byte, here too.
  static LORA_INLINE int16x8_t distance(int16x8_t x, int16x8_t y) {
    const int16x8_t steps = vsubq_s16(x, y), sign = vshrq_n_s16(x, 15);
    return vsubq_s16(veorq_s16(steps, sign), sign);
  }
  static LORA_INLINE int16x8_t ordered(int16x8_t x) {
    return veorq_s16(x, vandq_s16(vshrq_n_s16(x, 15), vdupq_n_s16(0x7fff)));
  }
};

template <>
struct Lanes<Eigen::bfloat16> : PairLanes<ShortLanes<Eigen::bfloat16, 0x7f80>> {
  struct Part : FloatPart {
    static LORA_INLINE V load_widened(const Eigen::bfloat16* p) { return number(vshll_n_u16(load_four_words(p), 16)); }
  };
  static LORA_INLINE F load_widened(const Eigen::bfloat16* p) {
    return widen(vreinterpretq_s16_u8(load_bytes(p)), vreinterpretq_s16_u8(load_bytes(p + 8)));
  }
  static LORA_INLINE Numbers widen(Line x) { return {widen(x.v[0], x.v[1]), widen(x.v[2], x.v[3])}; }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{narrow(x.a.a, x.a.b), narrow(x.a.c, x.a.d), narrow(x.b.a, x.b.b), narrow(x.b.c, x.b.d)}};
  }

 private:
  static LORA_INLINE float32x4_t number(uint32x4_t x) { return vreinterpretq_f32_u32(x); }
  static LORA_INLINE F widen(int16x8_t x, int16x8_t y) {
    const uint16x8_t p = vreinterpretq_u16_s16(x), q = vreinterpretq_u16_s16(y);
    return {number(vshll_n_u16(vget_low_u16(p), 16)), number(vshll_high_n_u16(p, 16)),
            number(vshll_n_u16(vget_low_u16(q), 16)), number(vshll_high_n_u16(q, 16))};
  }
  /// The upper halves of what is rounded to nearest even.
  static LORA_INLINE int16x8_t narrow(float32x4_t x, float32x4_t y) {
    const uint32x4_t almost_half = vdupq_n_u32(0x7fff);
    return vreinterpretq_s16_u16(vaddhn_high_u32(vaddhn_u32(evened(x), almost_half), evened(y), almost_half));
  }
  /// One more where the upper half is odd.
  static LORA_INLINE uint32x4_t evened(float32x4_t x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    return vsraq_n_u32(bits, vshlq_n_u32(bits, 15), 31);
  }
};

template <>
struct Lanes<Eigen::half> : ShortLanes<Eigen::half, 0x7c00> {
  struct Part : FloatPart {
    static LORA_INLINE V load_widened(const Eigen::half* p) {
      return vcvt_f32_f16(vreinterpret_f16_u16(load_four_words(p)));
    }
  };
  static LORA_INLINE F load_widened(const Eigen::half* p) {
    return widen(vreinterpretq_s16_u8(load_bytes(p)), vreinterpretq_s16_u8(load_bytes(p + 8)));
  }
  static LORA_INLINE Numbers widen(Line x) { return {widen(x.v[0], x.v[1]), widen(x.v[2], x.v[3])}; }
  static LORA_INLINE Line narrow(Numbers x) {
    return {{narrow(x.a.a, x.a.b), narrow(x.a.c, x.a.d), narrow(x.b.a, x.b.b), narrow(x.b.c, x.b.d)}};
  }

 private:
  static LORA_INLINE F widen(int16x8_t x, int16x8_t y) {
    const float16x8_t p = vreinterpretq_f16_s16(x), q = vreinterpretq_f16_s16(y);
    return {vcvt_f32_f16(vget_low_f16(p)), vcvt_high_f32_f16(p), vcvt_f32_f16(vget_low_f16(q)), vcvt_high_f32_f16(q)};
  }
  static LORA_INLINE int16x8_t narrow(float32x4_t x, float32x4_t y) {
    return vreinterpretq_s16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x), y));
  }
};

}  // namespace neon
LORA_TAGGED_END
#endif
