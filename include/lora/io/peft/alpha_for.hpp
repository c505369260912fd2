// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Alphas that say a scaling of another rule. For bodies (-inl.hpp).

#include "lora/core/scalar.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/update/scaling.hpp"

#include <cmath>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The alpha for which a rule gives the very s of `own`, or nothing. A scaling that comes from another rule is turned back: its
/// product with the divisor, or a neighbour of that, unless rounding leaves the scaling out.
LORA_ON_CALL_DECLARED inline std::optional<double> alpha_for(const Scaling& own, Scaling::Rule rule, Index rank) {
  if (own.rule() == rule) return own.value();
  const double s = own(rank), r = static_cast<double>(rank);
  const double alpha = s * (rule == Scaling::Rule::alpha_over_sqrt_rank ? std::sqrt(r) : r);
  for (const double value : {alpha, std::nextafter(alpha, 0.0), std::nextafter(alpha, 2 * alpha)})
    if (lora::detail::is_finite(value) && lora::detail::to_bits(Scaling(rule, value)(rank)) == lora::detail::to_bits(s))
      return value;
  return std::nullopt;
}

}  // namespace io::detail
LORA_NAMESPACE_END
