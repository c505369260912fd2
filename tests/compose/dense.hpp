// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Compositions as their papers write them, on whole matrices: what the library must agree with.

#include "reference/random.hpp"

#include <lora/compose.hpp>

#include <gtest/gtest.h>

#include <Eigen/SVD>

#include <cmath>
#include <numeric>
#include <vector>

namespace dense {

using lora::Index;
using Doubles = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;
using Set = lora::ActiveSet<double>;
namespace compose = lora::compose;

struct Svd {
  Doubles U;
  Vector s;
  Doubles V;
};
inline Svd svd(const Doubles& M) {
  const Eigen::JacobiSVD<Doubles> found(M, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return {found.matrixU(), found.singularValues(), found.matrixV()};
}
inline Svd first(const Svd& all, Index count) {
  return {all.U.leftCols(count), all.s.head(count), all.V.leftCols(count)};
}
inline Doubles product(const Svd& svd) { return svd.U * svd.s.asDiagonal() * svd.V.transpose(); }
inline Doubles best(const Doubles& M, Index rank) { return product(first(svd(M), rank)); }
inline Index rank(const Vector& s) { return (s.array() > 1e-12 * s(0)).count(); }

/// s B A of update i.
inline Doubles delta(const Set& set, std::size_t i) {
  const auto& low_rank = dynamic_cast<const lora::LowRank<double>&>(*set.updates()[i].update);
  return low_rank.scaling() * Doubles(low_rank.B()) * Doubles(low_rank.A());
}
inline std::vector<Doubles> deltas(const Set& set) {
  std::vector<Doubles> out;
  for (std::size_t i = 0; i < set.updates().size(); ++i) out.push_back(delta(set, i));
  return out;
}
inline Doubles sum(const Set& set) {
  Doubles out = set.updates()[0].coefficient * delta(set, 0);
  for (std::size_t i = 1; i < set.updates().size(); ++i) out += set.updates()[i].coefficient * delta(set, i);
  return out;
}
template <class Compute>
Doubles delta(const compose::Composition<Compute>& made) {
  return made.update.scaling() * made.update.B().template cast<double>() * made.update.A().template cast<double>();
}

/// How far apart a composition may be from another computation of the same: both round as the library says of itself.
template <class Compute>
double tolerance(const compose::Composition<Compute>& made) {
  return 2 * made.rounding;
}

inline double sign(double x) { return (x > 0) - (x < 0); }

/// The int(density n) elements of the largest magnitude, in row-major order where they are equal.
inline Doubles pruned(const Doubles& M, double density) {
  const lora::Matrix<double> by_rows = M;
  std::vector<Index> order(static_cast<std::size_t>(M.size()));
  std::iota(order.begin(), order.end(), Index{0});
  const double* const at = by_rows.data();
  std::stable_sort(order.begin(), order.end(), [at](Index a, Index b) { return std::abs(at[a]) > std::abs(at[b]); });
  lora::Matrix<double> out = lora::Matrix<double>::Zero(M.rows(), M.cols());
  for (std::size_t k = 0; k < static_cast<std::size_t>(density * static_cast<double>(M.size())); ++k)
    out.data()[order[k]] = at[order[k]];
  return out;
}

/// TIES of pruned tensors.
inline Doubles elected(const std::vector<Doubles>& tensors, const std::vector<double>& weights,
                       const compose::Options& options) {
  const bool mergekit = options.rules == compose::Rules::mergekit,
             total = options.majority_sign == compose::MajoritySign::total;
  Doubles out = Doubles::Zero(tensors[0].rows(), tensors[0].cols());
  for (Index i = 0; i < out.rows(); ++i)
    for (Index j = 0; j < out.cols(); ++j) {
      double votes = 0, sum = 0, divisor = 0;
      for (std::size_t t = 0; t < tensors.size(); ++t) {
        const double value = tensors[t](i, j) * (mergekit ? weights[t] : 1);
        votes += total ? value : sign(value);
      }
      for (std::size_t t = 0; t < tensors.size(); ++t) {
        const double value = tensors[t](i, j) * (mergekit ? weights[t] : 1);
        if ((votes >= 0 && value > 0) || (votes < 0 && value < 0)) {
          sum += weights[t] * tensors[t](i, j);
          divisor += mergekit ? weights[t] : 1;
        }
      }
      out(i, j) = std::abs(divisor) > 0 ? sum / divisor : sum;
    }
  return out;
}

/// TIES as a whole.
inline Doubles ties(std::vector<Doubles> tensors, const Set& set, const compose::Options& options) {
  std::vector<double> weights;
  for (const auto& active : set.updates()) weights.push_back(active.coefficient);
  for (Doubles& tensor : tensors) tensor = pruned(tensor, options.density);
  return elected(tensors, weights, options);
}

/// P Q^T of M = P S Q^T.
inline Doubles polar(const Doubles& M) {
  const Svd found = first(svd(M), rank(svd(M).s));
  return found.U * found.V.transpose();
}
inline Doubles beside(const std::vector<Doubles>& parts) {
  Index cols = 0;
  for (const Doubles& part : parts) cols += part.cols();
  Doubles out(parts[0].rows(), cols);
  cols = 0;
  for (const Doubles& part : parts) {
    out.middleCols(cols, part.cols()) = part;
    cols += part.cols();
  }
  return out;
}

/// Each column with a sign that makes its product with the sum of the stack's columns positive.
inline Doubles oriented(Doubles U, const Doubles& stack) {
  for (Index j = 0; j < U.cols(); ++j)
    if (U.col(j).dot(stack.rowwise().sum()) < 0) U.col(j) *= -1;
  return U;
}

/// All B and all A^T.
inline std::pair<std::vector<Doubles>, std::vector<Doubles>> factors(const Set& set) {
  std::pair<std::vector<Doubles>, std::vector<Doubles>> out;
  for (const auto& active : set.updates()) {
    const auto& low_rank = dynamic_cast<const lora::LowRank<double>&>(*active.update);
    out.first.push_back(low_rank.B());
    out.second.push_back(low_rank.A().transpose());
  }
  return out;
}

/// Gaussian updates of these ranks.
inline Set gaussian(std::uint64_t seed, Index rows, Index cols, const std::vector<Index>& ranks,
                    std::vector<double> coefficients = {}) {
  reference::Random random(seed);
  std::vector<lora::ActiveUpdate<double>> updates;
  for (std::size_t t = 0; t < ranks.size(); ++t) {
    const lora::Matrix<double> B = reference::gaussian<double>(random, rows, ranks[t]),
                               A = reference::gaussian<double>(random, ranks[t], cols);
    updates.emplace_back(lora::LowRank<double>(B, A, lora::scaling::alpha(0.5 + static_cast<double>(t))),
                         t < coefficients.size() ? coefficients[t] : 0.7 - 0.4 * static_cast<double>(t));
  }
  return Set(updates);
}

}  // namespace dense
