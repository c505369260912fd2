// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The methods that prune, on factors and on deltas. For bodies (-inl.hpp).

#include "lora/compose/row_svd.hpp"
#include "lora/compose/sum_methods.hpp"
#include "lora/compose/task_tensors.hpp"
#include "lora/simd/inner_products.hpp"

LORA_TAGGED_BEGIN

/// Which rule a method is.
inline PruningRule pruning_rule(compose::Method method, const compose::Options& options) {
  return {compose::prunes_at_random(method) ? Pruning::random : Pruning::magnitude, compose::elects_sign(method),
          options};
}

/// Throws ValueError unless 0 < density <= 1.
template <class = void>
void expect_density(const compose::Options& options) {
  if (!(options.density > 0 && options.density <= 1))
    throw ValueError(text("lora: compose: expected a density in (0, 1], found ", options.density));
}

/// The factors pruned and merged, B and A apart.
template <class = void>
LORA_NOINLINE ComposedFactors merge_factors(std::span<const CompositionTerm> terms, compose::Method method,
                                            PruningRule rule, const Context& context) {
  expect_one_rank(terms, method);
  const FactorWeights weights(terms);
  double magnitudes[2] = {0, 0};
  const auto merge = [&](MatrixView CompositionTerm::*factor, const std::vector<double>& own, std::uint64_t stream) {
    const auto fill = [&](Index task, Index first, Index count, double* out) {
      const MatrixView& view = terms[static_cast<std::size_t>(task)].*factor;
      for (Index i = 0; i < count; ++i) read_row(view, first + i, out + i * view.cols);
    };
    const MatrixView& first = terms.front().*factor;
    const TaskTensors tensors{static_cast<Index>(terms.size()), first.rows, first.cols, fill};
    rule.stream = stream;
    AlignedMatrix<double, row_major> out(first.rows, first.cols);
    PrunedMerge(tensors, own, rule, context).fill(0, first.rows, out.data());
    for (std::size_t t = 0; t < terms.size(); ++t)
      magnitudes[stream] += std::abs(own[t]) * columns_of(terms[t].*factor).norm() / rule.options.density;
    return out;
  };
  ComposedFactors out{merge(&CompositionTerm::B, weights.B, 0), merge(&CompositionTerm::A, weights.A, 1)};
  out.norm = product_norm(out);
  out.rounding = 2 * unit_roundoff * static_cast<double>(terms.size() + 4) * magnitudes[0] * magnitudes[1];
  return out;
}

/// Tensors that are products: L_t (n x r_t) times the transpose of R_t (m x r_t), times a number.
class ProductTensors {
 public:
  void add(const ColumnMatrix& L, const ColumnMatrix& R, double scale) {
    tasks_.push_back({padded_rows(L), padded_rows(R), scale});
  }

  void fill(Index task, Index first, Index count, double* out) const {
    const Task& own = tasks_[static_cast<std::size_t>(task)];
    const Index depth = own.L.cols(), cols = own.R.rows();
    inner_products(own.L.data() + first * depth, count, own.R.data(), cols, depth, out);
    for (Index i = 0; i < count * cols; ++i) out[i] *= own.scale;
  }

  /// Calls use(tensors).
  template <class Use>
  auto with_tensors(const Use& use) const {
    const auto filler = [this](Index task, Index first, Index count, double* out) { fill(task, first, count, out); };
    return use(
        TaskTensors{static_cast<Index>(tasks_.size()), tasks_.front().L.rows(), tasks_.front().R.rows(), filler});
  }

 private:
  struct Task {
    Matrix<double> L, R;
    double scale;
  };
  /// The same rows with zeros behind them, up to what inner_products() takes at once.
  static Matrix<double> padded_rows(const ColumnMatrix& M) {
    Matrix<double> out = Matrix<double>::Zero(M.rows(), padded(M.cols(), 16));
    out.leftCols(M.cols()) = M;
    return out;
  }

  std::vector<Task> tasks_;
};

/// The products pruned and merged by their coefficients, cut by an SVD.
template <class = void>
LORA_NOINLINE TruncatedSpectrum merge_products(const ProductTensors& products, std::span<const CompositionTerm> terms,
                                               const PruningRule& rule, const compose::Truncation& truncation,
                                               const Context& context) {
  std::vector<double> coefficients;
  for (const CompositionTerm& term : terms) coefficients.push_back(term.coefficient);
  return products.with_tensors([&](const TaskTensors& tensors) {
    const PrunedMerge merge(tensors, coefficients, rule, context);
    const auto fill = [&](Index first, Index count, double* out) { merge.fill(first, count, out); };
    return truncated_svd({tensors.rows, tensors.cols, fill}, truncation);
  });
}

/// A bound for sums whose terms were divided by the density.
template <class = void>
double pruned_rounding(std::span<const CompositionTerm> terms, const PruningRule& rule) {
  return sum_rounding(terms) / (rule.pruning == Pruning::random ? rule.options.density : 1.0);
}

/// The deltas pruned and merged, cut by an SVD.
template <class = void>
LORA_NOINLINE ComposedFactors merge_deltas(std::span<const CompositionTerm> terms, const PruningRule& rule,
                                           const compose::Truncation& truncation, const Context& context) {
  ProductTensors products;
  for (const CompositionTerm& term : terms)
    products.add(columns_of(term.B), transposed_columns_of(term.A), term.scaling);
  const TruncatedSpectrum sum = merge_products(products, terms, rule, truncation, context);
  return {aligned_copy(scaled_columns(sum.kept.U, sum.kept.s)), aligned_copy(sum.kept.V.transpose()), sum.norm,
          sum.error, pruned_rounding(terms, rule)};
}

LORA_TAGGED_END
