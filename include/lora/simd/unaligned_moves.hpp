// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// gcc for Windows keeps vectors of 32 and 64 bytes on a stack that is aligned to 16 (gcc bug 54412), and where nobody has
/// mended it moves them with instructions that end the program for it. So in sources that include kernels the assembler
/// writes the moves that ask for no alignment, which are as fast on aligned memory. clang aligns its stack.

#include "lora/core/config.hpp"

#if LORA_TARGETS_X86 && (defined(_WIN32) || defined(__CYGWIN__)) && defined(__GNUC__) && !defined(__clang__)
// (Once in what the assembler reads, which may be several sources at link time.)
#define LORA_DETAIL_UNALIGNED_MOVE(aligned, unaligned)                                   \
  asm(".ifndef lora_detail_" aligned "\n.set lora_detail_" aligned ", 1\n"               \
      ".macro " aligned " operands:vararg\n\t" unaligned " \\operands\n.endm\n.endif")
LORA_DETAIL_UNALIGNED_MOVE("vmovaps", "vmovups");
LORA_DETAIL_UNALIGNED_MOVE("vmovapd", "vmovupd");
LORA_DETAIL_UNALIGNED_MOVE("vmovdqa", "vmovdqu");
LORA_DETAIL_UNALIGNED_MOVE("vmovdqa32", "vmovdqu32");
LORA_DETAIL_UNALIGNED_MOVE("vmovdqa64", "vmovdqu64");
#undef LORA_DETAIL_UNALIGNED_MOVE
#endif
