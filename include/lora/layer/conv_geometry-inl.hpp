// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/conv_geometry.hpp"

#include <limits>

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC FittedGeometry::FittedGeometry(const ConvGeometry& geometry, Index rows, Index cols)
    : plan_{}, dimensions_(geometry.kernel.size()) {
  constexpr Index most = Index{1} << 20;
  if (dimensions_ < 1 || dimensions_ > 3)
    throw ValueError(text("lora: Conv: kernel: expected 1 to 3 dimensions, found ", dimensions_));
  const auto take = [&](const char* what, const std::vector<Index>& values, Index absent, Index least) {
    ConvPlan::Sizes out{absent, absent, absent};
    if (!values.empty() && values.size() != dimensions_)
      throw ValueError(text("lora: Conv: ", what, ": expected ", dimensions_, " numbers, found ", values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] < least || values[i] > most)
        throw ValueError(
            text("lora: Conv: ", what, ": expected numbers of ", least, " to ", most, ", found ", values[i]));
      out[3 - dimensions_ + i] = values[i];
    }
    return out;
  };
  plan_.kernel = take("kernel", geometry.kernel, 1, 1);
  plan_.stride = take("stride", geometry.stride, 1, 1);
  plan_.padding = take("padding", geometry.padding, 0, 0);
  plan_.dilation = take("dilation", geometry.dilation, 1, 1);
  if (geometry.groups < 1 || geometry.groups > most)
    throw ValueError(text("lora: Conv: groups: expected 1 or more, found ", geometry.groups));
  plan_.groups = geometry.groups;
  const Index positions = ConvPlan::product(plan_.kernel);
  if (cols % positions != 0 || rows % plan_.groups != 0)
    throw ShapeError(text("lora: Conv: the weight: expected a multiple of ", plan_.groups, " x a multiple of ",
                          positions, ", found ", shape_text(rows, cols)));
  plan_.channels = cols / positions * plan_.groups;
}

LORA_FUNC ConvPlan FittedGeometry::plan(std::span<const Index> size) const {
  if (size.size() != dimensions_)
    throw ShapeError(text("lora: Conv: the input's size: expected ", dimensions_, " numbers, found ", size.size()));
  ConvPlan out = plan_;
  out.size = out.output = {1, 1, 1};
  Index positions = std::max<Index>(plan_.channels, 1);
  for (std::size_t i = 0; i < size.size(); ++i) {
    const std::size_t d = 3 - dimensions_ + i;
    const Index span = plan_.dilation[d] * (plan_.kernel[d] - 1) + 1;
    constexpr Index most = std::numeric_limits<Index>::max() / 1024;  // for the numbers of a padded input, in bytes
    if (size[i] < 1 || size[i] > most / positions - 2 * plan_.padding[d])
      throw ShapeError(
          text("lora: Conv: the input's size: expected numbers above 0 that memory can hold, found ", size[i]));
    const Index padded = size[i] + 2 * plan_.padding[d];
    if (padded < span)
      throw ShapeError(text("lora: Conv: the input's size: expected at least ", span - 2 * plan_.padding[d],
                            " for the kernel, found ", size[i]));
    positions *= padded;
    out.size[d] = size[i];
    out.output[d] = (padded - span) / plan_.stride[d] + 1;
  }
  return out;
}

}  // namespace detail
LORA_NAMESPACE_END
