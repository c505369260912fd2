// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The methods of compose/subspace.hpp. For bodies (-inl.hpp).

#include "lora/compose/pruned_methods.hpp"

LORA_TAGGED_BEGIN

/// The left singular vectors of M that stand for more than rounding.
template <class = void>
ColumnMatrix column_space(const ColumnMatrix& M) {
  Spectrum spectrum = spectrum_of(M);
  return spectrum.U.leftCols(std::max<Index>(numerical_rank(spectrum.s, M.rows(), M.cols()), 1));
}

/// Orthonormal columns with signs that the factors alone decide: each has a product with the sum of the columns of
/// `stack` that is not negative. Votes about signs see them where there is a draw.
template <class = void>
ColumnMatrix oriented(ColumnMatrix P, const ColumnMatrix& stack) {
  const ColumnMatrix sum = stack.rowwise().sum();
  for (Index j = 0; j < P.cols(); ++j)
    if (P.col(j).dot(sum.col(0)) < 0) P.col(j) *= -1;
  return P;
}

/// The SVD of L R^T, through the QR of both.
template <class = void>
Spectrum product_spectrum(const ColumnMatrix& L, const ColumnMatrix& R) {
  const OrthonormalBasis<> left(L), right(R);
  Spectrum out = spectrum_of(product_transposed(left.triangle(), right.triangle()));
  out.U = left.times(out.U);
  out.V = right.times(out.V);
  return out;
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_core_ties(std::span<const CompositionTerm> terms, const PruningRule& rule,
                                                const compose::Truncation& truncation, const Context& context) {
  const CoreSpace<> core(terms, context);
  const ColumnMatrix P = oriented(column_space(core.all_left()), core.all_left()),
                     Q = oriented(column_space(core.all_right()), core.all_right());
  ProductTensors products;
  for (Index t = 0; t < core.count(); ++t)
    products.add(transposed_product(P, core.left(t)), transposed_product(Q, core.right(t)), core.term(t).scaling);
  TruncatedSpectrum sum = merge_products(products, terms, rule, truncation, context);
  sum.kept.U = product(P, sum.kept.U);
  sum.kept.V = product(Q, sum.kept.V);
  ComposedFactors out = core.factors(sum.kept);
  out.norm = sum.norm;
  out.error = sum.error;
  out.rounding = pruned_rounding(terms, rule);
  return out;
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_knots(std::span<const CompositionTerm> terms, const PruningRule& rule,
                                            const compose::Truncation& truncation, const Context& context) {
  const CoreSpace<> core(terms, context);
  // With A_t^T = Q_t X_t all deltas side by side are U [L_1 s_1 X_1^T ...] diag(Q_1^T ...): U times the left singular
  // vectors of the small matrix in the middle are theirs.
  std::vector<ColumnMatrix> parts;
  Index width = 0;
  for (Index t = 0; t < core.count(); ++t) {
    parts.push_back(
        product_transposed(core.left(t) * core.term(t).scaling, OrthonormalBasis<>(core.right(t)).triangle()));
    width += parts.back().cols();
  }
  ColumnMatrix beside(core.rows(), width);
  Index begin = 0;
  for (const ColumnMatrix& part : parts) {
    beside.middleCols(begin, part.cols()) = part;
    begin += part.cols();
  }
  const ColumnMatrix P = oriented(column_space(beside), core.all_left());
  ProductTensors products;
  for (Index t = 0; t < core.count(); ++t)
    products.add(transposed_product(P, core.left(t)), transposed_columns_of(core.term(t).A), core.term(t).scaling);
  const TruncatedSpectrum sum = merge_products(products, terms, rule, truncation, context);
  return {aligned_copy(core.times_U(product(P, scaled_columns(sum.kept.U, sum.kept.s)))),
          aligned_copy(sum.kept.V.transpose()), sum.norm, sum.error, pruned_rounding(terms, rule)};
}

/// How much each direction of the inputs resists when all are made orthonormal.
enum class InputWeights : std::uint8_t { none, singular_values };

/// Singular triplets of several matrices side by side.
template <class = void>
class JoinedSpectra {
 public:
  explicit JoinedSpectra(const CoreSpace<>& core) : core_(core) {}

  void add(Spectrum spectrum) {
    size_ += spectrum.size();
    spectra_.push_back(std::move(spectrum));
  }
  Index size() const { return size_; }

  /// All of them, with their vectors made orthonormal: U' and V' minimise sum |u'_i - u_i|^2 and sum w_i |v'_i - v_i|^2, where
  /// w_i is 1 or s_i (Procrustes' problem, solved by the polar factor of V diag(w)).
  Spectrum orthonormal(InputWeights weights = InputWeights::none) const {
    Spectrum all{ColumnMatrix(core_.rows(), size_), Eigen::VectorXd(size_), ColumnMatrix(core_.cols(), size_)};
    Index begin = 0;
    for (const Spectrum& one : spectra_) {
      all.U.middleCols(begin, one.size()) = one.U;
      all.s.segment(begin, one.size()) = one.s;
      all.V.middleCols(begin, one.size()) = one.V;
      begin += one.size();
    }
    all.U = nearest_orthonormal(all.U);
    all.V = nearest_orthonormal(weights == InputWeights::none ? all.V : scaled_columns(all.V, all.s));
    return all;
  }

 private:
  const CoreSpace<>& core_;
  std::vector<Spectrum> spectra_;
  Index size_ = 0;
};

template <class = void>
LORA_NOINLINE ComposedFactors compose_tsv_m(std::span<const CompositionTerm> terms, InputWeights weights,
                                            const compose::Truncation& truncation, const Context& context) {
  const CoreSpace<> core(terms, context);
  const compose::Truncation each = divided(truncation, core.count());
  JoinedSpectra<> joined(core);
  double left_out = 0, all_deltas = 0;
  for (Index t = 0; t < core.count(); ++t) {
    TruncatedSpectrum own = truncated_to_signal(product_spectrum(core.left(t) * core.weight(t), core.right(t)), each,
                                                core.rows(), core.cols());
    // Directions of no delta would push others aside.
    if (!(own.norm > 0) && (joined.size() > 0 || t + 1 < core.count())) continue;
    left_out += own.error * own.error;
    all_deltas += own.norm * own.norm;
    joined.add(std::move(own.kept));
  }
  Spectrum all = joined.orthonormal(weights);
  ComposedFactors out = core.factors(all);
  out.norm = std::sqrt(all_deltas);
  out.error = std::sqrt(left_out);
  out.rounding = sum_rounding(terms);
  return out;
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_iso_c(std::span<const CompositionTerm> terms,
                                            const compose::Truncation& truncation, const Context& context) {
  const CoreSpace<> core(terms, context);
  const double rounding = sum_rounding(terms);
  TruncatedSpectrum sum = truncated_to_signal(spectrum_of(core.sum()), truncation, core.rows(), core.cols(), rounding);
  sum.kept.s.setConstant(sum.kept.s.mean());
  ComposedFactors out = core.factors(sum.kept);
  out.norm = sum.norm;
  out.error = sum.error;
  out.rounding = rounding;
  return out;
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_iso_cts(std::span<const CompositionTerm> terms, double common_fraction,
                                              const compose::Truncation& truncation, const Context& context) {
  if (!(common_fraction >= 0 && common_fraction <= 1))
    throw ValueError(text("lora: compose: expected a share of common directions in [0, 1], found ", common_fraction));
  const CoreSpace<> core(terms, context);
  // Updates that cancel leave rounding of their own size: no common directions, and no places for own ones.
  const double rounding = sum_rounding(terms);
  const TruncatedSpectrum cut =
      truncated_to_signal(spectrum_of(core.sum()), truncation, core.rows(), core.cols(), rounding);
  // As many own directions for each update, and what is left over is common.
  const Index all = cut.kept.size();
  const double own = static_cast<double>(all) * (1 - common_fraction) / static_cast<double>(core.count());
  const Index each = std::min(static_cast<Index>(std::nearbyint(own)), all / core.count());
  Spectrum sum = cut.kept;
  sum.keep(all - each * core.count());
  JoinedSpectra<> joined(core);
  for (Index t = 0; t < core.count() && each > 0; ++t) {
    const ColumnMatrix left = core.left(t) * core.weight(t), right = core.right(t);
    const double noise =
        4 * unit_roundoff * static_cast<double>(core.rows() + core.cols()) * left.norm() * right.norm();
    TruncatedSpectrum outside =
        truncated_to_signal(product_spectrum(left - product(sum.U, transposed_product(sum.U, left)), right),
                            compose::Truncation::rank(each), core.rows(), core.cols(), noise);
    if (outside.kept.s(0) > noise) joined.add(std::move(outside.kept));
  }
  joined.add(std::move(sum));
  Spectrum joint = joined.orthonormal();
  joint.s.setConstant(joint.s.mean());
  ComposedFactors out = core.factors(joint);
  out.norm = cut.norm;
  out.error = cut.error;
  out.rounding = rounding;
  return out;
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_orthogonal(std::span<const CompositionTerm> terms,
                                                 const compose::Truncation& truncation, const Context& context) {
  const CoreSpace<> core(terms, context);
  GrowingBasis<> columns(core.rows()), rows(core.cols());
  ColumnMatrix M = ColumnMatrix::Zero(core.rows(), core.cols());
  for (Index t = 0; t < core.count(); ++t) {
    const ColumnMatrix left = core.left(t) * core.weight(t);
    M += product_transposed(columns.outside(left), rows.outside(core.right(t)));
    Spectrum own = product_spectrum(left, core.right(t));  // the delta's spaces may be smaller than its factors'
    own.keep(numerical_rank(own.s, core.rows(), core.cols()));
    if (own.size() == 0) continue;
    columns.add(own.U);
    rows.add(own.V);
  }
  const TruncatedSpectrum sum = truncated(spectrum_of(M), truncation, core.rows(), core.cols());
  ComposedFactors out = core.factors(sum.kept);
  out.norm = sum.norm;
  out.error = sum.error;
  out.rounding = sum_rounding(terms);
  return out;
}

LORA_TAGGED_END
