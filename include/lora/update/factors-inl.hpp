// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/simd/fp_environment.hpp"
#include "lora/update/factors.hpp"

#include <cstring>

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC void copy_finite(const char* what, const MatrixView& view, ScalarType to, void* out) {
  with_fp_environment([&] {
    with_type(view.type, [&](auto from_zero) {
      using From = decltype(from_zero);
      with_type(to, [&](auto to_zero) {
        using To = decltype(to_zero);
        To* next = static_cast<To*>(out);
        for (Index i = 0; i < view.rows; ++i)
          for (Index j = 0; j < view.cols; ++j) {
            const To value = [&] {
              if constexpr (std::is_same_v<From, To>)
                return element<From>(view, i, j);
              else
                return convert<To>(element<From>(view, i, j));
            }();
            if (!is_finite(value))
              throw ValueError(text("lora: ", what, ": expected finite numbers, found ",
                                    is_nan(value) ? "NaN" : "infinity", " at (", i, ", ", j, ")"));
            *next++ = value;
          }
      });
    });
  });
}

}  // namespace detail
LORA_NAMESPACE_END
