// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The two orders in which sums of products are made (docs/FORWARD-ORDER.md).

#include "reference/reference.hpp"

#include <array>

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

}  // namespace reference
