// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Orthonormal bases and singular values, by Eigen, in double. For bodies (-inl.hpp). What is a template of no
/// parameter, here and in the methods, is so that only a program that combines updates compiles Eigen's decompositions.

#include "lora/compose/options.hpp"
#include "lora/core/matrix.hpp"

#include <Eigen/QR>
#include <Eigen/SVD>

#include <algorithm>
#include <limits>

LORA_TAGGED_BEGIN

using ColumnMatrix = Matrix<double, column_major>;

/// The relative size of one rounding in double.
inline constexpr double unit_roundoff = std::numeric_limits<double>::epsilon() / 2;

/// X Y, X^T Y and X Y^T: Eigen's products are compiled here alone.
template <class = void>
LORA_NOINLINE ColumnMatrix product(const ColumnMatrix& X, const ColumnMatrix& Y) {
  return X * Y;
}
template <class = void>
LORA_NOINLINE ColumnMatrix transposed_product(const ColumnMatrix& X, const ColumnMatrix& Y) {
  return X.transpose() * Y;
}
template <class = void>
LORA_NOINLINE ColumnMatrix product_transposed(const ColumnMatrix& X, const ColumnMatrix& Y) {
  return X * Y.transpose();
}

/// X diag(s).
template <class = void>
ColumnMatrix scaled_columns(ColumnMatrix X, const Eigen::VectorXd& s) {
  for (Index j = 0; j < X.cols(); ++j) X.col(j) *= s(j);
  return X;
}

/// M = U diag(s) V^T, s from the largest on.
struct Spectrum {
  ColumnMatrix U;
  Eigen::VectorXd s;
  ColumnMatrix V;

  Index size() const { return s.size(); }
  void keep(Index count) {
    U = ColumnMatrix(U.leftCols(count));
    s = Eigen::VectorXd(s.head(count));
    V = ColumnMatrix(V.leftCols(count));
  }
};

/// M = Q R with Q orthonormal, M.rows() x depth(), kept as Householder's reflections: also where M's columns depend on
/// each other.
template <class = void>
class OrthonormalBasis {
 public:
  explicit OrthonormalBasis(const ColumnMatrix& M) : rows_(M.rows()), depth_(std::min(M.rows(), M.cols())), qr_(M) {}

  Index rows() const { return rows_; }
  Index depth() const { return depth_; }

  /// R, depth() x M.cols().
  ColumnMatrix triangle() const { return qr_.matrixQR().topRows(depth_).template triangularView<Eigen::Upper>(); }

  /// Q X.
  ColumnMatrix times(const ColumnMatrix& X) const {
    ColumnMatrix out = ColumnMatrix::Zero(rows_, X.cols());
    out.topRows(X.rows()) = X;
    out.applyOnTheLeft(qr_.householderQ());
    return out;
  }

 private:
  Index rows_, depth_;
  Eigen::HouseholderQR<ColumnMatrix> qr_;
};

// Eigen 5 wants the options as a template argument, which 3.4 does not know. (A return type of auto would be deduced, and all of the
// decomposition compiled, where a template names the function.)
#if EIGEN_VERSION_AT_LEAST(5, 0, 0)
using ThinSvd = Eigen::BDCSVD<ColumnMatrix, Eigen::ComputeThinU | Eigen::ComputeThinV>;
template <class = void>
ThinSvd thin_svd(const ColumnMatrix& M) {
  return ThinSvd(M);
}
#else
using ThinSvd = Eigen::BDCSVD<ColumnMatrix>;
template <class = void>
ThinSvd thin_svd(const ColumnMatrix& M) {
  return ThinSvd(M, Eigen::ComputeThinU | Eigen::ComputeThinV);
}
#endif

/// The thin SVD. Long matrices go through their QR. Throws ValueError when an element is not finite.
template <class = void>
LORA_NOINLINE Spectrum spectrum_of(const ColumnMatrix& M) {
  if (M.rows() > 2 * M.cols()) {
    const OrthonormalBasis<> basis(M);
    Spectrum out = spectrum_of(basis.triangle());
    out.U = basis.times(out.U);
    return out;
  }
  if (M.cols() > 2 * M.rows()) {
    Spectrum out = spectrum_of(M.transpose());
    std::swap(out.U, out.V);
    return out;
  }
  if (!M.allFinite()) throw ValueError("lora: compose: expected factors whose products are finite, found an overflow");
  const ThinSvd svd = thin_svd(M);
  return {svd.matrixU(), svd.singularValues(), svd.matrixV()};
}

/// How many singular values of an m x n matrix differ from zero by more than rounding.
template <class = void>
Index numerical_rank(const Eigen::VectorXd& s, Index m, Index n) {
  const double noise = 2 * unit_roundoff * static_cast<double>(m + n) * (s.size() == 0 ? 0.0 : s(0));
  return std::count_if(s.begin(), s.end(), [&](double value) { return value > noise; });
}

