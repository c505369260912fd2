// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/update.hpp"
#include "lora/update/update_parts.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The vector of an IA3, whatever it computes in.
class IA3Factors {
 public:
  IA3Factors(AnyFactor l, const Scaling& rule);
  IA3Factors(const UpdateParts& parts, const Scaling& rule);

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  bool by_rows() const { return by_rows_; }
  const AnyFactor& l() const { return l_; }
  const Scaling& scaling_rule() const { return rule_; }
  IA3Factors sized(Index rows, Index cols, Index kernel) const;

  /// 1 + s c (l - 1) for each row or column, n x 1. Throws ValueError when one is larger than `largest`.
  AlignedMatrix<double, row_major> gains(double coefficient, double largest) const;

 private:
  AnyFactor l_;
  Scaling rule_;
  double scaling_;
  bool by_rows_;
  Index rows_, cols_, kernel_ = 1;
};

}  // namespace detail

/// Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning" (2022),
/// section 3.3: what a layer puts out is multiplied with a learned vector l, W'(i, j) = l(i) W(i, j), or, in
/// feed-forward layers, what it takes in, W'(i, j) = l(j) W(i, j).
///
///     lora::IA3<float> style(l);                  // l: out x 1
///     lora::IA3<float> inner(l.transpose());      // l: 1 x in
///
/// It multiplies all that is in the weight so far. A coefficient c makes it 1 + c (l - 1), computed as fma(c, l, 1 - c)
/// in double and rounded once to Compute: with c = 1 it is l itself. l may be of any of the four types. The weight's
/// other size is open (-1), so that a set wants what sized() returns.
template <class Compute>
class IA3 final : public Update<Compute> {
  static_assert(std::is_same_v<Compute, float> || std::is_same_v<Compute, double>,
                "lora::IA3: computes in float or double");

 public:
  /// l: out x 1 or 1 x in; what 1 x 1 is for, sized() tells. The scaling, which has no rank to go by, must be
  /// scaling::fixed and multiplies the coefficient. Throws ShapeError for another shape, ValueError when a number is
  /// not finite.
  template <class Derived>
  explicit IA3(const Eigen::DenseBase<Derived>& l, const Scaling& scaling = scaling::fixed(1))
      : factors_({"IA3: ia3_l", l}, scaling) {}

  /// The same out of a file's tensor.
  IA3(const detail::UpdateParts& parts, const Scaling& scaling) : factors_(parts, scaling) {}

  Index rows() const override { return factors_.rows(); }
  Index cols() const override { return factors_.cols(); }

  /// The same update for a weight of this shape. In a convolution, out x (in kernel), one number of a vector of inputs
  /// is for the `kernel` columns of an input. Throws ShapeError when it cannot be for one.
  [[nodiscard]] IA3 sized(Index rows, Index cols, Index kernel = 1) const {
    return IA3(factors_.sized(rows, cols, kernel));
  }

  std::string_view kind() const override { return "IA3"; }
  std::vector<UpdateTensor> tensors() const override { return {{"ia3_l", factors_.l().view()}}; }
  Scaling scaling_rule() const override { return factors_.scaling_rule(); }
  void add_to(FormBuilder<Compute>& form, double coefficient) const override {
    const auto gains = factors_.gains(coefficient, static_cast<double>(std::numeric_limits<Compute>::max()));
    factors_.by_rows() ? form.scale_rows(view_of(gains.map())) : form.scale_columns(view_of(gains.map()));
  }

 private:
  explicit IA3(detail::IA3Factors factors) : factors_(std::move(factors)) {}

  detail::IA3Factors factors_;
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/ia3-inl.hpp"
#endif
