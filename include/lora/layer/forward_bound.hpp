// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/linear.hpp"

#include <cmath>
#include <limits>

LORA_NAMESPACE_BEGIN
namespace detail {

/// The constants of forward_bound() for `in` inputs and a sum of ranks R, see there.
template <class T>
struct RoundingBound {
  using Compute = compute_t<T>;

  RoundingBound(Index in, Index R) {
    const double n = static_cast<double>(in), r = static_cast<double>(R);
    const double g1 = gamma(n + 1), g_chain = gamma(r + 1);
    const double rho = std::is_same_v<T, Compute> ? u : compound(u, u_storage);
    const double stored = compound(rho, g1);
    weight = gamma(n + r + 1) + stored;
    update = gamma(2 * n + r + 2) + compound(g_chain, stored);
    bias = gamma(n + r + 1) + g1;
    // Only 16 bit storage has denormals that a sum of two stored numbers can fall between.
    denormal = std::is_same_v<T, Compute> ? 0.0 : tiny_storage / 2 * (1 + g1);
  }

  static constexpr double u = static_cast<double>(std::numeric_limits<Compute>::epsilon()) / 2;
  static constexpr double tiny = static_cast<double>(std::numeric_limits<Compute>::denorm_min());
  static constexpr double u_storage = std::is_same_v<T, Eigen::half> ? 0x1p-11 : 0x1p-8;
  static constexpr double tiny_storage = std::is_same_v<T, Eigen::half> ? 0x1p-24 : 0x1p-133;

  double weight, update, bias, denormal;

 private:
  /// What k roundings in a row can do; infinite where the theory ends.
  static double gamma(double k) {
    return 2 * k * u < 1 ? k * u / (1 - k * u) : std::numeric_limits<double>::infinity();
  }
  /// (1 + a)(1 + b) - 1
  static constexpr double compound(double a, double b) { return a + b + a * b; }
};

/// |W| |X| in double, a few lines of W at a time.
template <class T>
Activations<double> absolute_product(const Lines<const T>& weight, const Activations<double>& X) {
  Activations<double> out = Activations<double>::Zero(weight.rows(), X.cols());
  const Index chunk = std::max<Index>(1, 256 * 1024 / std::max<Index>(1, weight.length));
  for (Index first = 0; first < weight.lines; first += chunk) {
    const Index count = std::min(chunk, weight.lines - first);
    Matrix<double> lines(count, weight.length);
    for (Index i = 0; i < count; ++i)
      for (Index j = 0; j < weight.length; ++j)
        lines(i, j) = std::abs(static_cast<double>(widen(weight.line(first + i)[j])));
    if (weight.order == row_major)
      out.middleRows(first, count).noalias() = lines * X;
    else
      out.noalias() += lines.transpose() * X.middleRows(first, count);
  }
  return out;
}

}  // namespace detail

