// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/function_ref.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// The numbers 0 .. count - 1 in the order that `less` has, equal ones in their own: a stable sort, compiled once.
inline std::vector<std::uint32_t> sorted_indices(std::size_t count,
                                                 FunctionRef<bool(std::uint32_t, std::uint32_t)> less) {
  std::vector<std::uint32_t> out(count);
  std::iota(out.begin(), out.end(), std::uint32_t{0});
  std::sort(out.begin(), out.end(),
            [&](std::uint32_t a, std::uint32_t b) { return less(a, b) || (a < b && !less(b, a)); });
  return out;
}

/// Sorts items, and keeps those that are equal in their order.
template <class T, class Less>
void sort_stably(std::vector<T>& items, const Less& less) {
  std::vector<T> out;
  out.reserve(items.size());
  for (const std::uint32_t i : sorted_indices(
           items.size(), [&](std::uint32_t a, std::uint32_t b) { return less(items[a], items[b]); }))
    out.push_back(std::move(items[i]));
  items = std::move(out);
}

}  // namespace detail
LORA_NAMESPACE_END
