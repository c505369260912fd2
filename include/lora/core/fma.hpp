// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// One fused multiply-add, a * b + c rounded once, on every machine. Where the compiler may not use an instruction for it,
/// float is computed in double with rounding to odd, double by the C library, or in integers where that library rounds twice
/// (mingw-w64's goes through long double).

#include "lora/core/config.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

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

#if defined(__SIZEOF_INT128__)
/// a * b + c in double, rounded once, in integers: both terms have their first bit at 2^125, and what is shifted out of the
/// smaller one leaves its mark in the last bit, far below what is kept.
inline double fma_by_integers(double a, double b, double c) {
  __extension__ using Wide = unsigned __int128;
  const auto is_zero = [](double x) { return std::fpclassify(x) == FP_ZERO; };
  if (!std::isfinite(a) || !std::isfinite(b) || is_zero(a) || is_zero(b)) return a * b + c;
  if (!std::isfinite(c)) return c + c;
  if (is_zero(c)) return a * b;
  const auto leading = [](Wide x) {  // the position of the first bit
    const auto high = static_cast<std::uint64_t>(x >> 64);
    return high != 0 ? 127 - std::countl_zero(high) : 63 - std::countl_zero(static_cast<std::uint64_t>(x));
  };
  struct Term {
    Wide bits;
    int exponent;  // of the last bit
    bool negative;
  };
  const auto first_at_125 = [&](Wide bits, int exponent, bool negative) {
    const int shift = 125 - leading(bits);
    return Term{bits << shift, exponent - shift, negative};
  };
  const auto integer = [](double x, int& exponent) {
    const double fraction = std::frexp(std::abs(x), &exponent);
    exponent -= 53;
    return static_cast<std::uint64_t>(std::ldexp(fraction, 53));
  };
  int of_a = 0, of_b = 0, of_c = 0;
  const std::uint64_t bits_a = integer(a, of_a), bits_b = integer(b, of_b), bits_c = integer(c, of_c);
  Term large = first_at_125(Wide{bits_a} * bits_b, of_a + of_b, std::signbit(a) != std::signbit(b));
  Term other = first_at_125(bits_c, of_c, std::signbit(c));
  if (large.exponent < other.exponent || (large.exponent == other.exponent && large.bits < other.bits))
    std::swap(large, other);
  const int apart = large.exponent - other.exponent;
  const Wide kept = apart > 126 ? Wide{0} : other.bits >> apart;
  const bool lost = apart > 126 || kept << apart != other.bits;
  const Wide addend = kept | static_cast<Wide>(lost);
  const Wide sum = large.negative == other.negative ? large.bits + addend : large.bits - addend;
  if (sum == 0) return 0;
  // The first bit counts 2^(first + exponent); denormals keep fewer bits.
  const int first = leading(sum), precision = std::min(53, first + large.exponent + 1075);
  double magnitude = 0;
  if (const int shift = first + 1 - precision; precision >= 0 && shift <= 0) {
    magnitude = std::ldexp(static_cast<double>(static_cast<std::uint64_t>(sum)), large.exponent);
  } else if (precision >= 0) {
    const Wide half = Wide{1} << (shift - 1), rest = sum & ((half << 1) - 1);
    auto rounded = static_cast<std::uint64_t>(shift > 127 ? Wide{0} : sum >> shift);
    rounded += rest > half || (rest == half && (rounded & 1) != 0) ? 1 : 0;
    magnitude = std::ldexp(static_cast<double>(rounded), large.exponent + shift);
  }
  return large.negative ? -magnitude : magnitude;
}
#endif

#if defined(_WIN32) && LORA_TARGETS_X86
__attribute__((target("fma"))) LORA_NOINLINE inline double fma_by_instruction(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
#endif

inline double fma(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
  return __builtin_fma(a, b, c);
#elif defined(_WIN32) && LORA_TARGETS_X86
  return __builtin_cpu_supports("fma") ? fma_by_instruction(a, b, c) : fma_by_integers(a, b, c);
#elif defined(_WIN32)
  return fma_by_integers(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

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
