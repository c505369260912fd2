// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factored_update.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The factors of a LoCon, whatever it computes in.
class LoConFactors {
 public:
  static constexpr std::string_view kind = "LoCon";

  LoConFactors(const UpdateParts& parts, const Scaling& rule);

  Index rows() const { return up_.rows(); }
  Index cols() const { return mid_.cols() / down_.rows() * down_.cols(); }
  std::vector<UpdateTensor> tensors() const;
  double scaling() const { return scaling_; }
  const Scaling& scaling_rule() const { return rule_; }
  void add_to(DeltaSink& sink) const;

 private:
  AnyFactor up_, mid_, down_;
  Scaling rule_;
  double scaling_ = 0;
};

}  // namespace detail

/// LoRA for a convolution with a Tucker core (LyCORIS: LoCon): a 1 x 1 convolution down to r channels, one of r
/// channels with the whole kernel of K positions, a 1 x 1 convolution up:
///
///     delta(o, i K + k) = s sum over p, q of up(o, p) mid(p, q K + k) down(q, i)
///
/// with up: out x r, mid: r x (r K), down: r x in. (Without a core it is a LowRank, as any convolution's.)
///
///     lora::LoCon<float> style(up, mid, down, lora::scaling::alpha(16));
///
/// Factors may be of any of the four types, are copied and shared by copies. The product of mid and down is made in
/// double, rounded once to Compute.
template <class Compute>
class LoCon final : public detail::FactoredUpdate<Compute, detail::LoConFactors> {
  static_assert(std::is_same_v<Compute, float> || std::is_same_v<Compute, double>,
                "lora::LoCon: computes in float or double");

 public:
  /// Throws ShapeError, and ValueError when the rank is 0, or a factor or the scaling is not finite.
  template <class Up, class Mid, class Down>
  LoCon(const Eigen::DenseBase<Up>& up, const Eigen::DenseBase<Mid>& mid, const Eigen::DenseBase<Down>& down,
        const Scaling& scaling)
      : LoCon(detail::UpdateParts{{"lora_up", {"LoCon: lora_up", up}},
                                  {"lora_mid", {"LoCon: lora_mid", mid}},
                                  {"lora_down", {"LoCon: lora_down", down}}},
              scaling) {}

  /// The same out of a file's tensors.
  LoCon(const detail::UpdateParts& parts, const Scaling& scaling)
      : detail::FactoredUpdate<Compute, detail::LoConFactors>({parts, scaling}) {}
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/locon-inl.hpp"
#endif
