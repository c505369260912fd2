// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Every operation of Lanes<T> as a function on arrays of 16, for each instruction set.

#include "lora/simd/avx2.hpp"
#include "lora/simd/avx512.hpp"
#include "lora/simd/portable.hpp"

LORA_NAMESPACE_BEGIN
namespace detail::portable {
#include "simd/lanes_calls.inc"
}
#if LORA_TARGETS_X86
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace detail::avx2 {
#include "simd/lanes_calls.inc"
}
LORA_TARGET_END
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512)
namespace detail::avx512 {
#include "simd/lanes_calls.inc"
}
LORA_TARGET_END
#endif
LORA_NAMESPACE_END

template <class T>
struct Operations {
  using C = lora::compute_t<T>;
  void (*widen)(const T*, C*);
  void (*narrow)(const C*, T*);
  void (*ordered)(const T*, T*);
  lora::detail::Difference (*difference)(std::uint8_t*, const T*, const T*);
  void (*sum)(const T*, const T*, T*);
  unsigned (*escaped)(const T*);
  unsigned (*nonfinite)(const T*);
  unsigned (*nonfinite_of_largest)(const T*, int);
  void (*compress)(std::uint8_t*, const std::uint8_t*, unsigned);
  void (*expand)(const std::uint8_t*, unsigned, T*);
  void (*fma)(const C*, const C*, const C*, C*);
  void (*add)(const C*, const C*, C*);
  void (*sub)(const C*, const C*, C*);
  void (*broadcast)(C, C*);
  void (*zero)(C*);
  unsigned (*nonzero_words)(const std::uint16_t*);
};

template <class T>
Operations<T> operations([[maybe_unused]] lora::Isa isa) {
#if LORA_TARGETS_X86
  if (isa == lora::Isa::avx512) return lora::detail::avx512::Calls<T>::template table<Operations<T>>();
  if (isa == lora::Isa::avx2) return lora::detail::avx2::Calls<T>::template table<Operations<T>>();
#endif
  return lora::detail::portable::Calls<T>::template table<Operations<T>>();
}