/// The square root of the sum of squares of s from `first` on, the smallest first.
template <class = void>
double tail_norm(const Eigen::VectorXd& s, Index first) {
  double sum = 0;
  for (Index i = s.size(); i-- > first;) sum += s(i) * s(i);
  return std::sqrt(sum);
}

/// How many singular values of an m x n matrix a truncation keeps, at least one. By energy: as few of the first as have
/// the share of `squares`, the sum of squares of all singular values; all that there are for a share of 1.
template <class = void>
Index kept_count(const Eigen::VectorXd& s, const compose::Truncation& truncation, Index m, Index n, double squares) {
  using Rule = compose::Truncation::Rule;
  Index count = truncation.rule() == Rule::rank ? s.size() : numerical_rank(s, m, n);
  if (truncation.rule() == Rule::energy && truncation.energy() < 1) {
    const double enough = truncation.energy() * squares;
    double sum = 0;
    Index first = 0;
    for (; first < s.size() && sum < enough; ++first) sum += s(first) * s(first);
    count = std::min(count, first);
  }
  if (truncation.rule() != Rule::none) count = std::min(count, truncation.rank());
  return std::max<Index>(count, 1);
}
template <class = void>
Index kept_count(const Eigen::VectorXd& s, const compose::Truncation& truncation, Index m, Index n) {
  const double norm = tail_norm(s, 0);
  return kept_count(s, truncation, m, n, norm * norm);
}

/// What each of so many matrices keeps where all together are to keep what the truncation says: an equal share of the rank, at
/// least 1, the same energy.
inline compose::Truncation divided(const compose::Truncation& truncation, Index matrices) {
  using Rule = compose::Truncation::Rule;
  if (truncation.rule() == Rule::none) return truncation;
  const Index share = std::max<Index>(truncation.rank() / matrices, 1);
  return truncation.rule() == Rule::rank ? compose::Truncation::rank(share)
                                         : compose::Truncation::energy(truncation.energy(), share);
}

struct TruncatedSpectrum {
  Spectrum kept;
  double norm = 0, error = 0;  // of the whole matrix, of what is left out
};

/// The SVD of the whole matrix, cut.
template <class = void>
TruncatedSpectrum truncated(Spectrum spectrum, const compose::Truncation& truncation, Index m, Index n) {
  const Index count = kept_count(spectrum.s, truncation, m, n);
  TruncatedSpectrum out{{}, tail_norm(spectrum.s, 0), tail_norm(spectrum.s, count)};
  spectrum.keep(count);
  out.kept = std::move(spectrum);
  return out;
}

/// The same for methods that give every direction they keep a weight of its own: of those alone that stand for more
/// than `noise`, at least one.
template <class = void>
TruncatedSpectrum truncated_to_signal(Spectrum spectrum, const compose::Truncation& truncation, Index m, Index n,
                                      double noise = 0) {
  const Index signal = std::count_if(spectrum.s.begin(), spectrum.s.end(), [&](double value) { return value > noise; });
  const Index count =
      std::min(kept_count(spectrum.s, truncation, m, n), std::min(signal, numerical_rank(spectrum.s, m, n)));
  TruncatedSpectrum out{{}, tail_norm(spectrum.s, 0), tail_norm(spectrum.s, std::max<Index>(count, 1))};
  spectrum.keep(std::max<Index>(count, 1));
  out.kept = std::move(spectrum);
  return out;
}

/// The matrix with orthonormal columns that is nearest to M: P Q^T for M = P S Q^T (the polar factor). Directions that
/// M lacks stay away: there it is a partial isometry.
template <class = void>
ColumnMatrix nearest_orthonormal(const ColumnMatrix& M) {
  Spectrum spectrum = spectrum_of(M);
  spectrum.keep(numerical_rank(spectrum.s, M.rows(), M.cols()));
  return product_transposed(spectrum.U, spectrum.V);
}

/// The orthonormal basis of the columns so far, and what of new columns lies outside of it.
template <class = void>
class GrowingBasis {
 public:
  explicit GrowingBasis(Index rows) : Q_(rows, 0) {}

  const ColumnMatrix& all() const { return Q_; }

  ColumnMatrix outside(ColumnMatrix M) const {
    for (int twice = 0; twice < 2; ++twice)
      M -= product(Q_, transposed_product(Q_, M));  // once leaves a rounded part inside
    return M;
  }

  /// Returns by how many columns it grew.
  Index add(const ColumnMatrix& M) {
    const Spectrum spectrum = spectrum_of(outside(M));
    const double noise = 4 * unit_roundoff * static_cast<double>(Q_.rows() + M.cols()) * M.norm();
    const Index count = std::count_if(spectrum.s.begin(), spectrum.s.end(), [&](double s) { return s > noise; });
    const ColumnMatrix fresh = outside(spectrum.U.leftCols(count));
    Q_.conservativeResize(Eigen::NoChange, Q_.cols() + count);
    Q_.rightCols(count) = fresh;
    return count;
  }

 private:
  ColumnMatrix Q_;
};

LORA_TAGGED_END
