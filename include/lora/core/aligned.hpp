// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Memory on cache line boundaries, which Eigen's own has only where the program's flags name a wide instruction set.

#include "lora/core/matrix.hpp"

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace detail {

struct AlignedDelete {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

/// Uninitialised memory on a 64-byte boundary, from operator new.
template <class T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

template <class T>
AlignedArray<T> aligned_array(std::size_t size) {
  return AlignedArray<T>(static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{64})));
}

/// A matrix on a 64-byte boundary, one line right behind the other.
template <class Scalar, StorageOrder Order>
class AlignedMatrix {
 public:
  AlignedMatrix() = default;
  /// Uninitialised. Allocates.
  AlignedMatrix(Index rows, Index cols)
      : rows_(rows), cols_(cols), data_(aligned_array<Scalar>(static_cast<std::size_t>(rows * cols))) {}
  /// A copy of an Eigen object. Allocates.
  template <class Derived>
  explicit AlignedMatrix(const Eigen::MatrixBase<Derived>& other) : AlignedMatrix(other.rows(), other.cols()) {
    map() = other;
  }
  AlignedMatrix(const AlignedMatrix& other) : AlignedMatrix(other.map()) {}
  AlignedMatrix(AlignedMatrix&& other) noexcept { swap(other); }
  AlignedMatrix& operator=(AlignedMatrix other) noexcept {
    swap(other);
    return *this;
  }

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Scalar* data() { return data_.get(); }
  const Scalar* data() const { return data_.get(); }

  /// Elements from line to line.
  Index outerStride() const { return Order == row_major ? cols_ : rows_; }

  MatrixMap<Scalar, Order> map() { return {data(), rows_, cols_, Eigen::OuterStride<>(outerStride())}; }
  MatrixMap<const Scalar, Order> map() const { return {data(), rows_, cols_, Eigen::OuterStride<>(outerStride())}; }

 private:
  void swap(AlignedMatrix& other) noexcept {
    std::swap(rows_, other.rows_);
    std::swap(cols_, other.cols_);
    data_.swap(other.data_);
  }

  Index rows_ = 0, cols_ = 0;
  AlignedArray<Scalar> data_;
};

}  // namespace detail
LORA_NAMESPACE_END
