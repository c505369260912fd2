// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How two tensors of the same type and shape differ.

#include <lora/io.hpp>

#include <span>

namespace cli {

/// Sums over elements; pieces are added up in the order of the tensor, so that the same tensors give the same numbers.
struct Difference {
  std::uint64_t elements = 0;  ///< whose bits differ; bytes, of types that are smaller
  double largest = 0;          ///< |a - b|; infinite when an element is infinite or NaN on one side only
  double sum_of_squares = 0;   ///< of a - b

  double norm() const;  ///< ||a - b||_F
  Difference& operator+=(const Difference& other);
};

/// Whether the differences of such elements are measured: F16, BF16, F32 and F64. Of others they are only counted.
bool is_measured(lora::io::DType dtype);

/// Of two pieces of the same size, whole elements each.
Difference compare(lora::io::DType dtype, std::span<const std::byte> a, std::span<const std::byte> b);

}  // namespace cli
