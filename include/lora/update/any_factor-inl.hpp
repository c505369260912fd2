// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/any_factor.hpp"
#include "lora/update/factors-inl.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC AnyFactor::AnyFactor(const std::string& what, const MatrixView& matrix)
    : rows_(matrix.rows), cols_(matrix.cols), type_(matrix.type) {
  with_type(type_, [&](auto zero) {
    using Scalar = decltype(zero);
    auto memory = aligned_array<Scalar>(static_cast<std::size_t>(rows_ * cols_));
    copy_finite(what.c_str(), matrix, memory.get());
    data_ = std::shared_ptr<const void>(memory.release(), AlignedDelete{});
  });
}

}  // namespace detail
LORA_NAMESPACE_END
