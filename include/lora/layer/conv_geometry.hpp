// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/conv.hpp"

#include <initializer_list>
#include <span>
#include <vector>

LORA_NAMESPACE_BEGIN

/// How a convolution goes over its input; one number per dimension (1 to 3), and what is left out is 1 (the padding,
/// with zeros at both ends, 0). As PyTorch's Conv1d, Conv2d, Conv3d.
struct ConvGeometry {
  /// The sizes of the kernel.
  std::vector<Index> kernel;
  /// How far apart its positions are, how many zeros stand at both ends, how far apart its elements are.
  std::vector<Index> stride = {}, padding = {}, dilation = {};
  /// Of channels, each convolved by itself.
  Index groups = 1;
};

/// The size of a convolution's input for one call: {height, width}, or a vector, span or array. Looks at it.
class ConvSize {
 public:
  /// One number for each dimension.
  ConvSize(std::initializer_list<Index> sizes) : sizes_(sizes.begin(), sizes.size()) {}
  template <class Sizes>
    requires(!std::is_same_v<Sizes, ConvSize> && requires(const Sizes& sizes) { std::span<const Index>(sizes); })
  ConvSize(const Sizes& sizes) : sizes_(sizes) {}

  /// The numbers.
  operator std::span<const Index>() const { return sizes_; }

 private:
  std::span<const Index> sizes_;
};

namespace detail {

/// A geometry that fits a weight.
class FittedGeometry {
 public:
  /// Throws ValueError for a geometry that is none, ShapeError for a weight it does not fit.
  FittedGeometry(const ConvGeometry& geometry, Index rows, Index cols);

  Index in() const { return plan_.channels; }
  Index groups() const { return plan_.groups; }

  /// The columns of a weight without groups.
  Index across_cols() const { return plan_.channels * ConvPlan::product(plan_.kernel); }

  /// For an input of this size. Throws ShapeError.
  ConvPlan plan(std::span<const Index> size) const;

 private:
  ConvPlan plan_;
  std::size_t dimensions_;
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/layer/conv_geometry-inl.hpp"
#endif
