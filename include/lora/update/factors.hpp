// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/aligned.hpp"

#include <memory>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Row i of a matrix, as doubles: exact.
void read_row(const MatrixView& view, Index i, double* out);

/// Copies a matrix into `out`, row-major without gaps, in another type where the types differ: rounded once, exact towards a
/// wider one. Throws ValueError naming the first element that is not finite.
template <class Scalar>
void copy_finite(const char* what, const MatrixView& view, Scalar* out);

/// A matrix of an update: finite, row-major without gaps, never changed, shared by copies. Its memory is the same for every
/// compiler flag, so that it may cross a library's border.
template <class Scalar>
class Factor {
 public:
  /// Copies an Eigen object of the same scalar type. Throws ValueError when an element is not finite.
  template <class Derived>
  Factor(const char* what, const Eigen::DenseBase<Derived>& matrix) {
    static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                  "lora: an update's matrices have another scalar type than the update; name the type they have "
                  "(lora::LowRank<double> for MatrixXd), or cast them (B.cast<float>())");
    if constexpr ((Derived::Flags & Eigen::DirectAccessBit) != 0) {
      *this = Factor(what, view_of(matrix));
    } else {
      const Matrix<Scalar> evaluated = matrix.derived();
      *this = Factor(what, view_of(evaluated));
    }
  }

  /// The same of a matrix of any type.
  Factor(const char* what, const MatrixView& matrix) : rows_(matrix.rows), cols_(matrix.cols) {
    auto memory = aligned_array<Scalar>(static_cast<std::size_t>(rows_ * cols_));
    copy_finite(what, matrix, memory.get());
    data_ = std::shared_ptr<const Scalar[]>(memory.release(), AlignedDelete{});
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  const Scalar* data() const { return data_.get(); }
  MatrixMap<const Scalar> map() const { return {data(), rows_, cols_, Eigen::OuterStride<>(cols_)}; }
  MatrixView view() const { return {data(), ScalarTraits<Scalar>::type, rows_, cols_, cols_, 1}; }

  template <class Other>
  Factor<Other> cast(const char* what) const {
    return Factor<Other>(what, view());
  }

 private:
  Index rows_ = 0, cols_ = 0;
  std::shared_ptr<const Scalar[]> data_;
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/factors-inl.hpp"
#endif
