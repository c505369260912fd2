// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The product of kernel/pairs.hpp by a tile unit. A row-major W is its first operand, tiles of 16 rows and 32 columns that
/// are taken where they lie when that is no detour. Of a column-major one two columns next to each other make a tile's row:
/// W is the second operand, X the first, and nothing is transposed. The unit is a template argument: tests run the same
/// code with one of their own.

#include "lora/kernel/pairs.hpp"
#include "lora/simd/amx.hpp"

LORA_TAGGED_BEGIN

/// Tiles of an operand, in bytes: from a tile's row to the next, to the next tile of rows (or of columns, of a second
/// operand), and to the one of the next block of 32 columns of W.
struct TileOperand {
  const char* data;
  Index stride, next, step;

  TileOperand tile(Index i) const { return {data + i * next, stride, next, step}; }
};

/// Tiles of sums: bytes from a tile's row to the next, and numbers to the tile of the first operand's next one and of the
/// second's.
struct TileSums {
  float* data;
  Index stride, first, second;

  TileSums tile(Index a, Index b) const { return {data + a * first + b * second, stride, first, second}; }
};

#if LORA_HAS_AMX
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AMX)
namespace amx {
#include "lora/kernel/tile_unit_kernels.inc"
}
LORA_TARGET_END
#endif

/// Columns of X of a tile. With no more of them, and of a column-major W, tall bands of rows are multiplied at once.
inline constexpr Index tile_columns = 16, tall_band = 64, broad_band = 32, tile_bytes = 1024;
/// The blocks of a band that are copied at once: the first cache has room for those of a broad one and of X.
inline constexpr Index copied_blocks = 8, copied_size = copied_blocks * tall_band * pair_block / 2;

/// A task's scratch memory, in numbers: sums and copies.
inline constexpr Index tile_scratch = wide_results<float> + copied_size;

/// The product for some rows of Y.
template <class T, StorageOrder Order, class Kernel>
class TileProduct {
 public:
  TileProduct(const ForwardWeight<T>& W, const float* panels, const ForwardTerms<float>& terms, float* scratch)
      : W_(W),
        terms_(terms),
        columns_(padded(terms.batch, tile_columns)),
        blocks_(padded(W.cols, pair_block) / pair_block),
        X_{reinterpret_cast<const char*>(panels), 64, blocks_ * tile_bytes, tile_bytes},
        results_(scratch),
        copy_(scratch + wide_results<float>) {}

  /// Rows `first` to `last` of Y.
  void run(Index first, Index last) const {
    Kernel::begin();
    const Index height = rows_at_once(), chunk = blocks_at_once();
    for (Index top = first; top < last; top += height) {
      const Index used = std::min(height, last - top);
      std::memset(results_, 0, static_cast<std::size_t>(columns_ * height) * sizeof(float));
      for (Index k = 0; k < blocks_; k += chunk)
        for (Index i = 0; i < used; i += band())
          multiply_band(top + i, std::min(band(), used - i), k, std::min(chunk, blocks_ - k), sums(i, height));
      finish_rows(top, used, height);
    }
    Kernel::end();
  }

 private:
  static constexpr bool by_rows = Order == row_major;

  bool is_tall() const { return by_rows && columns_ <= tile_columns; }
  Index band() const { return by_rows && !is_tall() ? broad_band : tall_band; }

  /// The rows whose sums are in the task's memory: of a column-major W many, for its long lines.
  Index rows_at_once() const {
    const Index room = wide_results<float> / columns_ / band() * band();
    return !by_rows ? room : std::min(room, columns_ <= 4 * tile_columns ? tall_band : 2 * tall_band);
  }

  /// The blocks that all of these go through before the next ones: those of X stay in the second cache.
  Index blocks_at_once() const {
    if (copies()) return copied_blocks;
    return std::max(copied_blocks, 1024 * 1024 / (columns_ * pair_block * Index{sizeof(T)}));
  }

  /// Whether W is copied where its tiles could be taken as they lie: a tile's row that is part of two lines of the cache
  /// takes twice as long, and many columns take it often.
  bool copies() const {
    const bool aligned = reinterpret_cast<std::uintptr_t>(W_.data) % 64 == 0 && W_.stride * Index{sizeof(T)} % 64 == 0;
    return !by_rows || (!aligned && columns_ > 8 * tile_columns);
  }

