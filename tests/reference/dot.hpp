// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The three orders in which sums of products are made (docs/FORWARD-ORDER.md).

#include "reference/reference.hpp"

#include <array>
#include <limits>

namespace reference {

/// In blocks of 512: sixteen lanes, lane l the chain over the block's j = l, l + 16, ... from +0; w and x go on with
/// zeros to a multiple of 16. Then l + (l + 8), l + (l + 4), l + (l + 2), l + (l + 1). The blocks' sums are added in
/// order to +0.
template <class C>
C dot_by_lanes(const std::vector<C>& w, const std::vector<C>& x) {
  C sum = 0;
  for (std::size_t begin = 0; begin < w.size(); begin += 512) {
    std::array<C, 16> lanes{};
    const std::size_t end = std::min(w.size(), begin + 512), padded_end = (end + 15) / 16 * 16;
    for (std::size_t j = begin; j < padded_end; ++j) {
      C& lane = lanes[j % 16];
      lane = j < end ? std::fma(w[j], x[j], lane) : std::fma(C{0}, C{0}, lane);
    }
    for (const std::size_t half : {8u, 4u, 2u, 1u})
      for (std::size_t l = 0; l < half; ++l) lanes[l] = lanes[l] + lanes[l + half];
    sum = sum + lanes[0];
  }
  return sum;
}

/// One chain over j from +0.
template <class C>
C dot_in_order(const std::vector<C>& w, const std::vector<C>& x) {
  C sum = 0;
  for (std::size_t j = 0; j < w.size(); ++j) sum = std::fma(w[j], x[j], sum);
  return sum;
}

/// What a processor gives that takes denormal operands for zeros and flushes results that are tiny after rounding, as MXCSR's
/// DAZ and FTZ say.
inline float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
inline float flushed_add(float a, float b) { return flushed(flushed(a) + flushed(b)); }
/// For a product of bfloat16 numbers. Below the smallest normal number a fused multiply-add rounds to fewer bits; 2^64 times as
/// large it does not, and shows whether the result is tiny.
inline float flushed_fma(float a, float b, float c) {
  a = flushed(a), b = flushed(b), c = flushed(c);
  const float sum = std::fma(a, b, c);
  if (!(std::fabs(sum) <= std::numeric_limits<float>::min())) return sum;
  const float larger = std::fma(std::ldexp(a, 64), b, std::ldexp(c, 64));
  return std::fabs(larger) < std::ldexp(std::numeric_limits<float>::min(), 64) ? std::copysign(0.0f, sum) : sum;
}

/// The order of tile units, for bfloat16 numbers: in blocks of 32, continued by zeros, a chain over the even j from +0, one
/// over the odd ones, and their sum added to +0. All flushed.
inline float dot_by_pairs(const std::vector<float>& w, const std::vector<float>& x) {
  float sum = 0;
  for (std::size_t begin = 0; begin < w.size(); begin += 32) {
    std::array<float, 2> chains{};
    for (std::size_t j = begin; j < begin + 32; ++j) {
      float& chain = chains[j % 2];
      chain = j < w.size() ? flushed_fma(w[j], x[j], chain) : flushed_fma(0, 0, chain);
    }
    sum = flushed_add(sum, flushed_add(chains[0], chains[1]));
  }
  return sum;
}

}  // namespace reference
