// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/simd/fp_environment.hpp"
#include "lora/update/factors.hpp"

#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC void read_row(const MatrixView& view, Index i, double* out) {
  with_type(view.type, [&](auto zero) {
    using Scalar = decltype(zero);
    for (Index j = 0; j < view.cols; ++j) out[j] = static_cast<double>(widen(element<Scalar>(view, i, j)));
  });
}

template <class Scalar>
void copy_finite(const char* what, const MatrixView& view, Scalar* out) {
  if (view.cols == 0) return;  // a file may say that there are 2^62 such rows
  std::vector<double> row(static_cast<std::size_t>(view.cols));
  with_fp_environment([&] {
    for (Index i = 0; i < view.rows; ++i) {
      read_row(view, i, row.data());
      for (Index j = 0; j < view.cols; ++j) {
        const Scalar value = convert<Scalar>(row[static_cast<std::size_t>(j)]);
        if (!is_finite(value))
          throw ValueError(text("lora: ", what, ": expected finite numbers, found ", is_nan(value) ? "NaN" : "infinity",
                                " at (", i, ", ", j, ")"));
        *out++ = value;
      }
    }
  });
}

}  // namespace detail
LORA_NAMESPACE_END
