// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The product of kernel/pairs.hpp by dot products of pairs (simd/avx512_dot.hpp), for a row-major W. Vectors are columns
/// of X: a word of W, which is taken as it lies, meets them with a zero in one half, and then with one in the other. Nothing
/// is widened or transposed. Where a result is zero or NaN, multiply-adds say which zero, and whether it is.

#include "lora/kernel/pairs.hpp"
#include "lora/simd/avx512_dot.hpp"

LORA_TAGGED_BEGIN

#if LORA_TARGETS_X86
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512)
namespace avx512 {
#include "lora/kernel/dot_pair_kernels.inc"
}
LORA_TARGET_END
#endif

LORA_TAGGED_END
