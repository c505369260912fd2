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

LORA_FUNC void write_numbers(const double* numbers, Index count, ScalarType type, void* out) {
  with_type(type, [&](auto zero) {
    using Scalar = decltype(zero);
    for (Index i = 0; i < count; ++i) static_cast<Scalar*>(out)[i] = convert<Scalar>(numbers[i]);
  });
}

LORA_FUNC void expect_finite_row(const char* what, const double* row, Index count, Index i) {
  if (const double* const found = first_not_finite(row, count))
    throw ValueError(text("lora: ", what, ": expected finite numbers, found ", not_finite_name(*found), " at (", i, ", ",
                          found - row, ")"));
}

LORA_FUNC void copy_finite(const char* what, const MatrixView& view, ScalarType type, void* out) {
  if (view.rows == 0 || view.cols == 0) return;  // a file may say that there are 2^62 such rows
  if (view.data == nullptr)
    throw ValueError(text("lora: ", what, ": expected memory for ", view.rows, " x ", view.cols, ", found a null pointer"));
  std::vector<double> row(static_cast<std::size_t>(view.cols)), written(type == view.type ? 0 : row.size());
  with_fp_environment([&] {
    auto* line = static_cast<std::byte*>(out);
    const Index size = view.cols * static_cast<Index>(element_size(type));
    for (Index i = 0; i < view.rows; ++i, line += size) {
      read_row(view, i, row.data());
      expect_finite_row(what, row.data(), view.cols, i);
      write_numbers(row.data(), view.cols, type, line);
      if (type == view.type) continue;
      read_row({line, type, 1, view.cols, view.cols, 1}, 0, written.data());
      if (const double* const found = first_not_finite(written.data(), view.cols)) {
        const Index j = found - written.data();
        throw ValueError(text("lora: ", what, ": expected numbers that fit in ", name(type), ", found ",
                              row[static_cast<std::size_t>(j)], " at (", i, ", ", j, ")"));
      }
    }
  });
}

LORA_FUNC FactorMemory::FactorMemory(const char* what, const MatrixView& matrix, ScalarType type)
    : type_(type), rows_(matrix.rows), cols_(matrix.cols) {
  auto memory = aligned_array<std::byte>(static_cast<std::size_t>(rows_ * cols_) * element_size(type));
  copy_finite(what, matrix, type, memory.get());
  data_ = std::shared_ptr<const void>(memory.release(), AlignedDelete{});
}

}  // namespace detail
LORA_NAMESPACE_END
