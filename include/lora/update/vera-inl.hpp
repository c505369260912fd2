// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factor_products.hpp"
#include "lora/update/factored_update-inl.hpp"
#include "lora/update/scaling-inl.hpp"
#include "lora/update/vera.hpp"

#include <algorithm>

LORA_TAGGED_BEGIN

/// out(i, k) = b(i) B(i, k) d(k), multiplied from the left.
LORA_NOINLINE inline Doubles scaled_both_ways(const MatrixView& b, MatrixView B, const MatrixView& d) {
  B.rows = b.rows;
  B.cols = d.rows;
  const Doubles rows = converted<double>(b), columns = converted<double>(d);
  Doubles out = converted<double>(B);
  for (Index i = 0; i < B.rows; ++i)
    for (Index k = 0; k < B.cols; ++k)
      out.data()[i * B.cols + k] = rows.data()[i] * out.data()[i * B.cols + k] * columns.data()[k];
  return out;
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC VeRAFactors::VeRAFactors(const UpdateParts& parts, const Scaling& rule)
    : VeRAFactors({parts.require("vera_B"), parts.require("vera_A")}, parts.require("vera_lambda_b"),
                  parts.require("vera_lambda_d"), rule, -1) {
  parts.expect_none_left(kind);
}

LORA_FUNC VeRAFactors::VeRAFactors(const VeRAMatrices& shared, AnyFactor lambda_b, AnyFactor lambda_d,
                                   const Scaling& rule, Index cols)
    : shared_(shared), b_(std::move(lambda_b)), d_(std::move(lambda_d)), rule_(rule), cols_(cols) {
  const Index rank = d_.rows();
  expect_shape("VeRA: vera_lambda_b", b_.rows(), 1, b_.rows(), b_.cols());
  expect_shape("VeRA: vera_lambda_d", rank, 1, rank, d_.cols());
  if (rank == 0) throw ValueError("lora: VeRA: vera_lambda_d: expected a rank of at least 1, found 0");
  if (cols < -1) throw ShapeError(text("lora: VeRA: expected a number of columns, or -1, found ", cols));
  const auto expect_at_least = [](const char* what, Index rows, Index columns, const AnyFactor& found) {
    if (found.rows() < rows || found.cols() < columns)
      throw ShapeError(text("lora: VeRA: ", what, ": expected at least ", shape_text(rows, columns), ", found ",
                            shape_text(found.rows(), found.cols())));
  };
  expect_at_least("vera_B", b_.rows(), rank, shared_.B_);
  expect_at_least("vera_A", rank, std::max<Index>(cols, 0), shared_.A_);
  scaling_ = rule(rank);
}

LORA_FUNC std::vector<UpdateTensor> VeRAFactors::tensors() const {
  MatrixView B = shared_.B(), A = shared_.A();
  if (cols_ >= 0) {  // of a weight: what it uses
    B.rows = b_.rows();
    B.cols = A.rows = d_.rows();
    A.cols = cols_;
  }
  return {{"vera_lambda_b", b_.view()}, {"vera_lambda_d", d_.view()}, {"vera_B", B}, {"vera_A", A}};
}

LORA_FUNC VeRAFactors VeRAFactors::sized(Index rows, Index cols) const {
  expect_shape("VeRA: the weight", b_.rows(), cols_ < 0 ? std::max<Index>(cols, 0) : cols_, rows, cols);
  return {shared_, b_, d_, rule_, cols};
}

LORA_FUNC void VeRAFactors::add_to(DeltaSink& sink) const {
  MatrixView A = shared_.A();
  A.rows = d_.rows();
  A.cols = cols_;
  sink.low_rank(view_of(scaled_both_ways(b_.view(), shared_.B(), d_.view()).map()), A);
}

}  // namespace detail
LORA_NAMESPACE_END
