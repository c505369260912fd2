// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/kernel/forward.hpp"
#include "lora/kernel/passes.hpp"
#include "lora/update/scaling.hpp"

#include <span>
#include <type_traits>
#include <vector>

LORA_NAMESPACE_BEGIN

/// The update of Hu et al., "LoRA" (2021), equation 3: delta = s B A with B: out x r, A: r x in, s from a Scaling rule.
/// The factors are owned and never change. `Scalar` is their storage type; arithmetic is in compute_t<Scalar>.
template <class Scalar>
class LowRank {
  static_assert(detail::is_scalar_v<Scalar>,
                "lora::LowRank: factors must be float, double, Eigen::half or Eigen::bfloat16");

 public:
  using Compute = compute_t<Scalar>;

  /// Copies the factors; without a rule s = 1. Throws ShapeError when B's columns and A's rows differ, ValueError when the
  /// rank is 0, or a factor or the scaling is not finite.
  template <class DerivedB, class DerivedA>
  LowRank(const Eigen::MatrixBase<DerivedB>& B, const Eigen::MatrixBase<DerivedA>& A,
          Scaling scaling = scaling::fixed(1.0))
      : LowRank(Matrix<Scalar>(B), Matrix<Scalar>(A), scaling) {}

  /// The same, of matrices that are moved in.
  LowRank(Matrix<Scalar>&& B, Matrix<Scalar>&& A, Scaling scaling = scaling::fixed(1.0))
      : B_(std::move(B)), A_(std::move(A)), rule_(scaling) {
    if (B_.cols() != A_.rows())
      throw ShapeError(detail::text("lora: LowRank: B (out x r) and A (r x in) must share r: expected A with ",
                                    B_.cols(), " rows, found ", detail::shape_text(A_.rows(), A_.cols())));
    if (A_.rows() == 0) throw ValueError("lora: LowRank: expected a rank of at least 1, found 0");
    expect_finite("B", B_);
    expect_finite("A", A_);
    scaling_ = rule_(rank());
  }

  /// out, in and r.
  Index rows() const { return B_.rows(); }
  Index cols() const { return A_.cols(); }
  Index rank() const { return A_.rows(); }

  const Matrix<Scalar>& B() const { return B_; }
  const Matrix<Scalar>& A() const { return A_; }

  /// s, and the rule it came from.
  double scaling() const { return scaling_; }
  const Scaling& scaling_rule() const { return rule_; }

  /// delta = weight s B A, out x in, in the compute type: the very numbers merge() adds. Allocates the result and packed
  /// copies of the factors. Throws ValueError when s * weight is not finite.
  [[nodiscard]] Matrix<Compute> delta(double weight = 1.0) const;

  /// The same update with its factors in another type: exact towards a wider type, rounded once to nearest even towards a
  /// narrower one. Throws ValueError when a factor overflows.
  template <class Other>
  [[nodiscard]] LowRank<Other> cast() const {
    const detail::FpEnvironment environment;
    return {convert<Other>(B_), convert<Other>(A_), rule_};
  }

 private:
  static void expect_finite(const char* which, const Matrix<Scalar>& factor) {
    for (Index i = 0; i < factor.rows(); ++i)
      for (Index j = 0; j < factor.cols(); ++j)
        if (!detail::is_finite(factor(i, j)))
          throw ValueError(detail::text("lora: LowRank: expected finite factors, found ",
                                        detail::is_nan(factor(i, j)) ? "NaN" : "infinity", " at ", which, "(", i, ", ",
                                        j, ")"));
  }

  template <class Other>
  LORA_NOINLINE static Matrix<Other> convert(const Matrix<Scalar>& factor) {
    Matrix<Other> out(factor.rows(), factor.cols());
    for (Index i = 0; i < factor.size(); ++i) out.data()[i] = detail::convert<Other>(factor.data()[i]);
    return out;
  }

  Matrix<Scalar> B_, A_;
  Scaling rule_;
  double scaling_ = 0.0;
};

