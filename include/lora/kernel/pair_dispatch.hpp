// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which kernels multiply bfloat16 numbers on this machine.

#include "lora/kernel/dot_pairs.hpp"
#include "lora/kernel/tile_unit.hpp"

LORA_TAGGED_BEGIN

/// The kernels for an instruction set that this machine has, and so many columns of X.
template <class T, StorageOrder Order>
PairKernels<T> pair_kernels([[maybe_unused]] Isa isa, Index batch) {
#if LORA_HAS_AMX
  if (isa == Isa::amx && tiles_permitted()) return tile_unit_kernels<T, Order, amx::TileKernel<TileUnit>>();
#endif
#if LORA_TARGETS_X86
  if constexpr (Order == row_major)
    // Few columns take less time with blocks of a row as lanes.
    if (isa >= Isa::avx512_bf16 && batch > avx512::Lanes<T>::few_pair_columns && machine_has_dot_products())
      return avx512::dot_pair_kernels<T, avx512::ByDotProducts>();
  if (isa >= Isa::avx512) return avx512::pair_kernels<T, Order>(batch);
  if (isa == Isa::avx2) return avx2::pair_kernels<T, Order>(batch);
#endif
#if LORA_TARGETS_NEON
  if (isa == Isa::neon) return neon::pair_kernels<T, Order>(batch);
#endif
  return portable::pair_kernels<T, Order>(batch);
}

LORA_TAGGED_END
