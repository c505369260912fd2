// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tile kernels for this machine. All instruction sets give the same bits.

#include "lora/kernel/block.hpp"
#include "lora/simd/avx2_bytes.hpp"
#include "lora/simd/avx2_double.hpp"
#include "lora/simd/avx512_bytes.hpp"
#include "lora/simd/avx512_double.hpp"
#include "lora/simd/neon_bytes.hpp"
#include "lora/simd/neon_double.hpp"
#include "lora/simd/portable.hpp"
#include "lora/simd/portable_bytes.hpp"
#include "lora/simd/prefetch.hpp"

LORA_TAGGED_BEGIN

// All of these must run under an FpEnvironment, set by a caller it is not inlined into. Numbers and deltas are arrays of 8 x 32
// in the compute type on 64-byte boundaries, each line in the order of lanes.

/// What is done to a tile whose delta is in memory: the sums of W0 and delta are W0 + delta, or those with the extras' gains.
template <class T>
struct TileSteps {
  using Compute = compute_t<T>;
  using Extras = TileExtras<Compute>;

  /// As TileKernels' functions for rows of tiles; bits of Doubts are those of the first tile.
  bool (*add)(const TileRow<T>& tile, const Extras& extras, const Compute* delta, T* old);
  Doubts (*merge)(const TileRow<T>& tile, const Extras& extras, const Compute* delta, T* old, std::int8_t* distances);
  void (*unmerge)(const TileRow<T>& tile, const Extras& extras, const Compute* delta, const std::int8_t* distances);
};

/// What is done to tiles.
template <class T>
struct TileKernels {
  using Factors = TileFactors<compute_t<T>>;

  /// The order that the right factors are to be packed in.
  const LaneOrder* order;
  /// The delta of one tile.
  void (*delta)(const Factors& factors, compute_t<T>* out);

  // For sets of factors alone; null: step by step.

  /// W' = round(W0 + delta), and W0 into 8 x 32 elements a tile. A mask of tiles where some W' is infinite or NaN: it may not
  /// be what it should be.
  unsigned (*add)(const TileRow<T>& row, const Factors& factors, T* old);
  /// The same, and 8 x 32 distances a tile: ordered(W0) - ordered(round(W' - delta)), saturated.
  Doubts (*merge)(const TileRow<T>& row, const Factors& factors, T* old, std::int8_t* distances);
  /// round(W' - delta), moved by the distances: W0 where these say all.
  void (*unmerge)(const TileRow<T>& row, const Factors& factors, const std::int8_t* distances);

  TileSteps<T> steps, steps_with_gains;
};

/// Prefetches what is below a tile.
template <class T>
LORA_INLINE void prefetch_below(const T* tile, Index stride, Index below) {
  if (below == 0) return;
  for (Index i = 0; i < tile_lines; ++i)
    for (Index j = 0; j < tile_length; j += 64 / static_cast<Index>(sizeof(T)))
      prefetch<2>(tile + below + i * stride + j);
}

#define LORA_TARGET_FILE "lora/kernel/tile_steps.inc"
#include "lora/simd/for_each_target.inc"
#define LORA_TARGET_FILE "lora/kernel/tile_kernels.inc"
#include "lora/simd/for_each_target.inc"

/// The kernels for weights of type T. Throws what isa() throws.
template <class T>
TileKernels<T> tile_kernels() {
  return LORA_FOR_ISA(tile_kernels<T>());
}

LORA_TAGGED_END
