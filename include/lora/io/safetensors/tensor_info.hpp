// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a safetensors header consists of.

#include "lora/io/safetensors/dtype.hpp"

#include <span>
#include <string>
#include <utility>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// One tensor of a safetensors file.
struct TensorInfo {
  std::string name;  ///< as the file has it
  DType dtype = DType::F32;  ///< of the elements
  std::vector<std::uint64_t> shape;  ///< slowest dimension first; empty: a scalar
  std::uint64_t begin = 0, end = 0;  ///< bytes from the beginning of the data

  /// The size of its data.
  std::uint64_t bytes() const { return end - begin; }
};

/// String to string, in the order of the file.
using Metadata = std::vector<std::pair<std::string, std::string>>;

namespace detail {

/// "[2, 3]"
std::string shape_list(std::span<const std::uint64_t> shape);

/// The bytes of a tensor, or nothing when they are not a whole number or come near 2^63.
std::optional<std::uint64_t> tensor_bytes(DType dtype, std::span<const std::uint64_t> shape);

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/safetensors/tensor_info-inl.hpp"
#endif
