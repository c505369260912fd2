// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/safetensors/tensor_info.hpp"
#include "lora/io/text/utf8.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC std::string shape_list(std::span<const std::uint64_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size() && i < 8; ++i) out += text(i == 0 ? "" : ", ", shape[i]);
  return out + (shape.size() > 8 ? text(", ... ", shape.size(), " dimensions]") : "]");
}

LORA_FUNC std::optional<std::uint64_t> tensor_bytes(DType dtype, std::span<const std::uint64_t> shape) {
  constexpr std::uint64_t limit = std::uint64_t{1} << 63;
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) {
    if (extent >= limit || (extent != 0 && count > (limit - 1) / extent)) return std::nullopt;
    count *= extent;
  }
  const unsigned width = bits(dtype);
  // Eight elements are `width` whole bytes, whatever the width.
  if (count / 8 > (limit - 1) / width - 1 || (count % 8) * width % 8 != 0) return std::nullopt;
  return count / 8 * width + count % 8 * width / 8;
}

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END
