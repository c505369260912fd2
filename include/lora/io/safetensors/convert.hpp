// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Elements from one storage type to another. For bodies (-inl.hpp).

#include "lora/io/safetensors/visit_type.hpp"
#include "lora/simd/fp_environment.hpp"

#include <cstddef>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Converts `count` elements, exactly towards a wider type and rounded once, to nearest even, towards a narrower one. Returns
/// the number of the first that did not stay the same number, or `count`; NaN never does.
inline std::size_t convert_elements(ScalarType from_type, const void* from, ScalarType to_type, void* to,
                                    std::size_t count) {
  std::size_t changed = count;
  visit_type(from_type, [&]<class From>(std::type_identity<From>) {
    visit_type(to_type, [&]<class To>(std::type_identity<To>) {
      lora::detail::with_fp_environment([&] {
        const From* const in = static_cast<const From*>(from);
        To* const out = static_cast<To*>(to);
        for (std::size_t i = count; i-- > 0;) {
          out[i] = lora::detail::convert<To>(in[i]);
          const From back = lora::detail::convert<From>(out[i]);
          if (back < in[i] || back > in[i] || lora::detail::is_nan(in[i])) changed = i;
        }
      });
    });
  });
  return changed;
}

}  // namespace io::detail
LORA_NAMESPACE_END
