// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"

#include <utility>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Whether a type is an Eigen object that has memory.
template <class Weight>
concept HasMemory = requires(Weight& weight) { weight.data(); };

template <class Weight, bool = HasMemory<std::remove_reference_t<Weight>>>
struct WeightScalarOf {
  static_assert(HasMemory<std::remove_reference_t<Weight>>,
                "lora: a weight must be an Eigen object that owns or maps memory (Matrix, Map, Ref, Block), not an "
                "expression such as a + b; evaluate it into a Matrix first");
  using Type = float;
};
template <class Weight>
struct WeightScalarOf<Weight, true> {
  using Type = std::remove_pointer_t<decltype(std::declval<std::remove_reference_t<Weight>&>().data())>;
  static_assert(is_scalar_v<std::remove_const_t<Type>>,
                "lora: a weight must be of float, double, Eigen::half or Eigen::bfloat16");
};

/// The type of a weight's elements, const where it is read-only.
template <class Weight>
using WeightScalar = typename WeightScalarOf<Weight>::Type;

template <class T>
struct ComputeOf {
  using Type = float;
};
template <class T>
  requires is_scalar_v<T>
struct ComputeOf<T> {
  using Type = compute_t<T>;
};

template <class Weight>
using WeightCompute = typename ComputeOf<std::remove_const_t<WeightScalar<Weight>>>::Type;

/// The lines of a weight that can be written to.
template <class Weight>
auto writable_lines(Weight&& weight) {
  using Scalar = WeightScalar<Weight>;
  static_assert(
      !std::is_const_v<Scalar>,
      "lora: this weight is read-only (a const matrix or an Eigen::Map<const ...>), so nothing can be merged into "
      "it; use lora::forward(), or map it without const");
  return lines_of(weight);
}

/// The lines of a weight that is only read.
template <class Weight>
auto readable_lines(const Weight& weight) {
  const Lines<const std::remove_const_t<WeightScalar<const Weight>>> lines = lines_of(weight);
  return lines;
}

}  // namespace detail
LORA_NAMESPACE_END
