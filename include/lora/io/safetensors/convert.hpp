// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Elements from one storage type to another. For bodies (-inl.hpp).

#include "lora/simd/fp_environment.hpp"
#include "lora/update/factors.hpp"

#include <algorithm>
#include <cstddef>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Converts `count` elements, exactly towards a wider type and rounded once, to nearest even, towards a narrower one. Returns
/// the number of the first that did not stay the same number, or `count`; NaN never does.
inline std::size_t convert_elements(ScalarType from_type, const void* from, ScalarType to_type, void* to,
                                    std::size_t count) {
  std::size_t changed = count;
  lora::detail::with_fp_environment([&] {
    double numbers[256], written[256];
    for (std::size_t at = 0; at < count; at += std::size(numbers)) {
      const auto part = static_cast<Index>(std::min(std::size(numbers), count - at));
      const auto view = [&](ScalarType type, const void* data) {
        return MatrixView{static_cast<const std::byte*>(data) + at * lora::detail::element_size(type), type, 1, part, part, 1};
      };
      lora::detail::read_row(view(from_type, from), 0, numbers);
      lora::detail::write_numbers(numbers, part, to_type,
                                  static_cast<std::byte*>(to) + at * lora::detail::element_size(to_type));
      lora::detail::read_row(view(to_type, to), 0, written);
      for (std::size_t i = 0; i < static_cast<std::size_t>(part) && changed == count; ++i)
        if (written[i] < numbers[i] || written[i] > numbers[i] || lora::detail::is_nan(numbers[i])) changed = at + i;
    }
  });
  return changed;
}

}  // namespace io::detail
LORA_NAMESPACE_END
