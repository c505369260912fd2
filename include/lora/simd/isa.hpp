// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which instruction sets the kernels were compiled for, and which one this machine runs.

#include "lora/core/error.hpp"
#include "lora/simd/unaligned_moves.hpp"

#include <cstdlib>
#include <string_view>

#if LORA_TARGETS_X86
#include <cpuid.h>
#endif

#define LORA_TARGET_FLAGS_AVX2 "avx,avx2,fma,f16c,bmi,bmi2,popcnt"
#define LORA_TARGET_FLAGS_AVX512 "avx,avx2,fma,f16c,bmi,bmi2,popcnt,avx512f,avx512cd,avx512bw,avx512dq,avx512vl"
#define LORA_TARGET_FLAGS_AVX512_VBMI2 \
  "avx,avx2,fma,f16c,bmi,bmi2,popcnt,avx512f,avx512cd,avx512bw,avx512dq,avx512vl,avx512vbmi2"

// Everything between BEGIN and END is compiled for that instruction set.
#if defined(__clang__)
#define LORA_DETAIL_PRAGMA(text) _Pragma(#text)
#define LORA_TARGET_BEGIN(flags) \
  LORA_DETAIL_PRAGMA(clang attribute push(__attribute__((target(flags))), apply_to = function))
#define LORA_TARGET_END _Pragma("clang attribute pop")
#elif defined(__GNUC__)
#define LORA_DETAIL_PRAGMA(text) _Pragma(#text)
#define LORA_TARGET_BEGIN(flags) _Pragma("GCC push_options") LORA_DETAIL_PRAGMA(GCC target flags)
#define LORA_TARGET_END _Pragma("GCC pop_options")
#endif

LORA_NAMESPACE_BEGIN

/// The instruction sets with kernels of their own. All give the same bits.
enum class Isa { portable = 0, avx2 = 1, avx512 = 2 };

/// "portable", "avx2" or "avx512".
inline const char* name(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::portable: break;
  }
  return "portable";
}

LORA_NAMESPACE_END
LORA_TAGGED_BEGIN

inline Isa machine_isa() {
#if LORA_TARGETS_X86
  // Not every compiler's __builtin_cpu_supports knows f16c: bit 29 of ecx, leaf 1.
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 29 & 1u) != 0;
  const bool avx2 = f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) return Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return Isa::portable;
}

/// Whether a machine with AVX-512 also compresses bytes.
inline bool machine_has_vbmi2() {
#if LORA_TARGETS_X86
  static const bool has = machine_isa() == Isa::avx512 && __builtin_cpu_supports("avx512vbmi2") != 0;
  return has;
#else
  return false;
#endif
}

/// The machine's instruction set, capped by a name. Throws ValueError when there is no such name.
inline Isa capped_isa(std::string_view cap) {
  const Isa machine = machine_isa();
  if (cap.empty()) return machine;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (cap == name(isa)) return isa < machine ? isa : machine;
  throw ValueError(text("lora: LORA_ISA: expected portable, avx2 or avx512, found ", cap));
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN

/// The instruction set the kernels use: the best this machine has, capped by the environment variable LORA_ISA, which is
/// read once (`portable`, `avx2`, `avx512`; for tests and benchmarks). Throws ValueError when it holds another word.
inline Isa isa() {
  static const Isa chosen = [] {
    const char* cap = std::getenv("LORA_ISA");
    return detail::capped_isa(cap == nullptr ? "" : cap);
  }();
  return chosen;
}

// What is called `...` in the namespace of the instruction set that isa() says; stands in lora::detail.
#if LORA_TARGETS_X86
#define LORA_FOR_ISA(...)                                  \
  (isa() == Isa::avx512 ? avx512::__VA_ARGS__              \
                        : isa() == Isa::avx2 ? avx2::__VA_ARGS__ : portable::__VA_ARGS__)
#else
#define LORA_FOR_ISA(...) portable::__VA_ARGS__
#endif

LORA_NAMESPACE_END
