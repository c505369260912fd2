// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/scalar.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io {

/// The element types a safetensors file may hold, in the order of the format's own list.
enum class DType : std::uint8_t {
  BOOL,
  F4,
  F6_E2M3,
  F6_E3M2,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64
};

namespace detail {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  unsigned bits;
};
inline constexpr std::array<DTypeRow, 22> dtypes{{
    {DType::BOOL, "BOOL", 8},
    {DType::F4, "F4", 4},
    {DType::F6_E2M3, "F6_E2M3", 6},
    {DType::F6_E3M2, "F6_E3M2", 6},
    {DType::U8, "U8", 8},
    {DType::I8, "I8", 8},
    {DType::F8_E5M2, "F8_E5M2", 8},
    {DType::F8_E4M3, "F8_E4M3", 8},
    {DType::F8_E8M0, "F8_E8M0", 8},
    {DType::F8_E4M3FNUZ, "F8_E4M3FNUZ", 8},
    {DType::F8_E5M2FNUZ, "F8_E5M2FNUZ", 8},
    {DType::I16, "I16", 16},
    {DType::U16, "U16", 16},
    {DType::F16, "F16", 16},
    {DType::BF16, "BF16", 16},
    {DType::I32, "I32", 32},
    {DType::U32, "U32", 32},
    {DType::F32, "F32", 32},
    {DType::C64, "C64", 64},
    {DType::F64, "F64", 64},
    {DType::I64, "I64", 64},
    {DType::U64, "U64", 64},
}};

}  // namespace detail

/// "BF16"
constexpr std::string_view name(DType dtype) { return detail::dtypes[static_cast<std::size_t>(dtype)].name; }

/// Bits per element; below 8 several elements share a byte.
constexpr unsigned bits(DType dtype) { return detail::dtypes[static_cast<std::size_t>(dtype)].bits; }

/// The type of that name, or nothing.
constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (const detail::DTypeRow& row : detail::dtypes)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

/// The scalar type a weight of this element type has, or nothing: F16, BF16, F32 and F64 have one.
constexpr std::optional<ScalarType> scalar_type(DType dtype) {
  switch (dtype) {
    case DType::F16: return ScalarType::half;
    case DType::BF16: return ScalarType::bfloat16;
    case DType::F32: return ScalarType::float32;
    case DType::F64: return ScalarType::float64;
    default: return std::nullopt;
  }
}

/// The element type of a scalar type.
constexpr DType dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::half: return DType::F16;
    case ScalarType::bfloat16: return DType::BF16;
    case ScalarType::float32: return DType::F32;
    default: return DType::F64;
  }
}

}  // namespace io
LORA_NAMESPACE_END
