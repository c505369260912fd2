// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The skinny product's order of summation in plain scalar code, one element at a time.

#include "reference/reference.hpp"

#include <algorithm>
#include <array>

namespace reference {

/// In blocks of 512: sixteen lanes, lane l the chain over the block's j = l, l + 16, ... from +0; w and x go on with zeros to a
/// multiple of 16. Then l + (l + 8), l + (l + 4), l + (l + 2), l + (l + 1). The blocks' sums are added in order to +0.
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

/// Y = W X + sum of weight s B (A X) + bias for any columns of X: the product of a row-major W by lanes, of a
/// column-major one in order, A X by lanes, then one chain over the updates' ranks, then the bias (an empty one is not
/// added). NaN is canonical.
template <class T, lora::StorageOrder Order>
lora::Matrix<Compute<T>> forward(const lora::Matrix<T, Order>& W, Set<Compute<T>> set,
                                 const std::vector<Compute<T>>& bias, const lora::Matrix<Compute<T>>& X) {
  using C = Compute<T>;
  const auto line = [](const auto& matrix, Index i) {
    std::vector<C> out;
    for (Index j = 0; j < matrix.cols(); ++j) out.push_back(widen(matrix(i, j)));
    return out;
  };
  lora::Matrix<C> Y(W.rows(), X.cols());
  for (Index c = 0; c < X.cols(); ++c) {
    std::vector<C> x, h;
    for (Index j = 0; j < X.rows(); ++j) x.push_back(X(j, c));
    for (const lora::Weighted<C>& update : set)
      for (Index k = 0; k < update.update->rank(); ++k)
        if (update.weight != 0) h.push_back(dot_by_lanes(line(update.update->A(), k), x));
    for (Index i = 0; i < W.rows(); ++i) {
      C sum = Order == lora::row_major ? dot_by_lanes(line(W, i), x) : dot_in_order(line(W, i), x);
      std::size_t next = 0;
      for (const lora::Weighted<C>& update : set)
        for (Index k = 0; k < update.update->rank(); ++k)
          if (update.weight != 0) {
            const C b = scale(update) * update.update->B()(i, k);
            sum = std::fma(b, h[next++], sum);
          }
      if (!bias.empty()) sum = sum + bias[static_cast<std::size_t>(i)];
      Y(i, c) = narrow<C>(sum);
    }
  }
  return Y;
}

}  // namespace reference
