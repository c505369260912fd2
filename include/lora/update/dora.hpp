// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/low_rank.hpp"

LORA_NAMESPACE_BEGIN

/// Weight-decomposed LoRA of Liu et al., "DoRA" (2024), equation 5: W' = g o (W + c s B A), row i times
/// g_i = m_i / n_i with n_i = ||row i of (W0 + c s B A)|| and the magnitude m (out x 1). c is the coefficient.
///
///     lora::DoRA<float> style(B, A, lora::scaling::alpha(16), m);
///
/// As in PEFT several of them act in order, each on what those before it left, each with the norm of W0 alone. The norm is
/// computed in double, from ||W0||^2, W0 A^T, A A^T and B, without forming delta. g is 0, infinite or NaN where m or n say so;
/// merges with such rows are exact to undo as well.
template <class Scalar>
class DoRA final : public Update<compute_t<Scalar>> {
 public:
  /// What it computes in.
  using Compute = compute_t<Scalar>;

  /// Copies the factors and the magnitude (out x 1). Throws what LowRank does, and ShapeError for a magnitude of another shape.
  template <class DerivedB, class DerivedA, class DerivedM>
  DoRA(const Eigen::MatrixBase<DerivedB>& B, const Eigen::MatrixBase<DerivedA>& A, Scaling scaling,
       const Eigen::MatrixBase<DerivedM>& magnitude)
      : DoRA(LowRank<Scalar>(B, A, scaling), magnitude) {}

  /// The same of an update that is there already, whose factors are shared.
  template <class DerivedM>
  DoRA(const LowRank<Scalar>& update, const Eigen::MatrixBase<DerivedM>& magnitude)
      : update_(update), magnitude_("DoRA: magnitude", magnitude) {
    detail::expect_shape("DoRA: magnitude", update.rows(), 1, magnitude.rows(), magnitude.cols());
  }
  /// The same of a magnitude in memory of any type, which is converted as cast() does.
  DoRA(const LowRank<Scalar>& update, const MatrixView& magnitude)
      : update_(update), magnitude_("DoRA: magnitude", magnitude) {
    detail::expect_shape("DoRA: magnitude", update.rows(), 1, magnitude.rows, magnitude.cols);
  }

  Index rows() const override { return update_.rows(); }
  Index cols() const override { return update_.cols(); }
  /// r.
  Index rank() const { return update_.rank(); }

  /// s B A, and m.
  const LowRank<Scalar>& low_rank() const { return update_; }
  MatrixMap<const Scalar> magnitude() const { return magnitude_.map(); }

  std::string_view kind() const override { return "DoRA"; }
  std::vector<UpdateTensor> tensors() const override {
    std::vector<UpdateTensor> all = update_.tensors();
    all.push_back({"lora_magnitude_vector", magnitude_.view()});
    return all;
  }
  Scaling scaling_rule() const override { return update_.scaling_rule(); }
  void add_to(FormBuilder<Compute>& form, double coefficient) const override;

  /// The same update in another type, as LowRank::cast.
  template <class Other>
  [[nodiscard]] DoRA<Other> cast() const {
    return DoRA<Other>(update_.template cast<Other>(), magnitude_.view());
  }

 private:
  LowRank<Scalar> update_;
  detail::Factor<Scalar> magnitude_;
};

namespace detail {

/// g of a DoRA update, see there, with c = Compute(scale): m out x 1, B out x r, A r x in.
template <class Compute>
void dora_gains(const FrozenRows& W0, double scale, const MatrixView& B, const MatrixView& A, const MatrixView& m,
                Compute* g);

}  // namespace detail

template <class Scalar>
void DoRA<Scalar>::add_to(FormBuilder<Compute>& form, double coefficient) const {
  update_.add_to(form, coefficient);
  const auto gains = [&](const FrozenRows& W0, Compute* g) {
    const auto factors = update_.tensors();
    detail::dora_gains(W0, update_.scaling() * coefficient, factors[0].view, factors[1].view, magnitude_.view(), g);
  };
  form.scale_rows_from_W0(magnitude_.view(), gains);
}

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/dora-inl.hpp"
#endif
