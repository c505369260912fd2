// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/fma.hpp"
#include "lora/simd/inner_products.hpp"
#include "lora/update/dora.hpp"
#include "lora/update/form_builder-inl.hpp"

#include <algorithm>
#include <cmath>

LORA_TAGGED_BEGIN

/// m_i / sqrt(q_i + 2 c <b_i, p_i> + c^2 b_i^T (A A^T) b_i), with p_i = A w_i and q_i = ||w_i||^2 of row i of W0, as the
/// chain over k of fma(b_k, fma(c c, t_k, 2 c p_k), acc) from q_i, with t = (A A^T) b_i.
LORA_NOINLINE inline double dora_gain(double m, double q, const double* b, const double* p, const double* t, Index rank,
                                      double c) {
  double acc = q;
  const double twice = 2 * c, square = c * c;
  for (Index k = 0; k < rank; ++k) acc = fma(b[k], fma(square, t[k], twice * p[k]), acc);
  return m / std::sqrt(std::max(acc, 0.0));
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

template <class Compute>
void dora_gains(const FrozenRows& W0, double scale, const MatrixView& B, const MatrixView& A, const MatrixView& m,
                Compute* g) {
  const Index rank = A.rows;
  const auto c = static_cast<double>(finite_scale<Compute>(scale));
  const auto b = converted<double>(B), a = converted<double>(A), magnitude = converted<double>(m);
  AlignedMatrix<double, row_major> gram(rank, rank);
  inner_products(a.data(), rank, a.data(), rank, A.cols, gram.data());
  AlignedMatrix<double, row_major> p(B.rows, rank), t(B.rows, rank);
  W0.for_bands([&](Index first, Index count, const double* rows) {
    inner_products(rows, count, a.data(), rank, A.cols, p.data() + first * rank);
    inner_products(b.data() + first * rank, count, gram.data(), rank, rank, t.data() + first * rank);
    for (Index i = first; i < first + count; ++i, rows += A.cols) {
      double q = 0;
      inner_products(rows, 1, rows, 1, A.cols, &q);
      g[i] = static_cast<Compute>(dora_gain(magnitude.data()[i], q, b.data() + i * rank, p.data() + i * rank,
                                            t.data() + i * rank, rank, c));
    }
  });
}

}  // namespace detail
LORA_NAMESPACE_END
