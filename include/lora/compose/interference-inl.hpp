// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/composition-inl.hpp"
#include "lora/compose/interference.hpp"

LORA_TAGGED_BEGIN

/// The size of a matrix of m x n with these singular values.
template <class = void>
compose::DeltaSize delta_size(const Eigen::VectorXd& s, Index m, Index n) {
  compose::DeltaSize out{numerical_rank(s, m, n), tail_norm(s, 0), s(0), 0};
  if (out.spectral_norm > 0) out.stable_rank = out.norm / out.spectral_norm * (out.norm / out.spectral_norm);
  return out;
}

/// Cosines of the principal angles between the spaces of two orthonormal bases.
template <class = void>
std::vector<double> principal_cosines(const ColumnMatrix& P, const ColumnMatrix& Q) {
  const Eigen::VectorXd s = spectrum_of(transposed_product(P, Q)).s;
  std::vector<double> out(s.begin(), s.end());
  for (double& cosine : out) cosine = std::min(cosine, 1.0);
  return out;
}

/// ||W0||_F, ||W0||_2, and how many singular directions of the sum are stronger than W0 in them.
template <class = void>
LORA_NOINLINE void measure_weight(const MatrixView& W0, const ColumnMatrix& U, const Eigen::VectorXd& s,
                                  const ColumnMatrix& V, compose::Interference& out) {
  const auto fill = [&](Index first, Index count, double* rows) {
    for (Index i = 0; i < count; ++i)
      read_finite_row("interference: W0", W0, first + i, rows + i * W0.cols);
  };
  const RowMatrix M{W0.rows, W0.cols, fill};
  KrylovSpace<> space(M, std::min<Index>({8, W0.rows, W0.cols}));
  double before = 0, found = leading_sum(space.step(), 1);
  for (int passes = 1; passes < 20 && found - before > 1e-5 * found; ++passes) {
    before = found;
    found = leading_sum(space.step(), 1);
  }
  out.weight_norm = std::sqrt(space.squares());
  out.weight_spectral_norm = std::sqrt(found);
  ColumnMatrix left(W0.rows, V.cols()), right = ColumnMatrix::Zero(W0.cols, U.cols());  // W0 V and W0^T U
  M.for_blocks([&](Index first, const ColumnMatrix& block) {
    left.middleRows(first, block.cols()) = transposed_product(block, V);
    right += product(block, U.middleRows(first, block.cols()));
  });
  for (Index i = 0; i < s.size(); ++i) out.intruders += s(i) > left.col(i).norm() && s(i) > right.col(i).norm();
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

#if LORA_HEADER_ONLY
template <class>
#endif
compose::Interference measure_interference(std::span<const CompositionTerm> terms, const MatrixView* W0,
                                           const Context& context) {
  if (W0 != nullptr) expect_shape("interference: W0", terms.front().B.rows, terms.front().A.cols, W0->rows, W0->cols);
  compose::Interference out;
  with_fp_environment([&] {
    const CoreSpace<> core(terms, context);
    std::vector<ColumnMatrix> columns, rows;
    for (Index t = 0; t < core.count(); ++t) {
      const Spectrum own = product_spectrum(core.left(t) * core.weight(t), core.right(t));
      out.updates.push_back(delta_size(own.s, core.rows(), core.cols()));
      columns.push_back(own.U.leftCols(out.updates.back().rank));
      rows.push_back(own.V.leftCols(out.updates.back().rank));
    }
    for (std::size_t i = 0; i < terms.size(); ++i)
      for (std::size_t j = i + 1; j < terms.size(); ++j) {
        const auto a = static_cast<Index>(i), b = static_cast<Index>(j);
        compose::DeltaPair pair{i, j, 0, 0, {}, {}};
        pair.inner_product = core.weight(a) * core.weight(b) *
                             transposed_product(core.left(a), core.left(b))
                                 .cwiseProduct(transposed_product(core.right(a), core.right(b)))
                                 .sum();
        const double norms = out.updates[i].norm * out.updates[j].norm;
        if (norms > 0) pair.cosine = std::clamp(pair.inner_product / norms, -1.0, 1.0);
        if (columns[i].cols() > 0 && columns[j].cols() > 0) {
          pair.column_cosines = principal_cosines(columns[i], columns[j]);
          pair.row_cosines = principal_cosines(rows[i], rows[j]);
        }
        out.pairs.push_back(std::move(pair));
      }
    Spectrum sum = spectrum_of(core.sum());
    out.sum = delta_size(sum.s, core.rows(), core.cols());
    if (W0 == nullptr) return;
    sum.keep(out.sum.rank);
    measure_weight(*W0, core.times_U(sum.U), sum.s, core.times_V(sum.V), out);
  });
  return out;
}

#if LORA_HEADER_ONLY
template <class>
#endif
compose::OutputChange measure_output_change(std::span<const CompositionTerm> terms, std::span<const MatrixView> inputs) {
  if (inputs.size() != terms.size())
    throw ShapeError(text("lora: output_change: expected inputs for each of ", terms.size(), " updates, found ",
                          inputs.size()));
  compose::OutputChange out;
  with_fp_environment([&] {
    std::vector<ColumnMatrix> triangles, downs;  // B_t = Q_t R_t: ||B_t H|| = ||R_t H||
    for (const CompositionTerm& term : terms) {
      triangles.push_back(OrthonormalBasis<>(columns_of(term.B)).triangle());
      downs.push_back(columns_of(term.A));
    }
    out.count = terms.size();
    out.norms.resize(out.count * out.count);
    for (std::size_t j = 0; j < inputs.size(); ++j) {
      const std::string name = text("output_change: the inputs of update ", j + 1);
      const MatrixView& X = inputs[j];
      if (X.rows != terms[j].A.cols || X.cols == 0)
        throw ShapeError(text("lora: ", name, ": expected ", terms[j].A.cols, " rows and at least one column, found ",
                              shape_text(X.rows, X.cols)));
      ColumnMatrix columns(X.rows, X.cols);
      std::vector<double> row(static_cast<std::size_t>(X.cols));
      for (Index i = 0; i < X.rows; ++i) {
        read_finite_row(name.c_str(), X, i, row.data());
        for (Index c = 0; c < X.cols; ++c) columns(i, c) = row[static_cast<std::size_t>(c)];
      }
      for (std::size_t i = 0; i < terms.size(); ++i)
        out.norms[i * out.count + j] =
            std::abs(terms[i].coefficient * terms[i].scaling) *
            product(triangles[i], product(downs[i], columns)).norm();
    }
  });
  return out;
}

}  // namespace detail
LORA_NAMESPACE_END
