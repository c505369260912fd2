// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The forward pass Y = W X + B (A X) + bias over a weight of any storage type.

#include "lora/core/matrix.hpp"
#include "lora/core/scalar.hpp"

#include <algorithm>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// The factors of an active set, stacked along the rank and scaled, for forward passes: A is depth x in, B is out x depth.
template <class Compute>
struct StackedFactors {
  Matrix<Compute> A, B;

  Index depth() const { return A.rows(); }
};

/// The calling thread's memory for forward passes: grows, never shrinks.
template <class Scalar, int Purpose>
Scalar* forward_workspace(Index size) {
  thread_local std::vector<Scalar> memory;
  if (memory.size() < static_cast<std::size_t>(size)) memory.resize(static_cast<std::size_t>(size));
  return memory.data();
}

/// Y = W X in the compute type. A 16-bit W is widened a few lines at a time.
template <class T>
void multiply(const Lines<const T>& weight, const MatrixMap<const compute_t<T>, column_major>& X,
              MatrixMap<compute_t<T>, column_major>& Y) {
  using Compute = compute_t<T>;
  const auto multiply_as = [&](auto order) {
    constexpr StorageOrder Order = decltype(order)::value;
    if constexpr (std::is_same_v<T, Compute>) {
      const MatrixMap<const T, Order> W(weight.data, weight.rows(), weight.cols(), Eigen::OuterStride<>(weight.stride));
      Y.noalias() = W * X;
    } else {
      constexpr Index chunk_elements = 64 * 1024;
      const Index lines = std::max<Index>(1, chunk_elements / std::max<Index>(1, weight.length));
      Compute* wide = forward_workspace<Compute, 0>(std::min(lines, weight.lines) * weight.length);
      if constexpr (Order == column_major) Y.setZero();
      for (Index first = 0; first < weight.lines; first += lines) {
        const Index count = std::min(lines, weight.lines - first);
        for (Index i = 0; i < count; ++i)
          for (Index j = 0; j < weight.length; ++j) wide[i * weight.length + j] = widen(weight.line(first + i)[j]);
        const Index rows = Order == row_major ? count : weight.length, cols = Order == row_major ? weight.length : count;
        const MatrixMap<const Compute, Order> W(wide, rows, cols, Eigen::OuterStride<>(weight.length));
        if constexpr (Order == row_major)
          Y.middleRows(first, count).noalias() = W * X;
        else
          Y.noalias() += W * X.middleRows(first, count);
      }
    }
  };
  if (weight.order == row_major)
    multiply_as(std::integral_constant<StorageOrder, row_major>());
  else
    multiply_as(std::integral_constant<StorageOrder, column_major>());
}

/// Y = W X + B (A X) + bias; no factors, no bias: null.
template <class T>
void forward_pass(const Lines<const T>& weight, const StackedFactors<compute_t<T>>* factors, const compute_t<T>* bias,
                  const MatrixMap<const compute_t<T>, column_major>& X, MatrixMap<compute_t<T>, column_major> Y) {
  using Compute = compute_t<T>;
  multiply(weight, X, Y);
  if (factors != nullptr && factors->depth() != 0) {
    const Index depth = factors->depth();
    MatrixMap<Compute, column_major> H(forward_workspace<Compute, 1>(depth * X.cols()), depth, X.cols(),
                                       Eigen::OuterStride<>(depth));
    H.noalias() = factors->A * X;
    Y.noalias() += factors->B * H;
  }
  if (bias != nullptr) Y.colwise() += Eigen::Map<const Eigen::Matrix<Compute, Eigen::Dynamic, 1>>(bias, Y.rows());
}

}  // namespace detail
LORA_NAMESPACE_END
