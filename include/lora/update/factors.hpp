// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/aligned.hpp"

#include <memory>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Row i of a matrix, as doubles: exact.
void read_row(const MatrixView& view, Index i, double* out);

/// Throws ValueError naming the first number of row i that is not finite; `what` says of what.
void expect_finite_row(const char* what, const double* row, Index count, Index i);

/// `count` doubles into memory of another type: rounded once, exact where they fit.
void write_numbers(const double* numbers, Index count, ScalarType type, void* out);

/// Copies a matrix into `out`, row-major without gaps, in another type where the types differ: rounded once, exact towards a
/// wider one. Throws ValueError naming the first element that is not finite, there or here.
void copy_finite(const char* what, const MatrixView& view, ScalarType type, void* out);
template <class Scalar>
void copy_finite(const char* what, const MatrixView& view, Scalar* out) {
  copy_finite(what, view, ScalarTraits<Scalar>::type, static_cast<void*>(out));
}

/// The memory of a Factor of any type.
class FactorMemory {
 public:
  /// A copy of a matrix in this type. Throws ValueError when an element is not finite.
  FactorMemory(const char* what, const MatrixView& matrix, ScalarType type);
  FactorMemory(const FactorMemory&) = default;
  FactorMemory(FactorMemory&&) = default;
  FactorMemory& operator=(const FactorMemory&) = default;
  FactorMemory& operator=(FactorMemory&&) = default;
  LORA_NOINLINE ~FactorMemory() {}

  MatrixView view() const { return {data_.get(), type_, rows_, cols_, cols_, 1}; }

 private:
  ScalarType type_;
  Index rows_, cols_;
  std::shared_ptr<const void> data_;
};

/// The memory of an Eigen object, or of a copy of an expression, as use(view).
template <class Scalar, class Derived, class Use>
auto with_view(const Eigen::DenseBase<Derived>& matrix, const Use& use) {
  if constexpr ((Derived::Flags & Eigen::DirectAccessBit) != 0) {
    return use(view_of(matrix));
  } else {
    const Matrix<Scalar> evaluated = matrix.derived();
    return use(view_of(evaluated));
  }
}

/// A matrix of an update: finite, row-major without gaps, never changed, shared by copies. Its memory is the same for every
/// compiler flag, so that it may cross a library's border.
template <class Scalar>
class Factor {
 public:
  /// Copies an Eigen object of the same scalar type. Throws ValueError when an element is not finite.
  template <class Derived>
  Factor(const char* what, const Eigen::DenseBase<Derived>& matrix)
      : memory_(with_view<Scalar>(matrix, [&](const MatrixView& view) {
          static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                        "lora: an update's matrices have another scalar type than the update; name the type they have "
                        "(lora::LowRank<double> for MatrixXd), or cast them (B.cast<float>())");
          return FactorMemory(what, view, ScalarTraits<Scalar>::type);
        })) {}

  /// The same of a matrix of any type.
  Factor(const char* what, const MatrixView& matrix) : memory_(what, matrix, ScalarTraits<Scalar>::type) {}

  Index rows() const { return view().rows; }
  Index cols() const { return view().cols; }
  const Scalar* data() const { return static_cast<const Scalar*>(view().data); }
  MatrixMap<const Scalar> map() const { return {data(), rows(), cols(), Eigen::OuterStride<>(cols())}; }
  MatrixView view() const { return memory_.view(); }

  template <class Other>
  Factor<Other> cast(const char* what) const {
    return Factor<Other>(what, view());
  }

 private:
  FactorMemory memory_;
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/factors-inl.hpp"
#endif
