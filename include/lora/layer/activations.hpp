// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/kernel/forward.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The memory of an Eigen object that has some.
template <class Scalar, class Object>
ActivationView<Scalar> activation_view(Scalar* data, const Object& object) {
  return {data, object.rows(), object.cols(), object.rowStride(), object.colStride()};
}

/// Calls run(x, y) with views of X and Y where they lie. An X that is an expression is evaluated first.
template <class Compute, class X, class Y, class Run>
void with_activations(const X& x, Y& y, const Run& run) {
  using ScalarX = typename X::Scalar;
  using ScalarY = typename Y::Scalar;
  static_assert(is_scalar_v<ScalarX> && is_scalar_v<ScalarY>,
                "lora: activations must be of float, double, Eigen::half or Eigen::bfloat16");
  static_assert(sizeof(compute_t<ScalarX>) <= sizeof(Compute),
                "lora: X is of double and the layer computes in float; cast it with X.cast<float>()");
  static_assert((Y::Flags & Eigen::DirectAccessBit) != 0,
                "lora: Y must be an Eigen object that owns or maps memory (Matrix, Map, Ref, Block)");
  static_assert(!std::is_const_v<std::remove_pointer_t<decltype(y.data())>>,
                "lora: Y is read-only (a const matrix or an Eigen::Map<const ...>)");
  const ActivationView<ScalarY> out = activation_view(y.data(), y);
  if constexpr ((X::Flags & Eigen::DirectAccessBit) != 0) {
    run(activation_view<const ScalarX>(x.data(), x), out);
  } else {
    const Activations<ScalarX> evaluated = x;
    run(activation_view<const ScalarX>(evaluated.data(), evaluated), out);
  }
}

}  // namespace detail
LORA_NAMESPACE_END
