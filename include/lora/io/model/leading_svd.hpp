// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The leading singular triplets of a large matrix. For bodies (-inl.hpp).

#include "lora/core/error.hpp"
#include "lora/core/matrix.hpp"

#include <algorithm>
#include <cmath>

#include <Eigen/Eigenvalues>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A matrix of float as an operator in double, a few rows at a time.
class LargeMatrix {
 public:
  explicit LargeMatrix(const Matrix<float>& matrix) : matrix_(matrix) {}
  Index rows() const { return matrix_.rows(); }
  Index cols() const { return matrix_.cols(); }

  Eigen::MatrixXd times(const Eigen::MatrixXd& X) const {
    Eigen::MatrixXd out(rows(), X.cols());
    for (Index i = 0; i < rows(); i += step) {
      const Index count = std::min(step, rows() - i);
      out.middleRows(i, count).noalias() = matrix_.middleRows(i, count).cast<double>() * X;
    }
    return out;
  }
  Eigen::MatrixXd transposed_times(const Eigen::MatrixXd& Y) const {
    Eigen::MatrixXd out = Eigen::MatrixXd::Zero(cols(), Y.cols());
    for (Index i = 0; i < rows(); i += step) {
      const Index count = std::min(step, rows() - i);
      const Eigen::MatrixXd part = matrix_.middleRows(i, count).cast<double>();
      out.noalias() += part.transpose() * Y.middleRows(i, count);
    }
    return out;
  }

 private:
  static constexpr Index step = 128;
  const Matrix<float>& matrix_;
};

/// Appends the columns of `block`, made orthogonal to those of Q and to each other (Gram-Schmidt, twice), while there is room; what
/// depends on them is left out. Returns how many there are.
inline Index append_orthonormal(Eigen::MatrixXd& Q, Index count, const Eigen::MatrixXd& block) {
  for (Index j = 0; j < block.cols() && count < Q.cols(); ++j) {
    Eigen::VectorXd column = block.col(j);
    const double before = column.norm();
    for (int pass = 0; pass < 2; ++pass) {
      const Eigen::VectorXd parts = Q.leftCols(count).transpose() * column;
      column.noalias() -= Q.leftCols(count) * parts;
    }
    const double norm = column.norm();
    if (!(norm > 1e-12 * before)) continue;
    Q.col(count++) = column / norm;
  }
  return count;
}

struct LeadingSvd {
  Eigen::MatrixXd U, V;   ///< rows x r and cols x r
  Eigen::VectorXd sigma;  ///< r + 1 of them where the matrix has as many: the next one as well
};

/// The r largest singular values and their vectors, to about 1e-10 of the largest: block Krylov spaces of W^T W (Golub, Luk & Overton,
/// "A block Lanczos method", 1981) with Rayleigh-Ritz, begun again with the best vectors until W^T u = sigma v. `start` are rows x any
/// columns that are near the answer. Throws ValueError when it does not converge.
inline LeadingSvd leading_svd(const Matrix<float>& matrix, Index r, const Eigen::MatrixXd& start) {
  constexpr int steps = 6, most_restarts = 40;
  constexpr double tolerance = 1e-10;
  const LargeMatrix W(matrix);
  const Index all = std::min(W.rows(), W.cols()), wanted = std::min(r + 1, all), block = std::min(r + 8, W.cols());
  Eigen::MatrixXd begin(W.cols(), block);
  begin.leftCols(std::min(block, start.cols())) = start.leftCols(std::min(block, start.cols()));
  for (Index j = start.cols(); j < block; ++j)  // any others that are not orthogonal to what is missing
    for (Index i = 0; i < W.cols(); ++i)
      begin(i, j) = std::cos(static_cast<double>(i * (2 * j + 1)) * 0.7 + static_cast<double>(j));
  const Index room = std::min<Index>(W.cols(), block * steps);
  for (int restart = 0; restart < most_restarts; ++restart) {
    Eigen::MatrixXd Q(W.cols(), room), P(W.rows(), room);
    Index count = append_orthonormal(Q, 0, begin), from = 0;
    while (true) {
      P.middleCols(from, count - from) = W.times(Q.middleCols(from, count - from));
      if (count == room) break;
      const Index next = append_orthonormal(Q, count, W.transposed_times(P.middleCols(from, count - from)));
      if (next == count) break;  // the space is complete
      from = count;
      count = next;
    }
    const Eigen::MatrixXd gram = P.leftCols(count).transpose() * P.leftCols(count);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram);
    const Index kept = std::min(block, count);
    const Eigen::MatrixXd vectors = solver.eigenvectors().rightCols(kept).rowwise().reverse();
    begin.noalias() = Q.leftCols(count) * vectors;
    LeadingSvd out;
    out.sigma = solver.eigenvalues().tail(kept).reverse().cwiseMax(0.0).cwiseSqrt().head(std::min(wanted, kept));
    const Index found = std::min(r, out.sigma.size());
    out.V = begin.leftCols(found);
    out.U = P.leftCols(count) * vectors.leftCols(found);
    for (Index j = 0; j < found; ++j)
      if (out.sigma[j] > 0) out.U.col(j) /= out.sigma[j];
    const Eigen::MatrixXd residual = W.transposed_times(out.U) - out.V * out.sigma.head(found).asDiagonal();
    if (residual.colwise().norm().maxCoeff() <= tolerance * out.sigma[0]) return out;
  }
  throw ValueError("lora: the largest singular values: expected them to converge, found them too close to each other");
}

}  // namespace io::detail
LORA_NAMESPACE_END
