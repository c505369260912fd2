// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The arithmetic of merge and unmerge for one element at a time: the rare groups that hold an infinity, a NaN, or an
/// element that is tiny beside its delta.

#include "lora/kernel/block.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// W' = round(W0 + delta). A NaN in W0 stays as it is; every other NaN is the canonical one.
template <class T>
T merged_value(T w0, typename ScalarTraits<T>::Compute delta) {
  return is_nan(w0) ? w0 : narrow<T>(widen(w0) + delta);
}

template <class T>
LORA_NOINLINE void add_lanes(T* w, const typename ScalarTraits<T>::Compute* delta, unsigned lanes) {
  for (; lanes != 0; lanes &= lanes - 1) {
    const int i = std::countr_zero(lanes);
    w[i] = merged_value(w[i], delta[i]);
  }
}

/// The merge of the lanes in `lanes`; returns the mask of those that differ.
template <class T>
LORA_NOINLINE unsigned merge_lanes(T* w, const typename ScalarTraits<T>::Compute* delta, unsigned lanes,
                                   PayloadCursors& out) {
  using Compute = typename ScalarTraits<T>::Compute;
  using Signed = typename ScalarTraits<T>::Signed;
  unsigned mask = 0;
  for (; lanes != 0; lanes &= lanes - 1) {
    const int i = std::countr_zero(lanes);
    const T w0 = w[i];
    const T merged = merged_value(w0, delta[i]);
    w[i] = merged;
    Signed distance = 0;
    bool raw = !is_finite(w0) || !is_finite(merged);
    if (!raw) {
      volatile Compute sum = widen(merged);  // (w + d) - d must be computed as it stands
      const T candidate = narrow<T>(sum - delta[i]);
      const auto from = static_cast<Bits<T>>(ordered<T>(to_bits(candidate)));
      distance = static_cast<Signed>(static_cast<Bits<T>>(static_cast<Bits<T>>(ordered<T>(to_bits(w0))) - from));
      raw = distance < -127 || distance > 127;
    }
    if (raw) {
      std::memcpy(out.raw, static_cast<const void*>(&w0), sizeof w0);
      out.raw += sizeof w0;
      distance = -128;
    }
    if (distance != 0) {
      *out.distances++ = static_cast<unsigned char>(distance);
      mask |= 1u << i;
    }
  }
  return mask;
}

/// The unmerge of a group with escaped elements; `in.distances` is already behind the group's distances.
template <class T>
LORA_NOINLINE void unmerge_lanes(T* w, const typename ScalarTraits<T>::Compute* delta, unsigned mask, PayloadView& in) {
  const unsigned char* distances = in.distances - std::popcount(mask);
  for (unsigned i = 0; i < 16; ++i) {
    const bool marked = (mask >> i & 1u) != 0;
    const auto distance = static_cast<std::int8_t>(marked ? *distances++ : 0);
    if (distance == -128) {
      std::memcpy(static_cast<void*>(w + i), in.raw, sizeof(T));
      in.raw += sizeof(T);
    } else {
      const T candidate = narrow<T>(widen(w[i]) - delta[i]);
      const auto from = static_cast<Bits<T>>(ordered<T>(to_bits(candidate)));
      const auto to = static_cast<Bits<T>>(from + static_cast<Bits<T>>(distance));
      w[i] = from_bits<T>(unordered<T>(static_cast<typename ScalarTraits<T>::Signed>(to)));
    }
  }
}

}  // namespace detail
LORA_NAMESPACE_END
