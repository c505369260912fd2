// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Inner products of doubles in the order of forward passes over row-major weights (docs/FORWARD-ORDER.md): the same bits on
/// every machine.

#include "lora/simd/avx2_double.hpp"
#include "lora/simd/avx512_double.hpp"
#include "lora/simd/neon_double.hpp"
#include "lora/simd/portable.hpp"

#include <algorithm>
#include <cstring>

LORA_TAGGED_BEGIN

#define LORA_TARGET_FILE "lora/simd/inner_products.inc"
#include "lora/simd/for_each_target.inc"

/// out[r * count + k] = <row r of rows, row k of others>: `rows` is row_count x length, `others` count x length, both row-major
/// without gaps. Must run under an FpEnvironment of the caller's. Throws what isa() throws.
inline void inner_products(const double* rows, Index row_count, const double* others, Index count, Index length,
                           double* out) {
  LORA_FOR_ISA(row_products<double>(rows, row_count, others, count, length, out));
}

LORA_TAGGED_END
