// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What gcc writes for vectors on a stack that Windows aligns to 16 bytes must not end the program.

#include "lora/simd/unaligned_moves.hpp"

#include <gtest/gtest.h>

#if LORA_TARGETS_X86 && defined(_WIN32) && !defined(__clang__)

#include <array>
#include <cstring>

namespace {

alignas(64) std::array<char, 256> source{}, destination{};

/// Copies 32 bytes by way of each move, from and to places that are 16 bytes beyond an alignment of 32.
__attribute__((target("avx"))) void move_32() {
  asm volatile(
      "vmovaps 16(%0), %%ymm0\n\tvmovaps %%ymm0, 16(%1)\n\t"
      "vmovapd 48(%0), %%ymm1\n\tvmovapd %%ymm1, 48(%1)\n\t"
      "vmovdqa 80(%0), %%ymm2\n\tvmovdqa %%ymm2, 80(%1)\n\tvzeroupper"
      :
      : "r"(source.data()), "r"(destination.data())
      : "memory", "xmm0", "xmm1", "xmm2");
}
__attribute__((target("avx512f"))) void move_64() {
  asm volatile(
      "vmovaps 16(%0), %%zmm0\n\tvmovaps %%zmm0, 16(%1)\n\t"
      "vmovdqa32 80(%0), %%zmm1\n\tvmovdqa32 %%zmm1, 80(%1)\n\t"
      "vmovdqa64 144(%0), %%zmm2\n\tvmovdqa64 %%zmm2, 144(%1)\n\tvzeroupper"
      :
      : "r"(source.data()), "r"(destination.data())
      : "memory", "xmm0", "xmm1", "xmm2");
}

TEST(UnalignedMoves, StandInForAlignedOnes) {
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<char>(i);
  if (__builtin_cpu_supports("avx")) {
    move_32();
    EXPECT_EQ(std::memcmp(source.data() + 16, destination.data() + 16, 96), 0);
  }
  if (__builtin_cpu_supports("avx512f")) {
    move_64();
    EXPECT_EQ(std::memcmp(source.data() + 16, destination.data() + 16, 192), 0);
  }
}

}  // namespace

#endif
