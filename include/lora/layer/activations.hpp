// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/kernel/forward.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Whether an Eigen object is columns of Scalar in memory, so that it can be used where it lies.
template <class Scalar, class Object>
inline constexpr bool is_column_memory_v =
    std::is_same_v<typename Object::Scalar, Scalar> && (Object::Flags & Eigen::DirectAccessBit) != 0 &&
    (!Object::IsRowMajor || Object::IsVectorAtCompileTime) && Object::InnerStrideAtCompileTime == 1;

/// Calls run(x, y) with maps of the compute type: onto X and Y themselves where they are such memory, else onto the thread's
/// workspace, out of which Y is then rounded.
template <class Compute, class X, class Y, class Run>
void with_activations(const X& x, Y& y, const Run& run) {
  static_assert(is_scalar_v<typename X::Scalar> && is_scalar_v<typename Y::Scalar>,
                "lora: activations must be of float, double, Eigen::half or Eigen::bfloat16");
  const auto with_y = [&](const MatrixMap<const Compute, column_major>& in) {
    if constexpr (is_column_memory_v<Compute, Y>) {
      run(in, MatrixMap<Compute, column_major>(y.data(), y.rows(), y.cols(), Eigen::OuterStride<>(y.outerStride())));
    } else {
      const MatrixMap<Compute, column_major> out(forward_workspace<Compute, 2>(y.size()), y.rows(), y.cols(),
                                                 Eigen::OuterStride<>(y.rows()));
      run(in, out);
      using Result = typename Y::Scalar;
      for (Index j = 0; j < y.cols(); ++j)
        for (Index i = 0; i < y.rows(); ++i) y(i, j) = narrow<Result>(static_cast<compute_t<Result>>(out(i, j)));
    }
  };
  if constexpr (is_column_memory_v<Compute, X>) {
    with_y({x.data(), x.rows(), x.cols(), Eigen::OuterStride<>(x.outerStride())});
  } else {
    MatrixMap<Compute, column_major> in(forward_workspace<Compute, 3>(x.size()), x.rows(), x.cols(),
                                        Eigen::OuterStride<>(x.rows()));
    if constexpr (std::is_same_v<typename X::Scalar, Compute>) {
      in = x;
    } else {
      for (Index j = 0; j < x.cols(); ++j)
        for (Index i = 0; i < x.rows(); ++i) in(i, j) = static_cast<Compute>(widen(x.coeff(i, j)));
    }
    with_y({in.data(), in.rows(), in.cols(), Eigen::OuterStride<>(in.outerStride())});
  }
}

}  // namespace detail
LORA_NAMESPACE_END
