// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/error.hpp"
#include "lora/core/scalar.hpp"

LORA_NAMESPACE_BEGIN

/// The rule that gives an update's scaling s from its rank r.
class Scaling {
 public:
  /// s = value / r, value / sqrt(r), or value.
  enum class Rule { alpha_over_rank, alpha_over_sqrt_rank, fixed };

  /// A rule and its number.
  constexpr Scaling(Rule rule, double value) : rule_(rule), value_(value) {}

  /// Which of the three.
  Rule rule() const { return rule_; }

  /// alpha, or the fixed scaling itself.
  double value() const { return value_; }

  /// s for this rank, to nearest whatever the caller's rounding. Throws ValueError when the result is not finite.
  double operator()(Index rank) const;

 private:
  Rule rule_;
  double value_;
};

namespace scaling {

/// s = alpha / r (Hu et al., "LoRA", 2021, section 4.1).
constexpr Scaling alpha(double value) { return {Scaling::Rule::alpha_over_rank, value}; }

/// s = alpha / sqrt(r) (Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023).
constexpr Scaling rank_stabilized(double value) { return {Scaling::Rule::alpha_over_sqrt_rank, value}; }

/// s as given, whatever the rank.
constexpr Scaling fixed(double value) { return {Scaling::Rule::fixed, value}; }

}  // namespace scaling

namespace detail {

/// s of factors B (out x B_cols) and A (A_rows x A_cols). Throws ShapeError when they do not share the rank, ValueError when it
/// is 0.
double checked_scaling(const Scaling& rule, Index B_cols, Index A_rows, Index A_cols);

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/scaling-inl.hpp"
#endif
