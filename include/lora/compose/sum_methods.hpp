// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// cat, svd and linear. For bodies (-inl.hpp).

#include "lora/compose/core_space.hpp"
#include "lora/core/fma.hpp"

LORA_TAGGED_BEGIN

/// ||B A|| in Frobenius norm, out of the r x r products of each factor with itself.
template <class = void>
LORA_NOINLINE double product_norm(const ColumnMatrix& B, const ColumnMatrix& A) {
  return std::sqrt(std::max(transposed_product(B, B).cwiseProduct(product_transposed(A, A)).sum(), 0.0));
}
template <class = void>
LORA_NOINLINE double product_norm(const ComposedFactors& factors) {
  return product_norm(factors.B.map(), factors.A.map());
}

/// A bound on the rounding of factors that are a few operations away from the terms' own.
template <class = void>
double factor_bound(const ComposedFactors& factors, Index operations) {
  return 2 * unit_roundoff * static_cast<double>(operations) * factors.B.map().norm() * factors.A.map().norm();
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_cat(std::span<const CompositionTerm> terms) {
  Index depth = 0;
  for (const CompositionTerm& term : terms) depth += term.rank();
  ComposedFactors out{{terms.front().B.rows, depth}, {depth, terms.front().A.cols}};
  Index begin = 0;
  for (const CompositionTerm& term : terms) {
    const double weight = term.coefficient * term.scaling;
    out.B.map().middleCols(begin, term.rank()) = columns_of(term.B);
    out.A.map().middleRows(begin, term.rank()) = weight * columns_of(term.A);
    begin += term.rank();
  }
  out.norm = product_norm(out);
  out.rounding = factor_bound(out, 1);
  return out;
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_svd(std::span<const CompositionTerm> terms, const compose::Truncation& truncation,
                                          const Context& context) {
  const CoreSpace<> core(terms, context);
  const TruncatedSpectrum sum = truncated(spectrum_of(core.sum()), truncation, core.rows(), core.cols());
  ComposedFactors out = core.factors(sum.kept);
  out.norm = sum.norm;
  out.error = sum.error;
  out.rounding = sum_rounding(terms);
  return out;
}

/// PEFT's weights of the factors: w = c s is sgn(w) sqrt(abs(w)) for A and sqrt(abs(w)) for B.
struct FactorWeights {
  std::vector<double> A, B;

  explicit FactorWeights(std::span<const CompositionTerm> terms) {
    for (const CompositionTerm& term : terms) {
      const double weight = term.coefficient * term.scaling, root = std::sqrt(std::abs(weight));
      A.push_back(weight >= 0 ? root : -root);
      B.push_back(root);
    }
  }
};

/// Throws ValueError unless all updates have one rank.
template <class = void>
void expect_one_rank(std::span<const CompositionTerm> terms, compose::Method method) {
  for (const CompositionTerm& term : terms)
    if (term.rank() != terms.front().rank())
      throw ValueError(text("lora: compose: ", compose::name(method),
                            " adds factors: expected updates of one rank, found ", terms.front().rank(), " and ",
                            term.rank(), "; svd and cat take any"));
}

template <class = void>
LORA_NOINLINE ComposedFactors compose_linear(std::span<const CompositionTerm> terms) {
  expect_one_rank(terms, compose::Method::linear);
  const FactorWeights weights(terms);
  const auto add = [&](MatrixView CompositionTerm::*factor, const std::vector<double>& own) {
    const MatrixView& first = terms.front().*factor;
    AlignedMatrix<double, row_major> sum(first.rows, first.cols);
    sum.map().setZero();
    for (std::size_t t = 0; t < terms.size(); ++t) {
      const Matrix<double> M = columns_of(terms[t].*factor);
      for (Index i = 0; i < M.size(); ++i) sum.data()[i] = fma(own[t], M.data()[i], sum.data()[i]);
    }
    return sum;
  };
  ComposedFactors out{add(&CompositionTerm::B, weights.B), add(&CompositionTerm::A, weights.A)};
  out.norm = product_norm(out);
  double magnitude_B = 0, magnitude_A = 0;  // of the sums without their cancellations
  for (std::size_t t = 0; t < terms.size(); ++t) {
    magnitude_B += weights.B[t] * columns_of(terms[t].B).norm();
    magnitude_A += weights.B[t] * columns_of(terms[t].A).norm();
  }
  out.rounding = 2 * unit_roundoff * static_cast<double>(terms.size() + 2) * magnitude_B * magnitude_A;
  return out;
}

LORA_TAGGED_END
