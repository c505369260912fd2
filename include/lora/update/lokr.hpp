// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factored_update.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A matrix that is there whole or as a product.
class WholeOrFactored {
 public:
  /// Throws as Factorization does, and ValueError when it is there both ways.
  WholeOrFactored(std::string_view kind, const UpdateParts& parts, std::string_view whole,
                  const Factorization::Names& names);

  Index rows() const { return whole_ ? whole_->rows() : factors_->rows(); }
  Index cols() const { return whole_ ? whole_->cols() : factors_->cols(); }

  /// The least columns of L when it is written as L R.
  Index depth() const { return whole_ ? std::min(rows(), cols()) : factors_->depth(); }

  const std::optional<AnyFactor>& whole() const { return whole_; }
  const std::optional<Factorization>& factors() const { return factors_; }
  void append_to(std::vector<UpdateTensor>& tensors) const;

 private:
  std::string_view name_;
  std::optional<AnyFactor> whole_;
  std::optional<Factorization> factors_;
};

/// The factors of a LoKr, whatever it computes in.
class LoKrFactors {
 public:
  static constexpr std::string_view kind = "LoKr";

  LoKrFactors(const UpdateParts& parts, const Scaling& rule);

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  std::vector<UpdateTensor> tensors() const;
  double scaling() const { return scaling_; }
  const Scaling& scaling_rule() const { return rule_; }
  void add_to(DeltaSink& sink) const;

 private:
  double scaling_of_rank() const;

  WholeOrFactored w1_, w2_;
  Scaling rule_;
  double scaling_;
  Index rows_, cols_;
};

}  // namespace detail

/// A Kronecker product: delta = s kron(w1, w2), that is delta(i c + k, j d + l) = s w1(i, j) w2(k, l), with w1: a x b,
/// w2: c x d, out = a c, in = b d (Yeh et al., "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to
/// Model Evaluation", 2024). Each of the two may be a product itself, w_a w_b.
///
///     lora::LoKr<float> style(w1, w2, lora::scaling::fixed(1));                      // both whole
///     lora::LoKr<float> small(w1, w2_a, w2_b, lora::scaling::alpha(16));             // w2 of rank r: s = 16 / r
///     lora::LoKr<float> least(w1_a, w1_b, w2_a, w2_b, lora::scaling::alpha(16));     // both
///
/// Out of a file, w2 of a convolution may have a Tucker core t2, see LoHa. s comes from a rule with the rank of w1, or
/// else of w2; whole ones have none, and the rule must be scaling::fixed. Where it is cheaper it is given as a low-rank
/// update, else as a dense one. Factors may be of any of the four types, are copied and shared by copies; products are
/// in double, rounded once to Compute.
template <class Compute>
class LoKr final : public detail::FactoredUpdate<Compute, detail::LoKrFactors> {
  static_assert(std::is_same_v<Compute, float> || std::is_same_v<Compute, double>,
                "lora::LoKr: computes in float or double");
  using Parts = detail::UpdateParts;

 public:
  /// Throws ShapeError, and ValueError when a rank is 0, or a factor or the scaling is not finite.
  template <class W1, class W2>
  LoKr(const Eigen::DenseBase<W1>& w1, const Eigen::DenseBase<W2>& w2, const Scaling& scaling)
      : LoKr(Parts{{"lokr_w1", {"LoKr: lokr_w1", w1}}, {"lokr_w2", {"LoKr: lokr_w2", w2}}}, scaling) {}
  template <class W1, class W2A, class W2B>
  LoKr(const Eigen::DenseBase<W1>& w1, const Eigen::DenseBase<W2A>& w2_a, const Eigen::DenseBase<W2B>& w2_b,
       const Scaling& scaling)
      : LoKr(Parts{{"lokr_w1", {"LoKr: lokr_w1", w1}},
                   {"lokr_w2_a", {"LoKr: lokr_w2_a", w2_a}},
                   {"lokr_w2_b", {"LoKr: lokr_w2_b", w2_b}}},
             scaling) {}
  template <class W1A, class W1B, class W2A, class W2B>
  LoKr(const Eigen::DenseBase<W1A>& w1_a, const Eigen::DenseBase<W1B>& w1_b, const Eigen::DenseBase<W2A>& w2_a,
       const Eigen::DenseBase<W2B>& w2_b, const Scaling& scaling)
      : LoKr(Parts{{"lokr_w1_a", {"LoKr: lokr_w1_a", w1_a}},
                   {"lokr_w1_b", {"LoKr: lokr_w1_b", w1_b}},
                   {"lokr_w2_a", {"LoKr: lokr_w2_a", w2_a}},
                   {"lokr_w2_b", {"LoKr: lokr_w2_b", w2_b}}},
             scaling) {}

  /// The same out of a file's tensors: lokr_w1 or lokr_w1_a and lokr_w1_b; lokr_w2, or lokr_w2_a and lokr_w2_b with or
  /// without lokr_t2.
  LoKr(const detail::UpdateParts& parts, const Scaling& scaling)
      : detail::FactoredUpdate<Compute, detail::LoKrFactors>({parts, scaling}) {}
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/lokr-inl.hpp"
#endif
