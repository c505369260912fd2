// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/fma.hpp"
#include "lora/update/any_factor-inl.hpp"
#include "lora/update/form_builder-inl.hpp"
#include "lora/update/ia3.hpp"
#include "lora/update/scaling-inl.hpp"
#include "lora/update/update_parts-inl.hpp"

#include <cmath>

LORA_TAGGED_BEGIN

/// 1 + c (l - 1) of every number l, `repeat` times.
LORA_NOINLINE inline AlignedMatrix<double, row_major> gains_of(const MatrixView& l, double c, Index repeat,
                                                               double largest) {
  const auto numbers = converted<double>(l);
  AlignedMatrix<double, row_major> out(l.rows * l.cols * repeat, 1);
  for (Index i = 0; i < out.rows(); ++i) {
    const double gain = fma(c, numbers.data()[i / repeat], 1 - c);
    if (!(std::abs(gain) <= largest))
      throw ValueError(text("lora: IA3: a gain: expected a finite number, found ", gain));
    out.data()[i] = gain;
  }
  return out;
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC IA3Factors::IA3Factors(AnyFactor l, const Scaling& rule)
    : l_(std::move(l)),
      rule_(rule),
      scaling_(rule(1)),
      by_rows_(l_.cols() == 1),
      rows_(by_rows_ && l_.rows() != 1 ? l_.rows() : -1),
      cols_(by_rows_ ? -1 : l_.cols()) {
  if (l_.rows() != 1 && l_.cols() != 1)
    throw ShapeError(text("lora: IA3: ia3_l: expected out x 1 or 1 x in, found ", shape_text(l_.rows(), l_.cols())));
  if (rule.rule() != Scaling::Rule::fixed)
    throw ValueError("lora: IA3: it has no rank: expected a fixed scaling, found a rule");
}

LORA_FUNC IA3Factors::IA3Factors(const UpdateParts& parts, const Scaling& rule)
    : IA3Factors(parts.require("ia3_l"), rule) {
  parts.expect_none_left("IA3");
}

LORA_FUNC IA3Factors IA3Factors::sized(Index rows, Index cols, Index kernel) const {
  const bool same = rows_ < 0 || cols_ < 0 || (rows == rows_ && cols == cols_);
  const bool all_inputs = kernel >= 1 && cols % kernel == 0 && cols / kernel == l_.rows() * l_.cols();
  const bool by_rows = by_rows_ && rows == l_.rows(), by_columns = l_.rows() == 1 && all_inputs;
  if (!same || rows < 0 || cols < 0 || !(by_rows || by_columns))
    throw ShapeError(text("lora: IA3: ia3_l (", shape_text(l_.rows(), l_.cols()), "): expected a weight of as many ",
                          by_rows_ ? "rows" : "inputs", ", found ", shape_text(rows, cols)));
  IA3Factors out = *this;
  out.by_rows_ = by_rows;
  out.rows_ = rows;
  out.cols_ = cols;
  out.kernel_ = kernel;
  return out;
}

LORA_FUNC AlignedMatrix<double, row_major> IA3Factors::gains(double coefficient, double largest) const {
  return gains_of(l_.view(), scaling_ * coefficient, by_rows_ ? 1 : kernel_, largest);
}

}  // namespace detail
LORA_NAMESPACE_END
