// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/scalar.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io {

/// The element types a GGUF file may hold, with their numbers in the file (ggml's `enum ggml_type`).
enum class GgmlType : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q8_1 = 9,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  Q8_K = 15,
  IQ2_XXS = 16,
  IQ2_XS = 17,
  IQ3_XXS = 18,
  IQ1_S = 19,
  IQ4_NL = 20,
  IQ3_S = 21,
  IQ2_S = 22,
  IQ4_XS = 23,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  IQ1_M = 29,
  BF16 = 30,
  TQ1_0 = 34,
  TQ2_0 = 35,
  MXFP4 = 39
};

namespace detail {

/// Rows of a tensor are cut into blocks of so many elements, each stored in so many bytes.
struct GgmlTypeRow {
  GgmlType type;
  std::string_view name;
  std::uint32_t block_elements, block_bytes;
};
inline constexpr std::array<GgmlTypeRow, 32> ggml_types{{
    {GgmlType::F32, "F32", 1, 4},
    {GgmlType::F16, "F16", 1, 2},
    {GgmlType::Q4_0, "Q4_0", 32, 18},
    {GgmlType::Q4_1, "Q4_1", 32, 20},
    {GgmlType::Q5_0, "Q5_0", 32, 22},
    {GgmlType::Q5_1, "Q5_1", 32, 24},
    {GgmlType::Q8_0, "Q8_0", 32, 34},
    {GgmlType::Q8_1, "Q8_1", 32, 36},
    {GgmlType::Q2_K, "Q2_K", 256, 84},
    {GgmlType::Q3_K, "Q3_K", 256, 110},
    {GgmlType::Q4_K, "Q4_K", 256, 144},
    {GgmlType::Q5_K, "Q5_K", 256, 176},
    {GgmlType::Q6_K, "Q6_K", 256, 210},
    {GgmlType::Q8_K, "Q8_K", 256, 292},
    {GgmlType::IQ2_XXS, "IQ2_XXS", 256, 66},
    {GgmlType::IQ2_XS, "IQ2_XS", 256, 74},
    {GgmlType::IQ3_XXS, "IQ3_XXS", 256, 98},
    {GgmlType::IQ1_S, "IQ1_S", 256, 50},
    {GgmlType::IQ4_NL, "IQ4_NL", 32, 18},
    {GgmlType::IQ3_S, "IQ3_S", 256, 110},
    {GgmlType::IQ2_S, "IQ2_S", 256, 82},
    {GgmlType::IQ4_XS, "IQ4_XS", 256, 136},
    {GgmlType::I8, "I8", 1, 1},
    {GgmlType::I16, "I16", 1, 2},
    {GgmlType::I32, "I32", 1, 4},
    {GgmlType::I64, "I64", 1, 8},
    {GgmlType::F64, "F64", 1, 8},
    {GgmlType::IQ1_M, "IQ1_M", 256, 56},
    {GgmlType::BF16, "BF16", 1, 2},
    {GgmlType::TQ1_0, "TQ1_0", 256, 54},
    {GgmlType::TQ2_0, "TQ2_0", 256, 66},
    {GgmlType::MXFP4, "MXFP4", 32, 17},
}};

constexpr const GgmlTypeRow& row_of(GgmlType type) {
  for (const GgmlTypeRow& row : ggml_types)
    if (row.type == type) return row;
  return ggml_types[0];
}

}  // namespace detail

/// "Q4_K"
constexpr std::string_view name(GgmlType type) { return detail::row_of(type).name; }

/// A row is a whole number of blocks of this many elements, each of this many bytes.
constexpr std::uint32_t block_elements(GgmlType type) { return detail::row_of(type).block_elements; }
constexpr std::uint32_t block_bytes(GgmlType type) { return detail::row_of(type).block_bytes; }

/// The type of that number in a file, or nothing.
constexpr std::optional<GgmlType> ggml_type_numbered(std::uint32_t number) {
  for (const detail::GgmlTypeRow& row : detail::ggml_types)
    if (static_cast<std::uint32_t>(row.type) == number) return row.type;
  return std::nullopt;
}

/// The scalar type a weight of this element type has, or nothing: F16, BF16, F32 and F64 have one.
constexpr std::optional<ScalarType> scalar_type(GgmlType type) {
  switch (type) {
    case GgmlType::F16: return ScalarType::half;
    case GgmlType::BF16: return ScalarType::bfloat16;
    case GgmlType::F32: return ScalarType::float32;
    case GgmlType::F64: return ScalarType::float64;
    default: return std::nullopt;
  }
}

/// The element type of a scalar type.
constexpr GgmlType ggml_type_of(ScalarType type) {
  switch (type) {
    case ScalarType::half: return GgmlType::F16;
    case ScalarType::bfloat16: return GgmlType::BF16;
    case ScalarType::float32: return GgmlType::F32;
    default: return GgmlType::F64;
  }
}

}  // namespace io
LORA_NAMESPACE_END
