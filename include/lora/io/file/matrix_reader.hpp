// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/core/scalar.hpp"

#include <cstddef>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Tensors as matrices, for a class `File` of files that has expect_dimensions(tensor, count), which refuses what has
/// others or cannot be read, and read_elements(tensor, type, out).
template <class File>
class MatrixReader {
 public:
  /// A tensor of two dimensions, rows x cols as in PyTorch, as a matrix: bit for bit when T is its type, exactly
  /// towards a wider one, rounded once towards a narrower one. Throws FileError naming the tensor. Allocates the
  /// matrix, and less than 1 MiB when the types differ.
  template <class T, class Tensor>
  Matrix<T> read_matrix(const Tensor& tensor) const {
    expect_scalar<T>();
    self().expect_dimensions(tensor, 2);
    Matrix<T> out(static_cast<Index>(tensor.shape[0]), static_cast<Index>(tensor.shape[1]));
    self().read_elements(tensor, lora::detail::ScalarTraits<T>::type, out.data());
    return out;
  }

  /// A tensor of one dimension as a column vector; everything else as of read_matrix.
  template <class T, class Tensor>
  Eigen::Matrix<T, Eigen::Dynamic, 1> read_vector(const Tensor& tensor) const {
    expect_scalar<T>();
    self().expect_dimensions(tensor, 1);
    Eigen::Matrix<T, Eigen::Dynamic, 1> out(static_cast<Index>(tensor.shape[0]));
    self().read_elements(tensor, lora::detail::ScalarTraits<T>::type, out.data());
    return out;
  }

  /// As read_matrix, of a type that is known at run time: the elements of the view lie in `bytes`.
  template <class Tensor>
  MatrixView read_matrix(const Tensor& tensor, ScalarType type, std::vector<std::byte>& bytes) const {
    self().expect_dimensions(tensor, 2);
    const auto rows = static_cast<Index>(tensor.shape[0]), cols = static_cast<Index>(tensor.shape[1]);
    bytes.resize(tensor.shape[0] * tensor.shape[1] * lora::detail::element_size(type));
    self().read_elements(tensor, type, bytes.data());
    return {bytes.data(), type, rows, cols, cols, 1};
  }

 private:
  template <class T>
  static void expect_scalar() {
    static_assert(lora::detail::is_scalar_v<T>,
                  "lora::io: tensors are read as float, double, Eigen::half or Eigen::bfloat16");
  }
  const File& self() const { return static_cast<const File&>(*this); }
};

}  // namespace io::detail
LORA_NAMESPACE_END
