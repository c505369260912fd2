// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/factors.hpp"
#include "lora/update/update.hpp"

LORA_NAMESPACE_BEGIN

/// A whole change of the weight: delta = M, out x in (what LyCORIS files call `diff`). It takes the memory of a weight, and its
/// forward pass costs one; a LowRank is cheaper wherever it can say the same.
///
///     lora::Dense<float> change(tuned - W0);
template <class Scalar>
class Dense final : public Update<compute_t<Scalar>> {
  static_assert(detail::is_scalar_v<Scalar>,
                "lora::Dense: the matrix must be of float, double, Eigen::half or Eigen::bfloat16");

 public:
  /// What it computes in.
  using Compute = compute_t<Scalar>;

  /// Copies M. Throws ValueError when an element is not finite.
  template <class Derived>
  explicit Dense(const Eigen::MatrixBase<Derived>& M) : M_("Dense", M) {}

  Index rows() const override { return M_.rows(); }
  Index cols() const override { return M_.cols(); }

  /// M where it lies, row-major without gaps.
  MatrixMap<const Scalar> matrix() const { return M_.map(); }

  std::string_view kind() const override { return "dense"; }
  std::vector<UpdateTensor> tensors() const override { return {{"diff", M_.view()}}; }
  void add_to(FormBuilder<Compute>& form, double coefficient) const override { form.add_dense(coefficient, M_.view()); }

 private:
  detail::Factor<Scalar> M_;
};

LORA_NAMESPACE_END
