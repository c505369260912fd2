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

  // As the functions below for rows of tiles; bits of Doubts are those of the first tile.
  using Add = bool (*)(const TileRow<T>& tile, const Extras& extras, const Compute* delta, T* old);
  using Merge = Doubts (*)(const TileRow<T>& tile, const Extras& extras, const Compute* delta, T* old,
                           std::int8_t* distances);
  using Unmerge = void (*)(const TileRow<T>& tile, const Extras& extras, const Compute* delta,
                           const std::int8_t* distances);

  Add add;
  Merge merge;
  Unmerge unmerge;
};

/// What every operation on tiles needs. Their own are apart, so that a program compiles those of the operations that it
/// calls.
template <class T>
struct TileKernels {
  /// The order that the right factors are to be packed in.
  const LaneOrder* order;
  /// The delta of one tile.
  void (*delta)(const TileFactors<compute_t<T>>& factors, compute_t<T>* out);
};

// An operation's kernels: `row` for sets of factors alone, null: step by step. `gains_step` is null where T is its
// compute type: extras_kernels() has those, for programs that use them.

/// W' = round(W0 + delta), and W0 into 8 x 32 elements a tile. A mask of tiles where some W' is infinite or NaN: it may
/// not be what it should be.
template <class T>
struct AddKernels {
  unsigned (*row)(const TileRow<T>& row, const TileFactors<compute_t<T>>& factors, T* old);
  typename TileSteps<T>::Add step, gains_step;
};

/// The same, and 8 x 32 distances a tile: ordered(W0) - ordered(round(W' - delta)), saturated.
template <class T>
struct MergeKernels {
  Doubts (*row)(const TileRow<T>& row, const TileFactors<compute_t<T>>& factors, T* old, std::int8_t* distances);
  typename TileSteps<T>::Merge step, gains_step;
};

/// round(W' - delta), moved by the distances: W0 where these say all.
template <class T>
struct UnmergeKernels {
  void (*row)(const TileRow<T>& row, const TileFactors<compute_t<T>>& factors, const std::int8_t* distances);
  typename TileSteps<T>::Unmerge step, gains_step;
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

// The kernels for weights of type T. These throw what isa() throws.
template <class T>
TileKernels<T> tile_kernels() {
  return LORA_FOR_ISA(tile_kernels<T>());
}
template <class T>
AddKernels<T> add_kernels() {
  return LORA_FOR_ISA(add_kernels<T>());
}
template <class T>
MergeKernels<T> merge_kernels() {
  return LORA_FOR_ISA(merge_kernels<T>());
}
template <class T>
UnmergeKernels<T> unmerge_kernels() {
  return LORA_FOR_ISA(unmerge_kernels<T>());
}

LORA_TAGGED_END
