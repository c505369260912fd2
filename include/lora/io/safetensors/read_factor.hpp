// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Tensors as matrices of updates, in their own type. For bodies (-inl.hpp).

#include "lora/io/safetensors/safetensors.hpp"
#include "lora/update/any_factor.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The numbers of a tensor as a rows x cols matrix. Throws FileError when it is not of F16, BF16, F32 or F64, ValueError when
/// a number is not finite.
inline lora::detail::AnyFactor read_factor(const Safetensors& file, const TensorInfo& tensor, std::string_view what, Index rows,
                                           Index cols) {
  const std::optional<ScalarType> type = scalar_type(tensor.dtype);
  if (!type)
    fail(file.path(), "tensor ", in_quotes(tensor.name), ": expected F16, BF16, F32 or F64, found ", name(tensor.dtype));
  std::vector<std::byte> bytes(tensor.bytes());
  file.read(tensor, 0, bytes);
  return {std::string(what), MatrixView{bytes.data(), *type, rows, cols, cols, 1}};
}

}  // namespace io::detail
LORA_NAMESPACE_END
