// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/error.hpp"
#include "lora/io/safetensors/dtype.hpp"

#include <type_traits>

LORA_NAMESPACE_BEGIN
namespace io {

/// Calls `visitor` with std::type_identity of the C++ type that a scalar type is, and returns what it returns:
/// `visit_type(type, [&]<class T>(std::type_identity<T>) { ... })`.
template <class Visitor>
decltype(auto) visit_type(ScalarType type, Visitor&& visitor) {
  switch (type) {
    case ScalarType::half: return visitor(std::type_identity<Eigen::half>());
    case ScalarType::bfloat16: return visitor(std::type_identity<Eigen::bfloat16>());
    case ScalarType::float32: return visitor(std::type_identity<float>());
    case ScalarType::float64: break;
  }
  return visitor(std::type_identity<double>());
}

/// The same for the element type of a tensor: F16, BF16, F32 or F64 (Eigen::half, Eigen::bfloat16, float, double). Throws
/// ValueError for every other.
template <class Visitor>
decltype(auto) visit_type(DType dtype, Visitor&& visitor) {
  const std::optional<ScalarType> type = scalar_type(dtype);
  if (!type)
    throw ValueError(lora::detail::text("lora: visit_type: expected F16, BF16, F32 or F64, found ", name(dtype)));
  return visit_type(*type, std::forward<Visitor>(visitor));
}

}  // namespace io
LORA_NAMESPACE_END