  /// Where results are: [column / 16][row][column % 16] of a row-major W, else [column][row].
  TileSums sums(Index row, Index height) const {
    if (by_rows) return {results_ + row * 16, 64, 256, 16 * height};
    return {results_ + row, height * Index{sizeof(float)}, 16 * height, 16};
  }

  /// Rows `first` ... of W, `used` ones, blocks k ... of it.
  LORA_INLINE void multiply_band(Index first, Index used, Index k, Index count, const TileSums& sums) const {
    const Index end = k + count;
    if (!copies() && used == band()) {
      const Index whole = std::min(end, W_.cols / pair_block) - k, stride = W_.stride * Index{sizeof(T)};
      const auto* const rows = reinterpret_cast<const char*>(W_.data + first * W_.stride + k * pair_block);
      if (whole > 0) multiply({rows, stride, 16 * stride, 64}, k, whole, sums);
      k += std::max<Index>(whole, 0);
    }
    for (Index copied; k < end; k += copied) {
      copied = copy_blocks(first, used, k, std::min(copied_blocks, end - k));
      multiply({reinterpret_cast<const char*>(copy_), 64, tile_bytes, band() / 16 * tile_bytes}, k, copied, sums);
    }
  }

  LORA_INLINE void multiply(const TileOperand& W, Index k, Index count, const TileSums& sums) const {
    TileOperand X = X_;
    X.data += k * X.step;
    if (is_tall())
      Kernel::multiply_tall(W, X, count, sums);
    else if (by_rows)
      Kernel::multiply(W, broad_band / 16, X, columns_ / 16, count, sums);
    else
      Kernel::multiply(X, columns_ / 16, W, band() / 16, count, sums);
  }

  /// Copies the tiles of a band and of up to `count` blocks, with zeros behind W's rows and columns. How many blocks.
  LORA_INLINE Index copy_blocks(Index first, Index used, Index k, Index count) const {
    const Index j = k * pair_block, left = W_.cols - j, width = by_rows ? pair_block : band();
    const T* from = W_.data + (by_rows ? first * W_.stride + j : j * W_.stride + first);
    Index stride = W_.stride;
    alignas(64) T edge[tall_band * pair_block];
    count = std::min(count, std::max<Index>(left / pair_block, 1));
    if (used < band() || left < pair_block) {
      const Index columns = std::min(left, pair_block), lines = by_rows ? used : columns;
      const auto bytes = static_cast<std::size_t>(by_rows ? columns : used) * sizeof(T);
      std::memset(static_cast<void*>(edge), 0, sizeof edge);
      for (Index i = 0; i < lines; ++i) std::memcpy(static_cast<void*>(edge + i * width), from + i * stride, bytes);
      from = edge;
      stride = width;
      count = 1;
    }
    if (by_rows)
      LORA_FOR_WIDE_ISA(copy_lines(from, stride, band(), count, reinterpret_cast<T*>(copy_)));
    else
      LORA_FOR_WIDE_ISA(pair_lines(from, stride, width, count, copy_));
    return count;
  }

  LORA_INLINE void finish_rows(Index top, Index used, Index height) const {
    if (by_rows) {
      const BatchLayout layout(W_.cols, terms_.batch, pair_block, tile_columns);
      LORA_FOR_WIDE_ISA(finish_band<float>(results_, height, layout, terms_, top, used));
      return;
    }
    LORA_FOR_WIDE_ISA(finish_lines<float>(results_, height, terms_, top, used));
  }

  const ForwardWeight<T>& W_;
  const ForwardTerms<float>& terms_;
  Index columns_, blocks_;
  TileOperand X_;
  float *results_, *copy_;
};

/// Rows `first` to `last` of Y. `Kernel` multiplies tiles, `scratch` has room for tile_scratch.
template <class T, StorageOrder Order, class Kernel>
LORA_NOINLINE void tile_product(const ForwardWeight<T>& W, const float* panels, const ForwardTerms<float>& terms,
                                Index first, Index last, float* scratch) {
  TileProduct<T, Order, Kernel>(W, panels, terms, scratch).run(first, last);
}

/// Kernels for a tile unit.
template <class T, StorageOrder Order, class Kernel>
PairKernels<T> tile_unit_kernels() {
  return {Order == row_major ? PairPacking::second_tiles : PairPacking::first_tiles, tile_columns, tile_scratch,
          tile_product<T, Order, Kernel>};
}

LORA_TAGGED_END
