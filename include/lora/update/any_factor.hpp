// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"

#include <memory>
#include <string>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A matrix of an update in whatever of the four types it came in: finite, row-major without gaps, never changed,
/// shared by copies. What Factor is, where the type is no part of the class.
class AnyFactor {
 public:
  /// Copies a matrix. `what` names it in messages. Throws ValueError when an element is not finite.
  AnyFactor(const std::string& what, const MatrixView& matrix);
  template <class Derived>
  AnyFactor(const std::string& what, const Eigen::DenseBase<Derived>& matrix) : AnyFactor(copy_of(what, matrix)) {}

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  ScalarType type() const { return type_; }
  MatrixView view() const { return {data_.get(), type_, rows_, cols_, cols_, 1}; }

 private:
  template <class Derived>
  static AnyFactor copy_of(const std::string& what, const Eigen::DenseBase<Derived>& matrix) {
    static_assert(is_scalar_v<typename Derived::Scalar>,
                  "lora: an update's matrices must be of float, double, Eigen::half or Eigen::bfloat16");
    if constexpr ((Derived::Flags & Eigen::DirectAccessBit) != 0) {
      return AnyFactor(what, view_of(matrix));
    } else {
      const Matrix<typename Derived::Scalar> evaluated = matrix.derived();
      return AnyFactor(what, view_of(evaluated));
    }
  }

  Index rows_, cols_;
  ScalarType type_;
  std::shared_ptr<const void> data_;
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/any_factor-inl.hpp"
#endif
