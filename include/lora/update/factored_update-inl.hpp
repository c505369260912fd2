// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/any_factor-inl.hpp"
#include "lora/update/factored_update.hpp"
#include "lora/update/form_builder-inl.hpp"
#include "lora/update/update_parts-inl.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC bool is_cheaper_low_rank(Index depth, Index rows, Index cols) {
  return static_cast<double>(depth) * static_cast<double>(rows + cols) <=
         static_cast<double>(rows) * static_cast<double>(cols) / 4;
}

LORA_FUNC void expect_core_fits(std::string_view what, const AnyFactor& core, Index rows, Index rank) {
  if (core.rows() != rows || core.cols() == 0 || core.cols() % rank != 0)
    throw ShapeError(text("lora: ", what, ": expected ", rows, " x a multiple of ", rank, ", found ",
                          shape_text(core.rows(), core.cols())));
}

LORA_FUNC Factorization::Factorization(std::string_view kind, const UpdateParts& parts, const Names& names)
    : names_(names), a_(parts.require(names.a)), b_(parts.require(names.b)) {
  if (!names.t.empty()) t_ = parts.find(names.t);
  if (depth() == 0 || rank() == 0)
    throw ValueError(text("lora: ", kind, ": ", names.b, ": expected a rank of at least 1, found 0"));
  if (t_) {
    expect_core_fits(text(kind, ": ", names.t), *t_, a_.rows(), b_.rows());
    cols_ = b_.cols() * (t_->cols() / b_.rows());
  } else {
    expect_shape(text(kind, ": ", names.b), a_.cols(), b_.cols(), b_.rows(), b_.cols());
    cols_ = b_.cols();
  }
}

LORA_FUNC void Factorization::append_to(std::vector<UpdateTensor>& tensors) const {
  tensors.push_back({names_.a, a_.view()});
  tensors.push_back({names_.b, b_.view()});
  if (t_) tensors.push_back({names_.t, t_->view()});
}

}  // namespace detail
LORA_NAMESPACE_END
