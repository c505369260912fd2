// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Matrix types by their role, and the view the kernels work on.

#include "lora/core/error.hpp"
#include "lora/core/scalar.hpp"

#include <span>
#include <type_traits>

LORA_NAMESPACE_BEGIN

/// The order of a matrix in memory.
enum class StorageOrder : std::uint8_t { row_major = 0, column_major = 1 };

/// The orders by their short names.
inline constexpr StorageOrder row_major = StorageOrder::row_major;
/// The orders by their short names.
inline constexpr StorageOrder column_major = StorageOrder::column_major;

/// An Eigen matrix with the order chosen by a StorageOrder.
template <class Scalar, StorageOrder Order = row_major>
using Matrix =
    Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Order == row_major ? Eigen::RowMajor : Eigen::ColMajor>;

/// Activations: one column per sample, `features x batch`. The same memory as a row-major `[batch, features]`.
template <class Scalar>
using Activations = Matrix<Scalar, column_major>;

/// A matrix in somebody's memory, elements of one line contiguous, `outer_stride` elements from line to line.
template <class Scalar, StorageOrder Order = row_major>
using MatrixMap =
    Eigen::Map<std::conditional_t<std::is_const_v<Scalar>, const Matrix<std::remove_const_t<Scalar>, Order>,
                                  Matrix<std::remove_const_t<Scalar>, Order>>,
               Eigen::Unaligned, Eigen::OuterStride<>>;

/// A matrix in memory of any storage type and layout: element (i, j) lies i * row_stride + j * column_stride elements behind
/// `data`.
struct MatrixView {
  const void* data = nullptr;  ///< element (0, 0)
  ScalarType type = ScalarType::float32;  ///< of the elements
  Index rows = 0, cols = 0;  ///< its shape
  Index row_stride = 0, column_stride = 0;  ///< in elements
};

/// The memory of an Eigen object that has some (a Matrix, Map, Ref or Block), for UpdateTensor and FormBuilder.
template <class Derived>
MatrixView view_of(const Eigen::DenseBase<Derived>& object) {
  using Scalar = typename Derived::Scalar;
  static_assert(detail::is_scalar_v<Scalar>, "lora: expected float, double, Eigen::half or Eigen::bfloat16");
  static_assert((Derived::Flags & Eigen::DirectAccessBit) != 0,
                "lora: expected an Eigen object that owns or maps memory (Matrix, Map, Ref, Block); evaluate the "
                "expression into a Matrix first");
  const Derived& own = object.derived();
  return {own.data(), detail::ScalarTraits<Scalar>::type, own.rows(), own.cols(), own.rowStride(), own.colStride()};
}

/// A row-major `[batch, features]` buffer, PyTorch's, as activations `features x batch`: the same memory, no copy. Throws
/// ShapeError for negative sizes, and of a span when it has not batch * features elements.
template <class Scalar>
auto samples(Scalar* data, Index batch, Index features) {
  static_assert(detail::is_scalar_v<std::remove_const_t<Scalar>>,
                "lora::samples: activations must be of float, double, Eigen::half or Eigen::bfloat16");
  if (batch < 0 || features < 0)
    throw ShapeError(detail::text("lora: samples: expected sizes of 0 or more, found [", batch, ", ", features, "]"));
  if (data == nullptr && batch != 0 && features != 0)
    throw ValueError(detail::text("lora: samples: expected memory for [", batch, ", ", features, "], found a null pointer"));
  using Plain = Activations<std::remove_const_t<Scalar>>;
  return Eigen::Map<std::conditional_t<std::is_const_v<Scalar>, const Plain, Plain>>(data, features, batch);
}
template <class Scalar, std::size_t Extent>
auto samples(std::span<Scalar, Extent> data, Index batch, Index features) {
  const auto map = samples(data.data(), batch, features);
  const auto size = static_cast<Index>(data.size());
  // Not by the product, which may not be an Index.
  if (batch == 0 || features == 0 ? size != 0 : size % features != 0 || size / features != batch)
    throw ShapeError(detail::text("lora: samples: expected ", batch, " x ", features, " elements for [batch, features], found ",
                                  size));
  return map;
}

namespace detail {

/// Element (i, j) of a view whose type is Scalar.
template <class Scalar>
const Scalar& element(const MatrixView& view, Index i, Index j) {
  return static_cast<const Scalar*>(view.data)[i * view.row_stride + j * view.column_stride];
}

/// Calls work(T()) with the type that `type` names.
template <class Work>
decltype(auto) with_type(ScalarType type, const Work& work) {
  switch (type) {
    case ScalarType::half: return work(Eigen::half());
    case ScalarType::bfloat16: return work(Eigen::bfloat16());
    case ScalarType::float64: return work(double());
    case ScalarType::float32: break;
  }
  return work(float());
}

/// The next multiple of `unit`.
constexpr Index padded(Index size, Index unit) { return (size + unit - 1) / unit * unit; }

/// A strided matrix in memory order: `lines` (rows of a row-major matrix, columns of a column-major one) of `length`
/// contiguous elements, `stride` elements apart. What lies between the lines is never read or written.
template <class Scalar>
struct Lines {
  Scalar* data = nullptr;
  Index lines = 0, length = 0, stride = 0;
  StorageOrder order = row_major;

  Scalar* line(Index i) const { return data + i * stride; }
  Index rows() const { return order == row_major ? lines : length; }
  Index cols() const { return order == row_major ? length : lines; }
  operator Lines<const Scalar>() const
    requires(!std::is_const_v<Scalar>)
  {
    return {data, lines, length, stride, order};
  }
};

/// The memory of an Eigen object that has some: a Matrix, Map, Ref or Block. Throws ShapeError when the elements of a line
/// are not contiguous, ValueError when it maps a null pointer.
template <class Object>
auto lines_of(Object&& object) {
  using Plain = std::remove_cvref_t<Object>;
  static_assert((Plain::Flags & Eigen::DirectAccessBit) != 0,
                "lora: a weight must be an Eigen object that owns or maps memory (Matrix, Map, Ref, Block), not an "
                "expression; evaluate it into a Matrix first");
  using Pointer = decltype(object.data());
  using Scalar = std::remove_pointer_t<Pointer>;
  constexpr StorageOrder order = Plain::IsRowMajor ? row_major : column_major;
  const bool by_rows = order == row_major;
  const Index lines = by_rows ? object.rows() : object.cols(), length = by_rows ? object.cols() : object.rows();
  if (object.data() == nullptr && lines > 0 && length > 0)
    throw ValueError(text("lora: a weight: expected memory for ", object.rows(), " x ", object.cols(), ", found a null pointer"));
  if (object.innerStride() != 1 && length > 1)
    throw ShapeError(text("lora: a weight's elements must be contiguous along its ", by_rows ? "rows" : "columns",
                          ": expected an inner stride of 1, found ", object.innerStride()));
  if (lines > 1 && object.outerStride() < length)
    throw ShapeError(text("lora: a weight's ", by_rows ? "rows" : "columns",
                          " must not overlap: expected an outer stride of at least ", length, ", found ",
                          object.outerStride()));
  return Lines<Scalar>{object.data(), lines, length, object.outerStride(), order};
}

}  // namespace detail

LORA_NAMESPACE_END
