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
#define LORA_TARGET_FLAGS_AMX \
  "avx,avx2,fma,f16c,bmi,bmi2,popcnt,avx512f,avx512cd,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16"

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

/// The instruction sets with kernels of their own. All give the same bits. `avx512_bf16` is AVX-512 with dot products of
/// bfloat16 pairs (simd/avx512_dot.hpp), `amx` that with a tile unit, which multiplies bfloat16 weights with bfloat16
/// activations: the first of these products asks the system for its registers (simd/amx.hpp), and where it does not give
/// them, AVX-512 does all.
enum class Isa { portable = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3, amx = 4, neon = 5 };

/// "portable", "avx2", "avx512", "avx512_bf16", "amx" or "neon".
inline const char* name(Isa isa) {
  switch (isa) {
    case Isa::neon: return "neon";
    case Isa::amx: return "amx";
    case Isa::avx512_bf16: return "avx512_bf16";
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::portable: break;
  }
  return "portable";
}

LORA_NAMESPACE_END
LORA_TAGGED_BEGIN

#if LORA_TARGETS_X86
/// Whether there is a tile unit for bfloat16, and the system saves its registers: CPUID leaf 7, bits 22 and 24 of edx; bits 17
/// and 18 of the extended control register 0.
inline bool machine_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c >> 27 & 1u) == 0) return false;  // no xgetbv
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 22 & 1u) == 0 || (d >> 24 & 1u) == 0) return false;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low >> 17 & 3u) == 3u;
}

/// CPUID leaf 7, subleaf 1, bit 5 of eax.
inline bool machine_has_avx512_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || a < 1) return false;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1u) != 0;
}
#endif

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
  if (avx512) return machine_has_amx() ? Isa::amx : machine_has_avx512_bf16() ? Isa::avx512_bf16 : Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return LORA_TARGETS_NEON ? Isa::neon : Isa::portable;
}

/// Whether this machine runs the kernels of an instruction set.
inline bool machine_runs(Isa isa) {
  if (isa == Isa::portable) return true;
  const Isa machine = machine_isa();
  return (isa == Isa::neon) == (machine == Isa::neon) && isa <= machine;
}

/// Whether a machine with AVX-512 also compresses bytes.
inline bool machine_has_vbmi2() {
#if LORA_TARGETS_X86
  static const bool has = machine_isa() >= Isa::avx512 && __builtin_cpu_supports("avx512vbmi2") != 0;
  return has;
#else
  return false;
#endif
}

/// The machine's instruction set, capped by a name; one of another family of processors caps nothing. Throws ValueError when
/// there is no such name.
inline Isa capped_isa(std::string_view cap) {
  const Isa machine = machine_isa();
  if (cap.empty()) return machine;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::neon})
    if (cap == name(isa)) return machine_runs(isa) ? isa : machine;
  throw ValueError(text("lora: LORA_ISA: expected portable, avx2, avx512, avx512_bf16, amx or neon, found ", cap));
}

LORA_TAGGED_END
LORA_NAMESPACE_BEGIN

/// The instruction set the kernels use: the best this machine has, capped by the environment variable LORA_ISA, which is
/// read once (`portable`, `avx2`, `avx512`, `avx512_bf16`, `amx`, `neon`; for tests and benchmarks). Throws ValueError when
/// it holds another word.
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
  (isa() >= Isa::avx512 ? avx512::__VA_ARGS__              \
                        : isa() == Isa::avx2 ? avx2::__VA_ARGS__ : portable::__VA_ARGS__)
#elif LORA_TARGETS_NEON
#define LORA_FOR_ISA(...) (isa() == Isa::neon ? neon::__VA_ARGS__ : portable::__VA_ARGS__)
#else
#define LORA_FOR_ISA(...) portable::__VA_ARGS__
#endif

LORA_NAMESPACE_END
