// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factors.hpp"
#include "lora/update/scaling.hpp"
#include "lora/update/update.hpp"

LORA_NAMESPACE_BEGIN

/// The update of Hu et al., "LoRA" (2021), equation 3: delta = s B A with B: out x r, A: r x in, s from a Scaling rule.
///
///     lora::LowRank<float> style(B, A, lora::scaling::alpha(16));   // s = 16 / r
///
/// The factors never change and are shared by copies. `Scalar` is their storage type; arithmetic is in compute_t<Scalar>.
template <class Scalar>
class LowRank final : public Update<compute_t<Scalar>> {
  static_assert(detail::is_scalar_v<Scalar>,
                "lora::LowRank: factors must be float, double, Eigen::half or Eigen::bfloat16");

 public:
  /// What it computes in.
  using Compute = compute_t<Scalar>;

  /// Copies the factors. Throws ShapeError when B's columns and A's rows differ, ValueError when the rank is 0, or a factor or
  /// the scaling is not finite.
  template <class DerivedB, class DerivedA>
  LowRank(const Eigen::MatrixBase<DerivedB>& B, const Eigen::MatrixBase<DerivedA>& A, Scaling scaling)
      : LowRank{detail::Factor<Scalar>("LowRank: B", B), detail::Factor<Scalar>("LowRank: A", A), scaling} {}  // B first

  /// Does not compile: without a rule, or with a bare number. s = alpha / r and s = alpha differ, so one has to be named.
  template <class DerivedB, class DerivedA, class... Number>
    requires(sizeof...(Number) <= 1 && (std::is_arithmetic_v<Number> && ...))
  LowRank(const Eigen::MatrixBase<DerivedB>& B, const Eigen::MatrixBase<DerivedA>& A, Number...)
      : LowRank(B, A, no_rule<DerivedB>()) {}

  /// The same of matrices in memory of any type, which are converted as cast() does.
  LowRank(const MatrixView& B, const MatrixView& A, Scaling scaling)
      : LowRank(detail::Factor<Scalar>("LowRank: B", B), detail::Factor<Scalar>("LowRank: A", A), scaling) {}

  Index rows() const override { return B_.rows(); }
  Index cols() const override { return A_.cols(); }
  /// r.
  Index rank() const { return A_.rows(); }

  /// The factors where they lie, row-major without gaps: out x r and r x in.
  MatrixMap<const Scalar> B() const { return B_.map(); }
  MatrixMap<const Scalar> A() const { return A_.map(); }

  /// s, and the rule it came from.
  double scaling() const { return scaling_; }
  Scaling scaling_rule() const override { return rule_; }

  std::string_view kind() const override { return "LoRA"; }
  std::vector<UpdateTensor> tensors() const override { return {{"lora_B", B_.view()}, {"lora_A", A_.view()}}; }
  void add_to(FormBuilder<Compute>& form, double coefficient) const override {
    form.add_low_rank(scaling_ * coefficient, B_.view(), A_.view());
  }

  /// The same update with its factors in another type: exact towards a wider type, rounded once to nearest even towards a
  /// narrower one. Throws ValueError when a factor overflows.
  template <class Other>
  [[nodiscard]] LowRank<Other> cast() const {
    return LowRank<Other>(B_.view(), A_.view(), rule_);
  }

 private:
  template <class>
  friend class LowRank;

  template <class Derived>
  static Scaling no_rule() {
    static_assert(sizeof(Derived) == 0, "lora::LowRank: name the rule of the scaling: lora::scaling::alpha(16), rank_stabilized(16) "
                                        "or fixed(2)");
    return scaling::fixed(1);
  }

  LowRank(detail::Factor<Scalar> B, detail::Factor<Scalar> A, const Scaling& scaling)
      : B_(std::move(B)),
        A_(std::move(A)),
        rule_(scaling),
        scaling_(detail::checked_scaling(scaling, B_.cols(), A_.rows(), A_.cols())) {}

  detail::Factor<Scalar> B_, A_;
  Scaling rule_;
  double scaling_ = 0.0;
};

LORA_NAMESPACE_END
