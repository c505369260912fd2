// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// One fused multiply-add, a * b + c rounded once, on every machine. Where the compiler may not use an instruction for it,
/// float is computed in double with rounding to odd, double by the C library.

#include "lora/core/config.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

LORA_TAGGED_BEGIN

/// a * b + c in float, rounded once, out of double arithmetic. The product of two floats is exact in double; the sum is
/// rounded to odd (its last bit records whether anything was lost), so that the second rounding, to float, is the only one
/// that matters: 53 >= 2 * 24 + 2 bits. (Boldo & Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008.)
inline float fma_by_double(float a, float b, float c) {
#if defined(__clang__)
#pragma clang fp reassociate(off)
#endif
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  // What the sum lost (Knuth's two-sum); NaN when it is not finite, and then nothing is corrected.
  const double back = sum - product;
  const double lost = (product - (sum - back)) + (addend - back);
  const auto inexact = static_cast<std::uint64_t>((lost > 0.0) | (lost < 0.0));
  std::uint64_t bits = std::bit_cast<std::uint64_t>(sum);
  bits -= inexact & ((bits ^ std::bit_cast<std::uint64_t>(lost)) >> 63);  // towards zero ...
  bits |= inexact;                                                        // ... and odd
  return static_cast<float>(std::bit_cast<double>(bits));
}

inline float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return fma_by_double(a, b, c);
#endif
}
inline double fma(double a, double b, double c) { return std::fma(a, b, c); }

/// A float whose magnitude is denormal as a zero of its sign.
inline float flushed(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  return (bits & 0x7f800000u) != 0 ? x : std::bit_cast<float>(bits & 0x80000000u);
}

/// The biased exponent of the smallest of some floats that are not 0: 0 when one is denormal, 256 when there are none.
class LeastExponent {
 public:
  void see(float x) { least_ = std::min(least_, 2 * std::bit_cast<std::uint32_t>(x) - 1); }  // of a zero: the largest
  int value() const { return static_cast<int>((std::uint64_t{least_} + 1) >> 24); }

 private:
  std::uint32_t least_ = 0xffffffffu;
};

/// Whether a result has to be looked at again by flushed_fma(): it is denormal, or the smallest normal number.
inline bool may_be_tiny(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7fffffffu) - 1u < 0x00800000u; }

/// `sum`, which is fma(a, b, c) of numbers that are not denormal and may be tiny, as processors give it that flush results
/// that are tiny after rounding: a zero of its sign unless it rounds to the smallest normal number with 24 bits, too.
inline float flushed_fma(float sum, float a, float b, float c) {
  const float scaled = fma(a * 0x1p64f, b, c * 0x1p64f);  // the operands of a tiny sum are far from overflow
  return std::abs(scaled) < 0x1p-62f ? std::copysign(0.0f, sum) : sum;
}

LORA_TAGGED_END
