// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tile unit (AMX): eight registers of 16 rows of 64 bytes, and sums of products of bfloat16 pairs.

#include "lora/simd/isa.hpp"

#if LORA_TARGETS_X86 && defined(__linux__)
#define LORA_HAS_AMX 1
#include <cstdint>

#include <sys/syscall.h>
#include <unistd.h>
#else
#define LORA_HAS_AMX 0
#endif

#if LORA_HAS_AMX
LORA_TAGGED_BEGIN

/// Asks the system, once for the process, for the use of tile registers (arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)); on a
/// machine that has them. Whether it gave it.
inline bool tiles_permitted() {
  static const bool permitted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return permitted;
}

LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AMX)

/// The registers are numbers 0 to 7, each of 16 rows of 64 bytes. (Assembly, since the compilers' intrinsics take the numbers
/// in ways of their own.)
struct TileUnit {
  /// To be called first by a thread, and release() last: until then the system saves the registers with the thread.
  static LORA_INLINE void configure() {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } configuration;
    static_assert(sizeof configuration == 64);
    asm volatile("ldtilecfg %0" : : "m"(configuration));
  }
  static LORA_INLINE void release() { asm volatile("tilerelease" : : : "memory"); }

  /// 16 rows of 64 bytes, `stride` bytes apart.
  template <int Tile>
  static LORA_INLINE void load(const void* rows, Index stride) {
    asm volatile("{tileloadd (%0,%1,1), %%tmm%c2|tileloadd tmm%c2, [%0+%1*1]}"
                 :
                 : "r"(rows), "r"(stride), "i"(Tile)
                 : "memory");
  }
  template <int Tile>
  static LORA_INLINE void store(float* rows, Index stride) {
    asm volatile("{tilestored %%tmm%c2, (%0,%1,1)|tilestored [%0+%1*1], tmm%c2}"
                 :
                 : "r"(rows), "r"(stride), "i"(Tile)
                 : "memory");
  }
  /// Sum(m, n) += the sums over the 16 even and the 16 odd k of A(m, k) B(k / 2, n, k % 2): docs/FORWARD-ORDER.md, "Pairs".
  template <int Sum, int A, int B>
  static LORA_INLINE void multiply() {
    asm volatile("{tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0|tdpbf16ps tmm%c0, tmm%c1, tmm%c2}"
                 :
                 : "i"(Sum), "i"(A), "i"(B));
  }
};

LORA_TARGET_END
LORA_TAGGED_END
#endif
