// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factored_update.hpp"

LORA_NAMESPACE_BEGIN

namespace detail {
class VeRAFactors;
}

/// VeRA's B and A: random, frozen and shared by all weights of a model, each of which uses a part of them. Copied once,
/// shared by copies.
class VeRAMatrices {
 public:
  /// Throws ValueError when an element is not finite.
  template <class DerivedB, class DerivedA>
  VeRAMatrices(const Eigen::DenseBase<DerivedB>& B, const Eigen::DenseBase<DerivedA>& A)
      : B_("VeRA: vera_B", B), A_("VeRA: vera_A", A) {}

  /// Row-major without gaps, in the type they came in.
  MatrixView B() const { return B_.view(); }
  MatrixView A() const { return A_.view(); }

 private:
  friend class detail::VeRAFactors;
  VeRAMatrices(const detail::AnyFactor& B, const detail::AnyFactor& A) : B_(B), A_(A) {}

  detail::AnyFactor B_, A_;
};

namespace detail {

/// The factors of a VeRA, whatever it computes in.
class VeRAFactors {
 public:
  static constexpr std::string_view kind = "VeRA";

  VeRAFactors(const UpdateParts& parts, const Scaling& rule);
  VeRAFactors(const VeRAMatrices& shared, AnyFactor lambda_b, AnyFactor lambda_d, const Scaling& rule, Index cols);

  Index rows() const { return b_.rows(); }
  Index cols() const { return cols_; }
  std::vector<UpdateTensor> tensors() const;
  double scaling() const { return scaling_; }
  const Scaling& scaling_rule() const { return rule_; }
  void add_to(DeltaSink& sink) const;
  VeRAFactors sized(Index rows, Index cols) const;

 private:
  VeRAMatrices shared_;
  AnyFactor b_, d_;
  Scaling rule_;
  double scaling_;
  Index cols_;
};

}  // namespace detail

/// Kopiczko et al., "VeRA: Vector-based Random Matrix Adaptation" (2024), equation 2: delta = s diag(b) B diag(d) A,
/// where B and A are shared by all weights and cut to what this one needs: the first out rows and r columns of B, the
/// first r rows and in columns of A. Only b (out x 1) and d (r x 1) are its own; s is 1 where nothing else is said.
///
///     lora::VeRAMatrices shared(B, A);
///     lora::VeRA<float> style(shared, b, d, W.cols());
///
/// It is a low-rank update of rank r. Vectors and matrices may be of any of the four types; products are in double,
/// rounded once to Compute.
template <class Compute>
class VeRA final : public detail::FactoredUpdate<Compute, detail::VeRAFactors> {
  static_assert(std::is_same_v<Compute, float> || std::is_same_v<Compute, double>,
                "lora::VeRA: computes in float or double");
  using Base = detail::FactoredUpdate<Compute, detail::VeRAFactors>;

 public:
  /// For weights of b.rows() x cols; with cols = -1 the number of columns is open: see sized(). Throws ShapeError, and
  /// ValueError when r is 0, or a number or the scaling is not finite.
  template <class DerivedB, class DerivedD>
  VeRA(const VeRAMatrices& shared, const Eigen::DenseBase<DerivedB>& lambda_b,
       const Eigen::DenseBase<DerivedD>& lambda_d, Index cols, const Scaling& scaling = scaling::fixed(1))
      : Base({shared, {"VeRA: vera_lambda_b", lambda_b}, {"VeRA: vera_lambda_d", lambda_d}, scaling, cols}) {}

  /// The same out of a file's tensors, which do not tell the number of columns.
  VeRA(const detail::UpdateParts& parts, const Scaling& scaling) : Base({parts, scaling}) {}

  /// The same update for a weight of this shape. Throws ShapeError when it cannot be for one.
  [[nodiscard]] VeRA sized(Index rows, Index cols) const { return VeRA(this->factors().sized(rows, cols)); }

 private:
  explicit VeRA(detail::VeRAFactors factors) : Base(std::move(factors)) {}
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/vera-inl.hpp"
#endif
