// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The core: delta_t = U (L_t s_t R_t^T) V^T with U and V orthonormal, the same for all updates (Panariello et al.,
/// "Accurate and Efficient Low-Rank Model Merging in Core Space", 2025). For bodies (-inl.hpp).

#include "lora/compose/run_all.hpp"
#include "lora/compose/spectral.hpp"
#include "lora/compose/terms.hpp"
#include "lora/update/factors.hpp"

#include <span>
#include <vector>

LORA_TAGGED_BEGIN

/// A matrix in double, or its transpose.
template <class = void>
LORA_NOINLINE ColumnMatrix columns_of(const MatrixView& view) {
  Matrix<double> rows(view.rows, view.cols);
  for (Index i = 0; i < view.rows; ++i) read_row(view, i, rows.data() + i * view.cols);
  return rows;
}
template <class = void>
LORA_NOINLINE ColumnMatrix transposed_columns_of(const MatrixView& view) {
  ColumnMatrix columns(view.cols, view.rows);  // column i is row i
  for (Index i = 0; i < view.rows; ++i) read_row(view, i, columns.data() + i * view.cols);
  return columns;
}

/// A matrix of doubles in memory that is the same for every compiler flag.
template <class = void>
AlignedMatrix<double, row_major> aligned_copy(const ColumnMatrix& M) {
  return AlignedMatrix<double, row_major>(M);
}

template <class = void>
class CoreSpace {
 public:
  CoreSpace(std::span<const CompositionTerm> terms, const Context& context) : terms_(terms) {
    Index begin = 0;
    for (const CompositionTerm& term : terms) {
      begins_.push_back(begin);
      begin += term.rank();
    }
    depth_ = begin;
    run_all(context, 2, [&](int task) {
      if (task == 0)
        make(U_, T_, [](const CompositionTerm& term) { return columns_of(term.B); });
      else
        make(V_, X_, [](const CompositionTerm& term) { return transposed_columns_of(term.A); });
    });
  }

  Index count() const { return static_cast<Index>(terms_.size()); }
  Index rows() const { return U_->depth(); }
  Index cols() const { return V_->depth(); }

  /// B_t = U L_t and A_t = R_t^T V^T.
  ColumnMatrix left(Index t) const { return T_.middleCols(begins_[static_cast<std::size_t>(t)], term(t).rank()); }
  ColumnMatrix right(Index t) const { return X_.middleCols(begins_[static_cast<std::size_t>(t)], term(t).rank()); }

  /// c_t s_t.
  double weight(Index t) const { return term(t).coefficient * term(t).scaling; }
  const CompositionTerm& term(Index t) const { return terms_[static_cast<std::size_t>(t)]; }

  /// [B_1 ... B_k] = U T and [A_1; ...; A_k]^T = V X.
  const ColumnMatrix& all_left() const { return T_; }
  const ColumnMatrix& all_right() const { return X_; }

  /// The sum of all c_t delta_t.
  ColumnMatrix sum() const {
    ColumnMatrix scaled = T_;
    for (Index t = 0; t < count(); ++t)
      scaled.middleCols(begins_[static_cast<std::size_t>(t)], term(t).rank()) *= weight(t);
    return product_transposed(scaled, X_);
  }

  ColumnMatrix times_U(const ColumnMatrix& M) const { return U_->times(M); }
  ColumnMatrix times_V(const ColumnMatrix& M) const { return V_->times(M); }

  /// B = U M.U diag(M.s), A = (V M.V)^T.
  ComposedFactors factors(const Spectrum& M) const {
    return {aligned_copy(times_U(scaled_columns(M.U, M.s))), aligned_copy(times_V(M.V).transpose()), 0, 0, 0};
  }

 private:
  template <class Columns>
  void make(std::unique_ptr<OrthonormalBasis<>>& basis, ColumnMatrix& triangle, const Columns& columns) const {
    ColumnMatrix stack(static_cast<Index>(columns(terms_.front()).rows()), depth_);
    for (Index t = 0; t < count(); ++t)
      stack.middleCols(begins_[static_cast<std::size_t>(t)], term(t).rank()) = columns(term(t));
    basis = std::make_unique<OrthonormalBasis<>>(stack);
    triangle = basis->triangle();
  }

  std::span<const CompositionTerm> terms_;
  std::vector<Index> begins_;
  Index depth_ = 0;
  std::unique_ptr<OrthonormalBasis<>> U_, V_;
  ColumnMatrix T_, X_;
};

/// An upper bound on what arithmetic in double does to sums of the terms, by the textbook bound of Householder's QR
/// (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, theorem 19.4) and of the SVD.
template <class = void>
double sum_rounding(std::span<const CompositionTerm> terms) {
  double magnitude = 0, depth = 0;
  for (const CompositionTerm& term : terms) {
    magnitude += std::abs(term.coefficient * term.scaling) * columns_of(term.B).norm() * columns_of(term.A).norm();
    depth += static_cast<double>(term.rank());
  }
  return 4 * unit_roundoff * static_cast<double>(terms.front().B.rows + terms.front().A.cols) * depth * magnitude;
}

LORA_TAGGED_END
