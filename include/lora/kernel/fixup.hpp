// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Merge and unmerge one element at a time: for infinities, NaN, and elements that are tiny beside their delta, which the
/// kernels leave as they come out of the arithmetic.

#include "lora/kernel/block.hpp"

#include <bit>

LORA_TAGGED_BEGIN

/// One element's delta and gains: 1 where there is none.
template <class Compute>
struct ElementChange {
  Compute delta, first = 1, second = 1, first_divisor = 1, second_divisor = 1;
};

/// W' = round(second (first W0) + delta). A NaN in W0 stays as it is; every other NaN is the canonical one.
template <class T>
T merged_value(T w0, const ElementChange<compute_t<T>>& change) {
  return is_nan(w0) ? w0 : narrow<T>(fma(change.second, change.first * widen(w0), change.delta));
}

/// What an unmerge takes for W0 before the record corrects it. (w + d) - d must be computed as it stands.
template <class T>
T candidate_value(T merged, const ElementChange<compute_t<T>>& change) {
  volatile compute_t<T> sum = widen(merged);
  return narrow<T>((sum - change.delta) / change.second_divisor / change.first_divisor);
}

/// The lanes of a group that hold an infinity or NaN.
template <class T>
unsigned nonfinite_lanes(const T* group) {
  unsigned lanes = 0;
  for (unsigned i = 0; i < 16; ++i) lanes |= static_cast<unsigned>(!is_finite(group[i])) << i;
  return lanes;
}

/// The delta of a tile, as the kernels give it.
template <class T>
struct TileDelta {
  alignas(64) compute_t<T> lanes[tile_elements];
  const LaneOrder* order;
  TileExtras<compute_t<T>> extras;

  ElementChange<compute_t<T>> operator[](unsigned element) const {
    const unsigned line = element / tile_length, lane = (*order)[element % tile_length];
    ElementChange<compute_t<T>> out{lanes[line * tile_length + lane]};
    const bool lines_first = extras.lines_first;
    if (extras.lines.gains != nullptr) {
      (lines_first ? out.first : out.second) = extras.lines.gains[line];
      (lines_first ? out.first_divisor : out.second_divisor) = extras.lines.divisors[line];
    }
    if (extras.positions.gains != nullptr) {
      (lines_first ? out.second : out.first) = extras.positions.gains[lane];
      (lines_first ? out.second_divisor : out.first_divisor) = extras.positions.divisors[lane];
    }
    return out;
  }
};

/// W' of the elements that came out infinite or NaN.
template <class T>
LORA_NOINLINE void fixup_sums(const TileRow<T>& tile, const T* old, const TileDelta<T>& delta) {
  for (unsigned g = 0; g < tile_groups; ++g) {
    T* w = tile.group(g);
    for (unsigned lanes = nonfinite_lanes(w); lanes != 0; lanes &= lanes - 1) {
      const unsigned i = static_cast<unsigned>(std::countr_zero(lanes));
      w[i] = merged_value(old[16 * g + i], delta[16 * g + i]);
    }
  }
}

/// The same for a merge, and the distances of such elements and of those that `extreme`, a mask for each group, names. What
/// does not fit a byte goes to `raw`; its distance becomes -128.
template <class T>
LORA_NOINLINE void fixup_changes(const TileRow<T>& tile, const T* old, const TileDelta<T>& delta, bool nonfinite,
                                 const std::uint16_t* extreme, std::int8_t* distances, unsigned char*& raw) {
  using Signed = typename ScalarTraits<T>::Signed;
  for (unsigned g = 0; g < tile_groups; ++g) {
    T* w = tile.group(g);
    const unsigned inside = tile.lanes(g);
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
        const auto from = static_cast<Bits<T>>(ordered<T>(to_bits(candidate_value(w[i], delta[at]))));
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
LORA_NOINLINE void load_escaped(const TileRow<T>& tile, const std::int8_t* distances, const unsigned char*& raw) {
  for (Index i = 0; i < tile_lines; ++i)
    for (Index j = 0; j < tile_length; ++j)
      if (distances[i * tile_length + j] == -128) {
        std::memcpy(static_cast<void*>(tile.data + i * tile.stride + j), raw, sizeof(T));
        raw += sizeof(T);
      }
}

LORA_TAGGED_END
