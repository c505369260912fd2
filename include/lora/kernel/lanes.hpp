// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The arithmetic of merge and unmerge for one element at a time: the rare groups that hold an infinity, a NaN, or an
/// element that is tiny beside its delta.

#include "lora/kernel/block.hpp"

#include <bit>

LORA_NAMESPACE_BEGIN
namespace detail {

/// W' = round(W0 + delta). A NaN in W0 stays as it is; every other NaN is the canonical one.
template <class T>
T merged_value(T w0, compute_t<T> delta) {
  return is_nan(w0) ? w0 : narrow<T>(widen(w0) + delta);
}

template <class T>
LORA_NOINLINE void add_lanes(T* w, const compute_t<T>* delta, unsigned lanes) {
  for (; lanes != 0; lanes &= lanes - 1) {
    const int i = std::countr_zero(lanes);
    w[i] = merged_value(w[i], delta[i]);
  }
}

/// The merge of the lanes in `lanes`: writes a distance for each that differs, and what the distance cannot say to `raw`.
/// Returns the mask of those lanes.
template <class T>
LORA_NOINLINE unsigned merge_lanes(T* w, const compute_t<T>* delta, unsigned lanes, unsigned char* distances,
                                   unsigned char*& raw) {
  using Signed = typename ScalarTraits<T>::Signed;
  unsigned mask = 0;
  for (; lanes != 0; lanes &= lanes - 1) {
    const int i = std::countr_zero(lanes);
    const T w0 = w[i];
    w[i] = merged_value(w0, delta[i]);
    Signed distance = 0;
    bool escaped = !is_finite(w0) || !is_finite(w[i]);
    if (!escaped) {
      volatile compute_t<T> sum = widen(w[i]);  // (w + d) - d must be computed as it stands
      const T candidate = narrow<T>(sum - delta[i]);
      const auto from = static_cast<Bits<T>>(ordered<T>(to_bits(candidate)));
      distance = static_cast<Signed>(static_cast<Bits<T>>(static_cast<Bits<T>>(ordered<T>(to_bits(w0))) - from));
      escaped = distance < -127 || distance > 127;
    }
    if (escaped) {
      std::memcpy(raw, static_cast<const void*>(&w0), sizeof w0);
      raw += sizeof w0;
      distance = -128;
    }
    if (distance != 0) {
      *distances++ = static_cast<unsigned char>(distance);
      mask |= 1u << i;
    }
  }
  return mask;
}

/// Takes the lanes in `lanes` from `raw`; returns its new position.
template <class T>
LORA_NOINLINE const unsigned char* load_lanes(T* w, unsigned lanes, const unsigned char* raw) {
  for (; lanes != 0; lanes &= lanes - 1, raw += sizeof(T))
    std::memcpy(static_cast<void*>(w + std::countr_zero(lanes)), raw, sizeof(T));
  return raw;
}

}  // namespace detail
LORA_NAMESPACE_END
