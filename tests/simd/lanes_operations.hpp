// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Every operation of Lanes<T> as a function on arrays, for each instruction set.

#include "lora/simd/avx2_double.hpp"
#include "lora/simd/avx512_double.hpp"
#include "lora/simd/neon_double.hpp"
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
#if LORA_TARGETS_NEON
namespace detail::neon {
#include "simd/lanes_calls.inc"
}
#endif
LORA_NAMESPACE_END

/// load_widened to canonical: on 16 numbers. The others: on the 32 of a line, in the order of positions; distances on two lines.
template <class T>
struct Operations {
  using C = lora::compute_t<T>;
  void (*load_widened)(const T*, C*);
  void (*fma)(const C*, const C*, const C*, C*);
  void (*fma_by_number)(C, const C*, const C*, C*);
  void (*broadcast)(C, C*);
  void (*zero)(C*);
  C (*reduce)(const C*);
  void (*reduce_four)(const C*, C*);
  void (*zip)(const C*, const C*, C*);
  void (*canonical)(const C*, C*);
  void (*widen)(const T*, C*);
  void (*narrow)(const C*, T*);
  void (*add)(const C*, const C*, C*);
  void (*sub)(const C*, const C*, C*);
  bool (*special)(const T*, int);
  void (*distances)(std::int8_t*, const T*, const T*);
  void (*moved)(const T*, const std::int8_t*, T*);
};

template <class T>
Operations<T> operations([[maybe_unused]] lora::Isa isa) {
#if LORA_TARGETS_X86
  if (isa == lora::Isa::avx512) return lora::detail::avx512::Calls<T>::template table<Operations<T>>();
  if (isa == lora::Isa::avx2) return lora::detail::avx2::Calls<T>::template table<Operations<T>>();
#endif
#if LORA_TARGETS_NEON
  if (isa == lora::Isa::neon) return lora::detail::neon::Calls<T>::template table<Operations<T>>();
#endif
  return lora::detail::portable::Calls<T>::template table<Operations<T>>();
}