/// An update and what it is weighted with, for one call of merge(), unmerge() and the like: `update` is not null and lives at
/// least as long as the call. An unmerge needs the same factors and weights as the merge: keep them, or use FrozenWeight,
/// which does. Factors are of the weight's compute type (LowRank::cast).
template <class Compute>
struct Weighted {
  const LowRank<Compute>* update;
  double weight = 1.0;  ///< what the update is multiplied with, besides its own scaling
};

/// The ordered list of updates a weight gets: delta is one chain over all of them, in this order. An update whose weight is
/// 0 is not in the set.
template <class Compute>
using ActiveSet = std::span<const Weighted<Compute>>;

namespace detail {

/// Throws ValueError for an update that is null, ShapeError naming one that does not fit a rows x cols weight.
template <class Compute>
void expect_set(ActiveSet<Compute> set, Index rows, Index cols) {
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (set[i].update == nullptr) throw ValueError(text("lora: update ", i, " of the active set is a null pointer"));
    expect_shape(text("update ", i, " of the active set"), rows, cols, set[i].update->rows(), set[i].update->cols());
  }
}

/// The packed factors of a set for the kernels of a rows x cols weight of type T. Throws what expect_set() throws.
template <class T>
PackedFactors<compute_t<T>> pack(ActiveSet<compute_t<T>> set, Index rows, Index cols, StorageOrder order) {
  using Compute = compute_t<T>;
  expect_set(set, rows, cols);
  std::vector<FactorView<Compute>> views;
  views.reserve(set.size());
  for (const auto& [update, weight] : set)
    views.push_back({update->B().data(), update->A().data(), update->rank(), update->scaling(), weight});
  const FpEnvironment environment;
  return PackedFactors<Compute>(views, rows, cols, order, *cell_kernels<T>().order);
}

/// Fills in what stack() has made room for. Must run under an FpEnvironment of the caller's.
template <class Compute>
LORA_NOINLINE void stack_into(StackedFactors<Compute>& out, ActiveSet<Compute> set, Index rows, Index cols) {
  Index first = 0;
  for (const Weighted<Compute>& entry : set) {
    if (entry.weight == 0.0) continue;
    const LowRank<Compute>& update = *entry.update;
    const Compute c = combined_scale<Compute>(update.scaling(), entry.weight);
    if (cols != 0) out.A().map().middleRows(first, update.rank()) = update.A();
    for (Index i = 0; i < rows; ++i)
      for (Index k = 0; k < update.rank(); ++k) out.B(i, first + k) = c * update.B()(i, k);
    first += update.rank();
  }
}

/// The factors of a set stacked along the rank, B scaled, as merge() has them: for forward passes. Throws what expect_set()
/// throws, and ValueError when s * weight is not finite.
template <class Compute>
StackedFactors<Compute> stack(ActiveSet<Compute> set, Index rows, Index cols) {
  expect_set(set, rows, cols);
  Index depth = 0;
  for (const Weighted<Compute>& entry : set)
    if (entry.weight != 0.0) depth += entry.update->rank();
  StackedFactors<Compute> out(rows, cols, depth);
  const FpEnvironment environment;
  stack_into(out, set, rows, cols);
  return out;
}

}  // namespace detail

/// delta of a whole set, rows x cols: the sum of weight s B A as one chain, the very numbers merge() adds. Throws ShapeError
/// and ValueError. Allocates the result and packed copies of the factors.
template <class Compute>
[[nodiscard]] Matrix<Compute> delta(std::type_identity_t<ActiveSet<Compute>> set, Index rows, Index cols) {
  Matrix<Compute> out(rows, cols);
  detail::delta_pass(detail::lines_of(out), detail::pack<Compute>(set, rows, cols, row_major));
  return out;
}

template <class Scalar>
auto LowRank<Scalar>::delta(double weight) const -> Matrix<Compute> {
  if constexpr (std::is_same_v<Scalar, Compute>) {
    const Weighted<Compute> set[] = {{this, weight}};
    return lora::delta<Compute>(set, rows(), cols());
  } else {
    return cast<Compute>().delta(weight);
  }
}

LORA_NAMESPACE_END
