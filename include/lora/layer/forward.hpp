// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The unmerged forward pass over a weight somebody else owns: lora::merge's companion for engines without lora::Linear.

#include "lora/layer/activations.hpp"
#include "lora/weight/merge.hpp"

LORA_NAMESPACE_BEGIN

/// Y = W X + sum of weight s B (A X), out x batch: any Eigen object with memory for W (out x in), X in x batch of its storage
/// or compute type. An empty set gives W X, which for a merged W is the merged pass. Throws ShapeError and ValueError.
/// Allocates Y and stacked copies of the factors; lora::Linear keeps those from pass to pass.
template <class Weight, class Derived>
[[nodiscard]] auto forward(const Weight& weight,
                           std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>> set,
                           const Eigen::MatrixBase<Derived>& X) {
  using Compute = detail::WeightCompute<const Weight>;
  using Value = std::remove_const_t<detail::WeightScalar<const Weight>>;
  constexpr StorageOrder order = Weight::IsRowMajor ? row_major : column_major;
  const detail::Lines<const Value> lines = detail::lines_of(weight);
  detail::expect_shape("forward: X", lines.cols(), X.cols(), X.rows(), X.cols());
  const detail::StackedFactors<Compute> factors = detail::stack<Compute>(set, lines.rows(), lines.cols());
  Activations<Compute> Y(lines.rows(), X.cols());
  detail::with_activations<Compute>(X.derived(), Y, [&](const auto& x, const auto& y) {
    detail::forward_pass<Value, order>(lines, &factors, nullptr, x, y);
  });
  return Y;
}

LORA_NAMESPACE_END
