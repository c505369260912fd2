// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What products of bfloat16 numbers ask of vectors (simd/portable.hpp), for 64-bit Arm: `Base` has 16 floats.

#include "lora/simd/isa.hpp"

#include "lora/core/scalar.hpp"

#if LORA_TARGETS_NEON
#include <arm_neon.h>

LORA_TAGGED_BEGIN
namespace neon {

template <class Base>
struct PairLanes : Base {
  using F = typename Base::F;
  static constexpr int pair_groups = 1, pair_columns = 3, pair_columns_at_once = 3;

  /// FPCR's FZ flushes what is tiny before rounding, which is more.
  static constexpr bool flushes_by_processor = false;
  static constexpr int few_pair_columns = 0;
  static LORA_INLINE void transpose_pairs(const Eigen::bfloat16* lines, Index stride, float* out) {
    for (int l = 0; l < 16; l += 4, lines += 4 * stride, out += 4)
      for (int i = 0; i < 16; i += 4) {  // four words of four lines
        const uint32x4_t a = words(lines + 2 * i), b = words(lines + stride + 2 * i);
        const uint32x4_t c = words(lines + 2 * stride + 2 * i), d = words(lines + 3 * stride + 2 * i);
        const uint32x4_t ab0 = vtrn1q_u32(a, b), ab1 = vtrn2q_u32(a, b), cd0 = vtrn1q_u32(c, d), cd1 = vtrn2q_u32(c, d);
        float* const to = out + 16 * i;
        vst1q_f32(to, low_halves(ab0, cd0));
        vst1q_f32(to + 16, low_halves(ab1, cd1));
        vst1q_f32(to + 32, high_halves(ab0, cd0));
        vst1q_f32(to + 48, high_halves(ab1, cd1));
      }
  }
  static LORA_INLINE F pairs(const Eigen::bfloat16* p, const Eigen::bfloat16* q) {
    const uint16x8_t a = numbers(p), b = numbers(p + 8), c = numbers(q), d = numbers(q + 8);
    return {vreinterpretq_f32_u16(vzip1q_u16(a, c)), vreinterpretq_f32_u16(vzip2q_u16(a, c)),
            vreinterpretq_f32_u16(vzip1q_u16(b, d)), vreinterpretq_f32_u16(vzip2q_u16(b, d))};
  }
  static LORA_INLINE F first(F x) { return {first(x.a), first(x.b), first(x.c), first(x.d)}; }
  static LORA_INLINE F second(F x) { return {second(x.a), second(x.b), second(x.c), second(x.d)}; }
  static LORA_INLINE F operand(F x) { return {flushed(x.a), flushed(x.b), flushed(x.c), flushed(x.d)}; }
  static LORA_INLINE F pair_fma(F x, F y, F z) {
    const F sum = Base::fma(x, y, z);
    const uint32x4_t low = vminq_u32(doubled(sum.a), doubled(sum.b)), high = vminq_u32(doubled(sum.c), doubled(sum.d));
    if (vminvq_u32(vminq_u32(low, high)) >= 0x01000000u) [[likely]] return sum;
    return {flushed_fma(sum.a, x.a, y.a, z.a), flushed_fma(sum.b, x.b, y.b, z.b), flushed_fma(sum.c, x.c, y.c, z.c),
            flushed_fma(sum.d, x.d, y.d, z.d)};
  }
  static LORA_INLINE F pair_add(F x, F y) { return operand(Base::add(x, y)); }  // tiny sums are exact
  class Exponents {
   public:
    LORA_INLINE Exponents() : least_{vdupq_n_u16(0xffff), vdupq_n_u16(0xffff)} {}
    LORA_INLINE void see(F x) {
      least_[0] = vminq_u16(vminq_u16(least_[0], magnitudes(x.a)), magnitudes(x.b));
      least_[1] = vminq_u16(vminq_u16(least_[1], magnitudes(x.c)), magnitudes(x.d));
    }
    LORA_INLINE int least() const { return (vminvq_u16(vminq_u16(least_[0], least_[1])) + 1) >> 8; }

   private:
    /// Doubled, less 1, so that a zero's are the largest.
    static LORA_INLINE uint16x8_t magnitudes(float32x4_t x) {
      const uint16x8_t bits = vreinterpretq_u16_f32(x);
      return vaddq_u16(vaddq_u16(bits, bits), vdupq_n_u16(0xffff));
    }
    uint16x8_t least_[2];
  };

 private:
  static LORA_INLINE uint8x16_t bytes(const Eigen::bfloat16* p) {
    return vld1q_u8(reinterpret_cast<const std::uint8_t*>(p));
  }
  static LORA_INLINE uint16x8_t numbers(const Eigen::bfloat16* p) { return vreinterpretq_u16_u8(bytes(p)); }
  static LORA_INLINE uint32x4_t words(const Eigen::bfloat16* p) { return vreinterpretq_u32_u8(bytes(p)); }
  static LORA_INLINE float32x4_t low_halves(uint32x4_t x, uint32x4_t y) {
    return vreinterpretq_f32_u64(vzip1q_u64(vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y)));
  }
  static LORA_INLINE float32x4_t high_halves(uint32x4_t x, uint32x4_t y) {
    return vreinterpretq_f32_u64(vzip2q_u64(vreinterpretq_u64_u32(x), vreinterpretq_u64_u32(y)));
  }
  static LORA_INLINE float32x4_t first(float32x4_t x) { return number(vshlq_n_u32(vreinterpretq_u32_f32(x), 16)); }
  static LORA_INLINE float32x4_t second(float32x4_t x) {
    return number(vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0xffff0000u)));
  }
  static LORA_INLINE float32x4_t zero_of_sign(float32x4_t x) {
    return number(vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x80000000u)));
  }
  static LORA_INLINE float32x4_t flushed(float32x4_t x) {
    return vbslq_f32(vtstq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x7f800000u)), x, zero_of_sign(x));
  }
  /// The bits of magnitudes, doubled, less 2: below 0x01000000 as may_be_tiny() (core/fma.hpp) is true.
  static LORA_INLINE uint32x4_t doubled(float32x4_t x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    return vsubq_u32(vaddq_u32(bits, bits), vdupq_n_u32(2));
  }
  /// That of core/fma.hpp, where a sum may be tiny.
  static LORA_INLINE float32x4_t flushed_fma(float32x4_t sum, float32x4_t x, float32x4_t y, float32x4_t z) {
    const float32x4_t scaled = vfmaq_f32(vmulq_n_f32(z, 0x1p64f), vmulq_n_f32(x, 0x1p64f), y);
    const uint32x4_t tiny = vcaltq_f32(scaled, vdupq_n_f32(0x1p-62f));
    return vbslq_f32(vandq_u32(tiny, vcltq_u32(doubled(sum), vdupq_n_u32(0x01000000u))), zero_of_sign(sum), sum);
  }
  static LORA_INLINE float32x4_t number(uint32x4_t x) { return vreinterpretq_f32_u32(x); }
};

}  // namespace neon
LORA_TAGGED_END
#endif