/// How far the merged and the unmerged forward pass over the same W0 can be apart, for every element of Y: out x batch,
/// in double. `W0` is the weight before the merge, `set` the active set, `X` the activations (in x batch, of the type they
/// are given to the passes in), `bias` out x 1 or empty. Holds for every order of summation and with or without fused
/// multiply-adds, under rounding to nearest without flushing of denormals, but for a bfloat16 W0 and X, whose products may
/// flush them; as long as nothing overflows and X fits the compute type. Allocates a few out x batch
/// matrices, and of a dense part its magnitudes. Throws ShapeError, and StateError for gains that need for_weight().
///
/// With u the unit roundoff of the compute type, v that of the storage type, gamma_k = k u / (1 - k u) for k roundings
/// in a row (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, lemma 3.1), n = in, R the sum of the
/// ranks, c the scaling times the weight in the compute type, the same on both ways, and
///     S = |W0| |X|,   T = sum of |c| |B| (|A| |X|),   Z = W0 X + sum of c B A X + bias   (exact)
/// - unmerged: A X is off by gamma_n, the scale rounds once, the n + R + 1 terms of an element are summed:
///     |Y - Z| <= gamma_{n+R+1} (S + |bias|) + gamma_{2n+R+2} T
/// - merged: delta is a chain of R steps over the rounded c B: gamma_{R+1}; W' = (W0 + delta)(1 + rho) with rho = u, or
///   u + v + u v in 16 bits, where the sum rounds to the compute type and then to storage; the sum over n terms and
///   bias:
///     |Y' - Z| <= (rho + gamma_{n+1} + ...) S + (gamma_{R+1} + rho + gamma_{n+1} + ...) T + gamma_{n+1} |bias|
///   where ... stands for the products, which are in what is computed.
/// Gains g of rows (DoRA) and h of columns (IA3), the same on both ways, multiply S, and g acts on B already; each rounds once more, as if
/// R were R + 1. A dense part D adds |D| |X| to T, and n terms to the unmerged sum, as if n were 2 n; the merged chain begins with it.
/// The bound is the sum of the two, and what does not shrink with the numbers: half the least denormal of 16 bit
/// storage times sum |x|, and the least denormal of the compute type for every product that may underflow; the smallest
/// normal number instead where denormals may be flushed, for operands and sums as well. The bound's own rounding, in
/// double, is covered by a factor 1 + 2^-20. It is infinite from 2 (2n + R + 2) u = 1 on (n = 4 million for float).
template <class Weight, class Derived>
Activations<double> forward_bound(const Weight& W0, const std::type_identity_t<ActiveSet<detail::WeightCompute<const Weight>>>& set,
                                  const Eigen::MatrixBase<Derived>& X,
                                  const Eigen::Matrix<detail::WeightCompute<const Weight>, Eigen::Dynamic, 1>& bias = {}) {
  using T = std::remove_const_t<detail::WeightScalar<const Weight>>;
  using Compute = compute_t<T>;
  const auto lines = detail::lines_of(W0);
  const Index out = lines.rows(), in = lines.cols();
  detail::expect_shape("forward_bound: X", in, X.cols(), X.rows(), X.cols());
  if (bias.size() != 0) detail::expect_shape("forward_bound: bias", out, 1, bias.rows(), bias.cols());

  constexpr bool flushes = std::is_same_v<T, Eigen::bfloat16> && std::is_same_v<typename Derived::Scalar, Eigen::bfloat16>;
  const auto& values = X.derived().eval();
  Activations<double> absolute_X(in, X.cols());
  for (Index j = 0; j < X.cols(); ++j)
    for (Index i = 0; i < in; ++i) absolute_X(i, j) = std::abs(static_cast<double>(detail::widen(values(i, j))));
  Activations<double> T_sum = Activations<double>::Zero(out, X.cols());
  const Eigen::RowVectorXd sum_X = absolute_X.colwise().sum();
  // Counts of products that may underflow, times what they are multiplied with afterwards.
  Activations<double> underflows = Activations<double>::Constant(out, X.cols(), 2 * static_cast<double>(in));
  if (flushes) {
    underflows.array() += 2 * static_cast<double>(in / 16 + 2);  // the sums of blocks
    underflows.rowwise() += 2 * sum_X;                            // denormals of W0 and W'
  }
  Index R = 0;
  set.expect_fits("forward_bound", out, in);
  const Form<Compute>& form = set.form();
  set.expect_weight("forward_bound", W0);
  if (form.dense() != nullptr) {
    T_sum.noalias() +=
        Eigen::Map<const Matrix<Compute>>(form.dense(), out, in).template cast<double>().cwiseAbs() * absolute_X;
    underflows.array() += static_cast<double>(in);
    if (flushes)  // a denormal x is flushed on one way and not on the other: here, below and with the gains
      underflows.colwise() += Eigen::Map<const Matrix<Compute>>(form.dense(), out, in)
                                  .template cast<double>()
                                  .cwiseAbs()
                                  .rowwise()
                                  .sum();
  }
  if (const Index R_set = form.depth(); R_set != 0) {
    Matrix<double> B(out, R_set), A(R_set, in);
    for (Index k = 0; k < R_set; ++k) {
      for (Index i = 0; i < out; ++i) B(i, k) = std::abs(static_cast<double>(form.B(i, k)));
      for (Index j = 0; j < in; ++j) A(k, j) = std::abs(static_cast<double>(form.A(k, j)));
    }
    const Activations<double> H = A * absolute_X;
    const double rank = static_cast<double>(R_set);
    T_sum.noalias() += B * H;
    underflows.colwise() += static_cast<double>(in) * B.rowwise().sum();
    underflows.rowwise() += 2 * H.colwise().sum() + rank * sum_X;
    underflows.array() += rank;
    if (flushes) underflows.colwise() += B * A.rowwise().sum();
    R = R_set;
  }

  // Gains round once more on each way: as a step of the chain does.
  const Compute *const gains = form.row_gains(), *const column_gains = form.column_gains();
  const detail::RoundingBound<T> bound(form.dense() == nullptr ? in : 2 * in,
                                       R + (gains == nullptr ? 0 : 1) + (column_gains == nullptr ? 0 : 1));
  if (!std::isfinite(bound.update)) return Activations<double>::Constant(out, X.cols(), bound.update);
  if (column_gains != nullptr) {
    // What underflows in h o x is multiplied with W0, and what does in h W0 with x.
    const Activations<double> sums = detail::absolute_product<T>(lines, Activations<double>::Ones(in, 1));
    underflows.colwise() += sums.col(0);
    underflows.rowwise() += sum_X;
    if (flushes) {
      const Activations<double> h =
          Eigen::Map<const Activations<Compute>>(column_gains, in, 1).template cast<double>().cwiseAbs();
      underflows.colwise() += detail::absolute_product<T>(lines, h).col(0);
    }
    for (Index j = 0; j < in; ++j) absolute_X.row(j) *= std::abs(static_cast<double>(column_gains[j]));
  }
  Activations<double> S = detail::absolute_product<T>(lines, absolute_X);
  if (gains != nullptr)
    for (Index i = 0; i < out; ++i) {
      const double gain = std::abs(static_cast<double>(gains[i]));
      S.row(i) *= gain;
      underflows.row(i) = underflows.row(i) * std::max(gain, 1.0) + Eigen::RowVectorXd::Ones(X.cols());
    }
  // Each underflow can be magnified by the roundings after it: by less than 4 wherever the bound is finite.
  Activations<double> result = bound.weight * S + bound.update * T_sum + 4 * (flushes ? 0x1p-126 : bound.tiny) * underflows;
  result.rowwise() += bound.denormal * sum_X;
  if (bias.size() != 0) result.colwise() += bound.bias * bias.template cast<double>().cwiseAbs();
  return result * (1 + 0x1p-20);
}

/// The same for a layer and its active set. Throws StateError when the layer is merged: the bound needs W0.
template <class Scalar, StorageOrder Order, Ownership Own, class Derived>
Activations<double> forward_bound(const Linear<Scalar, Order, Own>& layer, const Eigen::MatrixBase<Derived>& X) {
  if (layer.merged()) throw StateError("lora: forward_bound: the layer is merged; the bound needs W0");
  return forward_bound(layer.weight().matrix(), layer.active_set(), X, layer.bias());
}

LORA_NAMESPACE_END
