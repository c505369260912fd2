// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/simd/fp_environment.hpp"
#include "lora/update/scaling.hpp"

#include <cmath>

LORA_NAMESPACE_BEGIN

LORA_FUNC double Scaling::operator()(Index rank) const {
  double s = value_;
  detail::with_fp_environment([&] {
    const auto r = static_cast<double>(rank);
    if (rule_ == Rule::alpha_over_rank) s = value_ / r;
    if (rule_ == Rule::alpha_over_sqrt_rank) s = value_ / std::sqrt(r);
  });
  if (!detail::is_finite(s)) throw ValueError(detail::text("lora: scaling: expected a finite number, found ", s));
  return s;
}

namespace detail {

LORA_FUNC double checked_scaling(const Scaling& rule, Index B_cols, Index A_rows, Index A_cols) {
  if (B_cols != A_rows)
    throw ShapeError(text("lora: LowRank: B (out x r) and A (r x in) must share r: expected A with ", B_cols,
                          " rows, found ", shape_text(A_rows, A_cols)));
  if (A_rows == 0) throw ValueError("lora: LowRank: expected a rank of at least 1, found 0");
  return rule(A_rows);
}

}  // namespace detail
LORA_NAMESPACE_END
