// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a GGUF header consists of, besides metadata.

#include "lora/core/function_ref.hpp"
#include "lora/io/gguf/ggml_type.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// One tensor of a GGUF file.
struct GgufTensor {
  std::string name;  ///< as the file has it
  GgmlType type = GgmlType::F32;  ///< of the elements
  std::vector<std::uint64_t> shape;  ///< slowest dimension first, the reverse of the file's order; empty: a scalar
  std::uint64_t begin = 0, end = 0;  ///< bytes from the beginning of the data

  /// The size of its data.
  std::uint64_t bytes() const { return end - begin; }
};

/// What a header may have at most, and the key of its alignment.
struct GgufLimits {
  /// Of the header, in bytes.
  static constexpr std::uint64_t max_header_bytes = 100'000'000;
  /// Of a key and of a name, in bytes; of dimensions, and of arrays within each other.
  static constexpr std::size_t max_key_bytes = 65535, max_name_bytes = 1024, max_dimensions = 4, max_nesting = 8;
  /// The key whose value the data is aligned to.
  static constexpr std::string_view alignment_key = "general.alignment";
};

/// Copies `into.size()` bytes from an offset of a file on.
using GgufRead = FunctionRef<void(std::uint64_t offset, std::span<std::byte> into)>;

namespace detail {

/// The bytes of a tensor, or nothing when its rows are not whole blocks or the bytes come near 2^63.
inline std::optional<std::uint64_t> tensor_bytes(GgmlType type, std::span<const std::uint64_t> shape) {
  constexpr std::uint64_t limit = std::uint64_t{1} << 63;
  const std::uint64_t row = shape.empty() ? 1 : shape.back();
  if (row % block_elements(type) != 0) return std::nullopt;
  std::uint64_t bytes = block_bytes(type);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::uint64_t extent = i + 1 == shape.size() ? row / block_elements(type) : shape[i];
    if (shape[i] >= limit || (extent != 0 && bytes > (limit - 1) / extent)) return std::nullopt;
    bytes *= extent;
  }
  return bytes;
}

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END
