// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"
#include "lora/io/gguf/ggml_type.hpp"

#include <cstddef>
#include <span>

LORA_NAMESPACE_BEGIN
namespace io {

/// Whether elements of this type can be read as numbers: F16, BF16, F32, F64, and of the quantised types Q4_0, Q4_1,
/// Q5_0, Q5_1, Q8_0 and Q2_K to Q8_K. (Q8_1, IQ*, TQ* and MXFP4 are known by name and size only.)
constexpr bool is_readable(GgmlType type) {
  switch (type) {
    case GgmlType::Q4_0:
    case GgmlType::Q4_1:
    case GgmlType::Q5_0:
    case GgmlType::Q5_1:
    case GgmlType::Q8_0:
    case GgmlType::Q2_K:
    case GgmlType::Q3_K:
    case GgmlType::Q4_K:
    case GgmlType::Q5_K:
    case GgmlType::Q6_K:
    case GgmlType::Q8_K: return true;
    default: return scalar_type(type).has_value();
  }
}

namespace detail {

/// The elements of `blocks` blocks of one of the quantised types above. With d, m the block's half-precision scale and
/// minimum, s_g, m_g the integers of group g of its elements (K types), and q an element's integer:
///
///     Q4_0, Q5_0, Q8_0, Q8_K   d q        (q signed; Q8_K: d is a float)
///     Q4_1, Q5_1               d q + m
///     Q3_K, Q6_K               d s_g q
///     Q2_K, Q4_K, Q5_K         d s_g q - m m_g
///
/// Products of a half and such integers are floats, exactly, so that each element is rounded once, to nearest even, and
/// has the same bits however it is compiled. A NaN is the canonical one. Where the bits lie: ggml's docs and
/// ggml-quants.
void dequantize(GgmlType type, const std::byte* data, std::size_t blocks, float* out);

}  // namespace detail

/// The numbers in whole blocks of a quantised type that is_readable(), in their order; see detail::dequantize for the formulas. Throws
/// ValueError for another type, ShapeError unless `data` is whole blocks and `out` has room for just their elements.
inline void dequantize(GgmlType type, std::span<const std::byte> data, std::span<float> out) {
  if (!is_readable(type) || scalar_type(type))
    throw ValueError(detail::text("lora: dequantize: expected a quantised type that can be read, found ", name(type)));
  const std::size_t blocks = data.size() / block_bytes(type);
  if (data.size() % block_bytes(type) != 0 || out.size() != blocks * block_elements(type))
    throw ShapeError(detail::text("lora: dequantize: ", name(type), ": expected blocks of ", block_bytes(type),
                                  " bytes to ", block_elements(type), " numbers each, found ", data.size(),
                                  " bytes and ", out.size(), " numbers"));
  detail::dequantize(type, data.data(), blocks, out.data());
}

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/dequantize-inl.hpp"
#endif
