// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/composition-inl.hpp"
#include "lora/compose/extract.hpp"

LORA_TAGGED_BEGIN

/// Rows of tuned - base. Throws ValueError when an element is not finite.
inline void read_change(const MatrixView& tuned, const MatrixView& base, Index first, Index count, double* rows) {
  std::vector<double> row(static_cast<std::size_t>(base.cols));
  for (Index i = 0; i < count; ++i, rows += tuned.cols) {
    read_finite_row("extract: the tuned weight", tuned, first + i, rows);
    read_finite_row("extract: the base weight", base, first + i, row.data());
    for (Index j = 0; j < tuned.cols; ++j) rows[j] -= row[static_cast<std::size_t>(j)];
  }
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

#if LORA_HEADER_ONLY
template <class>
#endif
ComposedFactors extract_factors(const MatrixView& tuned, const MatrixView& base,
                                const compose::Truncation& truncation) {
  expect_shape("extract: the base weight", tuned.rows, tuned.cols, base.rows, base.cols);
  if (tuned.rows == 0 || tuned.cols == 0)
    throw ShapeError(
        text("lora: extract: expected a weight with elements, found ", shape_text(tuned.rows, tuned.cols)));
  ComposedFactors out;
  with_fp_environment([&] {
    const auto fill = [&](Index first, Index count, double* rows) { read_change(tuned, base, first, count, rows); };
    const TruncatedSpectrum change = truncated_svd({tuned.rows, tuned.cols, fill}, truncation);
    out = {aligned_copy(scaled_columns(change.kept.U, change.kept.s)), aligned_copy(change.kept.V.transpose()),
           change.norm, change.error,
           4 * unit_roundoff * static_cast<double>((tuned.rows + tuned.cols) * change.kept.size()) * change.norm};
  });
  return out;
}

#if LORA_HEADER_ONLY
template <class>
#endif
std::uint64_t extract_bytes(Index rows, Index cols, const compose::Truncation& truncation) {
  return svd_bytes(rows, cols, truncation);
}

#if LORA_HEADER_ONLY
template <class>
#endif
double distance_from_change(const MatrixView& tuned, const MatrixView& base, const MatrixView& B, const MatrixView& A) {
  double squares = 0;
  with_fp_environment([&] {
    const ColumnMatrix A_columns = transposed_columns_of(A), B_rows = transposed_columns_of(B);  // A^T and B^T
    const auto fill = [&](Index first, Index count, double* rows) { read_change(tuned, base, first, count, rows); };
    RowMatrix{tuned.rows, tuned.cols, fill}.for_blocks([&](Index first, const ColumnMatrix& block) {
      squares += (block - product(A_columns, B_rows.middleCols(first, block.cols()))).squaredNorm();
    });
  });
  return std::sqrt(squares);
}

}  // namespace detail
LORA_NAMESPACE_END
