// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/ggml_type.hpp"

#include <cstddef>

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
}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/dequantize-inl.hpp"
#endif
