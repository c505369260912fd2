// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/kernel/forward.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Throws ShapeError unless X is in x batch and Y out x batch. Says so when a matrix has one row per sample.
void expect_activations(const char* what, Index out, Index in, Index X_rows, Index X_cols, Index Y_rows, Index Y_cols);

/// An Eigen object's memory as activations for arithmetic in Compute. Throws ValueError for a null pointer.
template <class Compute, class Derived>
ActivationRef<Compute> activations_of(const Eigen::DenseBase<Derived>& object) {
  const Derived& own = object.derived();
  if (own.data() == nullptr && own.size() != 0)
    throw ValueError(text("lora: activations: expected memory for ", own.rows(), " x ", own.cols(), ", found a null pointer"));
  return activation_ref<Compute>(own.data(), own.rows(), own.cols(), own.rowStride(), own.colStride());
}

/// Calls run(x) with X where it lies. An expression is evaluated first.
template <class Compute, class Derived, class Run>
void with_activations(const Eigen::MatrixBase<Derived>& X, const Run& run) {
  using Scalar = typename Derived::Scalar;
  static_assert(is_scalar_v<Scalar>, "lora: activations must be of float, double, Eigen::half or Eigen::bfloat16");
  static_assert(sizeof(compute_t<Scalar>) <= sizeof(Compute),
                "lora: X is of double and the layer computes in float; cast it with X.cast<float>()");
  if constexpr ((Derived::Flags & Eigen::DirectAccessBit) != 0) {
    run(activations_of<Compute>(X));
  } else {
    const Activations<Scalar> evaluated = X;
    run(activations_of<Compute>(evaluated));
  }
}

/// Y where it lies.
template <class Compute, class Results>
ActivationRef<Compute> results_of(Results& Y) {
  static_assert((Results::Flags & Eigen::DirectAccessBit) != 0,
                "lora: Y must be an Eigen object that owns or maps memory (Matrix, Map, Ref, Block)");
  static_assert(is_scalar_v<typename Results::Scalar>,
                "lora: activations must be of float, double, Eigen::half or Eigen::bfloat16");
  static_assert(!std::is_const_v<std::remove_pointer_t<decltype(Y.data())>>,
                "lora: Y is read-only (a const matrix or an Eigen::Map<const ...>)");
  return activations_of<Compute>(Y);
}

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/layer/activations-inl.hpp"
#endif
