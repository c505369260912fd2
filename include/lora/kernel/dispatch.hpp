// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tile kernels for this machine. All instruction sets give the same bits.

#include "lora/kernel/block.hpp"
#include "lora/simd/avx2_bytes.hpp"
#include "lora/simd/avx2_double.hpp"
#include "lora/simd/avx512_bytes.hpp"
#include "lora/simd/avx512_double.hpp"
#include "lora/simd/portable.hpp"
#include "lora/simd/portable_bytes.hpp"
#include "lora/simd/prefetch.hpp"

LORA_TAGGED_BEGIN

/// What is done to tiles. Must run under an FpEnvironment, set by a caller it is not inlined into.
template <class T>
struct TileKernels {
  using Factors = TileFactors<compute_t<T>>;

  /// The order that the right factors are to be packed in.
  const LaneOrder* order;
  /// The delta of one tile into 8 x 32 numbers on a 64-byte boundary, each line in that order.
  void (*delta)(const Factors& factors, compute_t<T>* out);
  /// W' = round(W0 + delta), and W0 into 8 x 32 elements a tile. A mask of tiles where some W' is infinite or NaN: it may not
  /// be what it should be.
  unsigned (*add)(const TileRow<T>& row, const Factors& factors, T* old);
  /// The same, and 8 x 32 distances a tile: ordered(W0) - ordered(round(W' - delta)), saturated.
  Doubts (*merge)(const TileRow<T>& row, const Factors& factors, T* old, std::int8_t* distances);
  /// round(W' - delta), moved by the distances: W0 where these say all.
  void (*unmerge)(const TileRow<T>& row, const Factors& factors, const std::int8_t* distances);
};

#define LORA_TARGET_FILE "lora/kernel/tile_kernels.inc"
#include "lora/simd/for_each_target.inc"

/// The kernels for weights of type T: for sets of factors alone, or with dense parts and gains. Throws what isa() throws.
template <class T, bool Extras = false>
TileKernels<T> tile_kernels() {
  return LORA_FOR_ISA(tile_kernels<T, Extras>());
}

LORA_TAGGED_END
