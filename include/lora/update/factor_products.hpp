// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Products of an update's factors in double, each sum in the order of simd/inner_products.hpp: the same bits on every
/// machine.

#include "lora/simd/inner_products.hpp"
#include "lora/update/factored_update.hpp"
#include "lora/update/form_builder-inl.hpp"

LORA_TAGGED_BEGIN

using Doubles = AlignedMatrix<double, row_major>;

inline MatrixView transposed(const MatrixView& view) {
  return {view.data, view.type, view.cols, view.rows, view.column_stride, view.row_stride};
}

/// R(p, i K + k) = sum over q of core(p, q K + k) b(q, i), for a core of r x (q K).
LORA_NOINLINE inline Doubles tucker_product(const MatrixView& core, const MatrixView& b) {
  const Index kernel = core.cols / b.rows;
  const Doubles across = converted<double>(transposed(b));
  Doubles out(core.rows, b.cols * kernel);
  for (Index p = 0; p < core.rows; ++p) {
    MatrixView own = core;  // (q, k) of this p
    own.data =
        static_cast<const std::byte*>(core.data) + p * core.row_stride * static_cast<Index>(element_size(core.type));
    own.rows = b.rows;
    own.cols = kernel;
    own.row_stride = kernel * core.column_stride;
    const Doubles others = converted<double>(transposed(own));
    inner_products(across.data(), b.cols, others.data(), kernel, b.rows, out.data() + p * b.cols * kernel);
  }
  return out;
}

/// A matrix as L R.
struct FactorPair {
  Doubles L, R;
};

LORA_NOINLINE inline FactorPair pair_of(const Factorization& M) {
  if (!M.t()) return {converted<double>(M.a().view()), converted<double>(M.b().view())};
  return {converted<double>(transposed(M.a().view())), tucker_product(M.t()->view(), M.b().view())};
}

LORA_NOINLINE inline Doubles product(const FactorPair& M) {
  const Doubles columns = converted<double>(transposed(view_of(M.R.map())));
  Doubles out(M.L.rows(), M.R.cols());
  inner_products(M.L.data(), M.L.rows(), columns.data(), M.R.cols(), M.R.rows(), out.data());
  return out;
}

/// out((i, k), (j, l)) = X(i, j) Y(k, l), the second index fastest.
LORA_NOINLINE inline Doubles kronecker_product(const Doubles& X, const Doubles& Y) {
  Doubles out(X.rows() * Y.rows(), X.cols() * Y.cols());
  double* to = out.data();
  for (Index i = 0; i < X.rows(); ++i)
    for (Index k = 0; k < Y.rows(); ++k)
      for (Index j = 0; j < X.cols(); ++j)
        for (Index l = 0; l < Y.cols(); ++l) *to++ = X.data()[i * X.cols() + j] * Y.data()[k * Y.cols() + l];
  return out;
}

/// out(i, (k, l)) = X(i, k) Y(i, l).
LORA_NOINLINE inline Doubles products_of_columns(const Doubles& X, const Doubles& Y) {
  Doubles out(X.rows(), X.cols() * Y.cols());
  double* to = out.data();
  for (Index i = 0; i < X.rows(); ++i)
    for (Index k = 0; k < X.cols(); ++k)
      for (Index l = 0; l < Y.cols(); ++l) *to++ = X.data()[i * X.cols() + k] * Y.data()[i * Y.cols() + l];
  return out;
}

/// out((k, l), j) = X(k, j) Y(l, j).
LORA_NOINLINE inline Doubles products_of_rows(const Doubles& X, const Doubles& Y) {
  const Index cols = X.cols();
  Doubles out(X.rows() * Y.rows(), cols);
  double* to = out.data();
  for (Index k = 0; k < X.rows(); ++k)
    for (Index l = 0; l < Y.rows(); ++l)
      for (Index j = 0; j < cols; ++j) *to++ = X.data()[k * cols + j] * Y.data()[l * cols + j];
  return out;
}

LORA_TAGGED_END
