// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The product Y = W X + B H + bias for many columns of X, where arithmetic is most of the work. It sums up in the order of
/// the skinny product (kernel/skinny.hpp): a column's result does not depend on how many others there are.
///
/// Its vectors are columns: a tile of results goes through the chain of a column-major W, or for each of 16 lanes in turn
/// through that lane's chain of a row-major one, a broadcast W(i, j) times the columns' X(j, .). Lanes are added in the order
/// in which a skinny product adds them. So nothing is shuffled, and few loads feed many multiply-adds.

#include "lora/kernel/skinny.hpp"

#include <numeric>

LORA_TAGGED_BEGIN

/// The columns of a vector, and the most columns of X a wide product takes.
inline constexpr Index column_group = 16;
template <class Compute>
inline constexpr Index wide_columns = 1024 / sizeof(Compute);

/// Results a task works on at once: rows times columns.
template <class Compute>
inline constexpr Index wide_results = 128 * wide_columns<Compute>;

/// The lanes in an order in which each sum of two is needed as soon as both are known: that of their bits reversed.
inline constexpr int reversed_lanes[16] = {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};

/// Where X is in memory. It is cut into blocks of `depth` rows, continued by zeros to a multiple of 16, and these into
/// panels of `width` columns; the last one can have fewer, padded to a column_group. A panel is [row][column], its rows in
/// the order in which chains take them: one lane after the other, as in reversed_lanes, for a row-major W.
struct BatchLayout {
  Index rows, columns, depth, width;

  BatchLayout(Index rows_of_X, Index columns_of_X, Index depth_of_blocks, Index width_of_panels)
      : rows(padded(rows_of_X, 16)),
        columns(padded(columns_of_X, column_group)),
        depth(depth_of_blocks),
        width(width_of_panels) {}

  Index block_rows(Index block) const { return std::min(depth, rows - block); }
  /// Where the panel begins that starts at the block's row and at `column`.
  Index panel(Index block, Index column) const { return block * columns + column * block_rows(block); }
  Index panel_width(Index column) const { return std::min(width, columns - column); }
};

/// Rows of memory that are prefetched little by little, while there is other work to do.
class Prefetcher {
 public:
  /// `count` rows of `bytes` bytes, in `turns` turns.
  Prefetcher(const void* rows, Index stride, Index bytes, Index count, Index turns)
      : ahead_(rows, stride, bytes, bytes > 0 ? count : 0, cache_line),
        lines_((count * ((bytes + cache_line - 1) / cache_line) + turns - 1) / turns) {}

  /// Not inlined, for the registers of the loops around it.
  LORA_NOINLINE void turn() {
    for (Index n = lines_; n > 0; --n) {
      const char* const line = ahead_.take(1);
      if (line == nullptr) return;
      prefetch<2>(line);
    }
  }

 private:
  static constexpr Index cache_line = 64;
  PrefetchCursor ahead_;
  Index lines_;
};

/// As SkinnyKernels.
template <class T>
struct WideKernels {
  Index depth, width;  ///< of a block and a panel of X
  Index scratch;       ///< numbers a task needs, 64-byte aligned
  ForwardProduct<T>* product;
};

#define LORA_TARGET_FILE "lora/kernel/wide_kernels.inc"
#include "lora/simd/for_each_target.inc"

// Portable kernels beside others do without wide products: skinny ones, 32 columns at a time, give the same bits.
#if LORA_TARGETS_ANY
inline bool has_wide_products() { return isa() != Isa::portable; }
#else
inline bool has_wide_products() { return true; }
#endif
#if LORA_TARGETS_X86
#define LORA_FOR_WIDE_ISA(...) (isa() >= Isa::avx512 ? avx512::__VA_ARGS__ : avx2::__VA_ARGS__)
#elif LORA_TARGETS_NEON
#define LORA_FOR_WIDE_ISA(...) neon::__VA_ARGS__
#else
#define LORA_FOR_WIDE_ISA(...) portable::__VA_ARGS__
#endif

/// The kernels for this machine, which has wide products. Throws what isa() throws.
template <class T, StorageOrder Order>
WideKernels<T> wide_kernels() {
  return LORA_FOR_WIDE_ISA(wide_kernels<T, Order>());
}

/// The function that writes 16 columns of 16 numbers as rows in the compute type, as above.
template <class T>
auto transpose_kernel() -> void (*)(const T* const* columns, compute_t<T>* const* rows) {
  return LORA_FOR_WIDE_ISA(transpose<T>);
}

LORA_TAGGED_END
