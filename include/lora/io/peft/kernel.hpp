// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The kernels of convolutions as files have them. For bodies (-inl.hpp).

#include "lora/core/matrix.hpp"

#include <algorithm>
#include <span>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A kernel without dimensions of 1 at its end. Two that are the same without them are of the same weight: factors of a
/// 1x1 convolution are stored as a linear layer's are, and the other way round, and PEFT's cores have two dimensions
/// also of one.
template <class Size>
std::span<const Size> without_ones(std::span<const Size> kernel) {
  while (!kernel.empty() && kernel.back() == 1) kernel = kernel.first(kernel.size() - 1);
  return kernel;
}

/// Whether a module's kernel is that of a weight of this shape, (out, in, kernel...).
template <class Size>
bool is_kernel_of(std::span<const Index> kernel, std::span<const Size> shape) {
  if (shape.size() < 2) return false;
  const std::span<const Index> own = without_ones(kernel);
  const std::span<const Size> other = without_ones(shape.subspan(2));
  return std::equal(own.begin(), own.end(), other.begin(), other.end(),
                    [](Index a, Size b) { return a == static_cast<Index>(b); });
}

}  // namespace io::detail
LORA_NAMESPACE_END
