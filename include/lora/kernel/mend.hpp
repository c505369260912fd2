// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Merge and unmerge one element at a time: for infinities, NaN, and elements that are tiny beside their delta, which the
/// kernels leave as they come out of the arithmetic.

#include "lora/kernel/block.hpp"

#include <bit>

LORA_NAMESPACE_BEGIN
namespace detail {

/// W' = round(W0 + delta). A NaN in W0 stays as it is; every other NaN is the canonical one.
template <class T>
T merged_value(T w0, compute_t<T> delta) {
  return is_nan(w0) ? w0 : narrow<T>(widen(w0) + delta);
}

/// The lanes of a group that hold an infinity or NaN.
template <class T>
unsigned nonfinite_lanes(const T* group) {
  unsigned lanes = 0;
  for (unsigned i = 0; i < 16; ++i) lanes |= static_cast<unsigned>(!is_finite(group[i])) << i;
  return lanes;
}

/// The delta of a cell, as the kernels give it.
template <class T>
struct CellDelta {
  alignas(64) compute_t<T> lanes[cell_elements];
  const LaneOrder* order;

  compute_t<T> operator[](unsigned element) const {
    return lanes[element / cell_length * cell_length + (*order)[element % cell_length]];
  }
};

/// W' of the elements that came out infinite or NaN.
template <class T>
LORA_NOINLINE void mend_sums(const CellRow<T>& cell, const T* old, const CellDelta<T>& delta) {
  for (unsigned g = 0; g < cell_groups; ++g) {
    T* w = cell.group(g);
    for (unsigned lanes = nonfinite_lanes(w); lanes != 0; lanes &= lanes - 1) {
      const unsigned i = static_cast<unsigned>(std::countr_zero(lanes));
      w[i] = merged_value(old[16 * g + i], delta[16 * g + i]);
    }
  }
}

/// The same for a merge, and the distances of such elements and of those that `extreme`, a mask for each group, names. What
/// does not fit a byte goes to `raw`; its distance becomes -128.
template <class T>
LORA_NOINLINE void mend_changes(const CellRow<T>& cell, const T* old, const CellDelta<T>& delta, bool nonfinite,
                                const std::uint16_t* extreme, std::int8_t* distances, unsigned char*& raw) {
  using Signed = typename ScalarTraits<T>::Signed;
  for (unsigned g = 0; g < cell_groups; ++g) {
    T* w = cell.group(g);
    const unsigned inside = cell.lanes(g);
    const unsigned doubtful = extreme[g] | (nonfinite ? nonfinite_lanes(w) : 0u);
    for (unsigned lanes = doubtful; lanes != 0; lanes &= lanes - 1) {
      const unsigned i = static_cast<unsigned>(std::countr_zero(lanes)), at = 16 * g + i;
      if ((inside >> i & 1u) == 0) {
        distances[at] = 0;
        continue;
      }
      const T w0 = old[at];
      w[i] = merged_value(w0, delta[at]);
      Signed distance = -128;
      if (is_finite(w0) && is_finite(w[i])) {
        volatile compute_t<T> sum = widen(w[i]);  // (w + d) - d must be computed as it stands
        const auto from = static_cast<Bits<T>>(ordered<T>(to_bits(narrow<T>(sum - delta[at]))));
        distance = static_cast<Signed>(static_cast<Bits<T>>(static_cast<Bits<T>>(ordered<T>(to_bits(w0))) - from));
        if (distance < -127 || distance > 127) distance = -128;
      }
      if (distance == -128) {
        std::memcpy(raw, static_cast<const void*>(&w0), sizeof w0);
        raw += sizeof w0;
      }
      distances[at] = static_cast<std::int8_t>(distance);
    }
  }
}

/// Takes the elements whose distance is -128 from `raw`.
template <class T>
LORA_NOINLINE void load_escaped(const CellRow<T>& cell, const std::int8_t* distances, const unsigned char*& raw) {
  for (Index i = 0; i < cell_lines; ++i)
    for (Index j = 0; j < cell_length; ++j)
      if (distances[i * cell_length + j] == -128) {
        std::memcpy(static_cast<void*>(cell.data + i * cell.stride + j), raw, sizeof(T));
        raw += sizeof(T);
      }
}

}  // namespace detail
LORA_NAMESPACE_END
