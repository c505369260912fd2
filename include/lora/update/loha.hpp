// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factored_update.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The factors of a LoHa, whatever it computes in.
class LoHaFactors {
 public:
  static constexpr std::string_view kind = "LoHa";

  LoHaFactors(const UpdateParts& parts, const Scaling& rule);

  Index rows() const { return w1_.rows(); }
  Index cols() const { return w1_.cols(); }
  std::vector<UpdateTensor> tensors() const;
  double scaling() const { return scaling_; }
  const Scaling& scaling_rule() const { return rule_; }
  void add_to(DeltaSink& sink) const;

 private:
  Factorization w1_, w2_;
  Scaling rule_;
  double scaling_;
};

}  // namespace detail

/// A Hadamard product of two low-rank matrices: delta = s (w1_a w1_b) o (w2_a w2_b), with w_a: out x r and w_b: r x in
/// (Hyeon-Woo et al., "FedPara", 2022, proposition 1; LyCORIS). s comes from a Scaling rule with the r of w1.
///
///     lora::LoHa<float> style(w1_a, w1_b, w2_a, w2_b, lora::scaling::alpha(16));
///
/// Convolutions may have Tucker cores t (r x (r K), K positions of a kernel): then w_a is r x out, w_b r x in and
///
///     W(o, i K + k) = sum over p, q of w_a(p, o) t(p, q K + k) w_b(q, i)
///
/// Where it is cheaper it is given as a low-rank update of rank r1 r2, else as a dense one. Factors may be of any of
/// the four types, are copied and shared by copies; products are in double, rounded once to Compute.
template <class Compute>
class LoHa final : public detail::FactoredUpdate<Compute, detail::LoHaFactors> {
  static_assert(std::is_same_v<Compute, float> || std::is_same_v<Compute, double>,
                "lora::LoHa: computes in float or double");
  using Parts = detail::UpdateParts;

 public:
  /// Throws ShapeError, and ValueError when a rank is 0, or a factor or the scaling is not finite.
  template <class W1A, class W1B, class W2A, class W2B>
  LoHa(const Eigen::DenseBase<W1A>& w1_a, const Eigen::DenseBase<W1B>& w1_b, const Eigen::DenseBase<W2A>& w2_a,
       const Eigen::DenseBase<W2B>& w2_b, const Scaling& scaling)
      : LoHa(Parts{{"hada_w1_a", {"LoHa: hada_w1_a", w1_a}},
                   {"hada_w1_b", {"LoHa: hada_w1_b", w1_b}},
                   {"hada_w2_a", {"LoHa: hada_w2_a", w2_a}},
                   {"hada_w2_b", {"LoHa: hada_w2_b", w2_b}}},
             scaling) {}

  /// With Tucker cores.
  template <class T1, class W1A, class W1B, class T2, class W2A, class W2B>
  LoHa(const Eigen::DenseBase<T1>& t1, const Eigen::DenseBase<W1A>& w1_a, const Eigen::DenseBase<W1B>& w1_b,
       const Eigen::DenseBase<T2>& t2, const Eigen::DenseBase<W2A>& w2_a, const Eigen::DenseBase<W2B>& w2_b,
       const Scaling& scaling)
      : LoHa(Parts{{"hada_t1", {"LoHa: hada_t1", t1}},
                   {"hada_w1_a", {"LoHa: hada_w1_a", w1_a}},
                   {"hada_w1_b", {"LoHa: hada_w1_b", w1_b}},
                   {"hada_t2", {"LoHa: hada_t2", t2}},
                   {"hada_w2_a", {"LoHa: hada_w2_a", w2_a}},
                   {"hada_w2_b", {"LoHa: hada_w2_b", w2_b}}},
             scaling) {}

  /// The same out of a file's tensors.
  LoHa(const detail::UpdateParts& parts, const Scaling& scaling)
      : detail::FactoredUpdate<Compute, detail::LoHaFactors>({parts, scaling}) {}
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/loha-inl.hpp"
#endif
