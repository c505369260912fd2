// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/activations.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC void expect_activations(const char* what, Index out, Index in, Index X_rows, Index X_cols, Index Y_rows,
                                  Index Y_cols) {
  const auto expect = [&](const char* which, Index rows, Index cols, Index found_rows, Index found_cols, bool transposed) {
    if (found_rows == rows && found_cols == cols) return;
    throw ShapeError(text("lora: ", what, ": ", which, ": expected ", rows, " rows, one column per sample, found ",
                          shape_text(found_rows, found_cols),
                          transposed ? text(": transpose it, or map a [batch, features] buffer with lora::samples()")
                          : found_rows == rows ? text("; X has ", cols, " columns")
                                               : std::string()));
  };
  expect("X", in, X_cols, X_rows, X_cols, X_cols == in);
  expect("Y", out, X_cols, Y_rows, Y_cols, Y_rows == X_cols && Y_cols == out);
}

}  // namespace detail
LORA_NAMESPACE_END
