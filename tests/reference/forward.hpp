// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The forward pass in plain scalar code, one element at a time.

#include "reference/form.hpp"

#include <algorithm>

namespace reference {

/// Y = g o (W (h o X)) + D X + B (A X) + bias for any columns of X: the product of a row-major W by lanes, of a column-major one
/// in order, of h o X rounded, of a bfloat16 W and X without h by pairs; with gains g or a dense part fma(g_i, sum, (D X)_i); A X and D X by lanes, then one chain over
/// the updates' ranks, then the bias (an empty one is not added). NaN is canonical.
template <class T, lora::StorageOrder Order, class Derived>
lora::Matrix<Compute<T>> forward(const lora::Matrix<T, Order>& W, const Set<Compute<T>>& set,
                                 const std::vector<Compute<T>>& bias, const Eigen::MatrixBase<Derived>& stored_X) {
  using C = Compute<T>;
  using S = typename Derived::Scalar;
  const lora::Matrix<C> X = stored_X.unaryExpr([](S value) { return static_cast<C>(widen(value)); });
  constexpr bool narrow_both = std::is_same_v<T, Eigen::bfloat16> && std::is_same_v<S, Eigen::bfloat16>;
  const Form<C> all = form_for<C>(set, W);
  std::vector<std::vector<C>> rows_of_W, rows_of_D;
  for (Index i = 0; i < W.rows(); ++i) {
    rows_of_W.push_back(row<C>(W, i));
    if (all.D) rows_of_D.push_back(row<C>(*all.D, i));
  }
  lora::Matrix<C> Y(W.rows(), X.cols());
  for (Index c = 0; c < X.cols(); ++c) {
    std::vector<C> x, scaled, H;
    for (Index j = 0; j < X.rows(); ++j) x.push_back(X(j, c));
    for (Index j = 0; j < X.rows(); ++j) scaled.push_back(all.h.empty() ? X(j, c) : C(all.column_gain(j) * X(j, c)));
    for (const lora::Matrix<C>& A : all.A)
      for (Index k = 0; k < A.rows(); ++k) H.push_back(dot_by_lanes(row<C>(A, k), x));
    for (Index i = 0; i < W.rows(); ++i) {
      const std::vector<C>& w = rows_of_W[static_cast<std::size_t>(i)];
      C sum = Order == lora::row_major ? dot_by_lanes(w, scaled) : dot_in_order(w, scaled);
      if constexpr (narrow_both)
        if (all.h.empty()) sum = dot_by_pairs(w, x);
      if (!all.g.empty() || all.D)
        sum = std::fma(all.row_gain(i), sum, all.D ? dot_by_lanes(rows_of_D[static_cast<std::size_t>(i)], x) : C{0});
      std::size_t next = 0;
      for (const lora::Matrix<C>& B : all.B)
        for (Index k = 0; k < B.cols(); ++k) sum = std::fma(B(i, k), H[next++], sum);
      if (!bias.empty()) sum = sum + bias[static_cast<std::size_t>(i)];
      Y(i, c) = narrow<C>(sum);
    }
  }
  return Y;
}

}  // namespace reference
