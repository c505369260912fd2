// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the kernels work on: a block of the weight, the packed factors that reach it, and one tile.

#include "lora/core/fma.hpp"
#include "lora/core/scalar.hpp"
#include "lora/exact/tile_codec.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

LORA_TAGGED_BEGIN

/// A block of a weight in memory order: `lines` lines of `length` elements, `stride` elements apart. `lines_below` more may
/// be prefetched.
template <class T>
struct WeightBlock {
  T* data;
  Index stride;
  Index lines, length, lines_below;
};

/// The order of lanes that kernels want: position p of 32 is in lane order[p].
using LaneOrder = std::array<std::uint8_t, tile_length>;

/// Gains of lines or positions and what to divide by to take them back: the gain itself, 1 where it is 0.
template <class Compute>
struct GainView {
  const Compute* gains = nullptr;  ///< null: none
  const Compute* divisors = nullptr;

  GainView from(Index i) const { return gains == nullptr ? GainView{} : GainView{gains + i, divisors + i}; }
};

/// What a set has besides factors: a dense part and gains, from the first line and position of tiles on.
template <class Compute>
struct TileExtras {
  const Compute* dense = nullptr;  ///< [line][lane], `dense_stride` from line to line, 64-byte aligned; null: none
  Index dense_stride = 0;
  GainView<Compute> lines;      ///< one for each line
  GainView<Compute> positions;  ///< [position / 32][lane]
  bool lines_first = false;     ///< the gains of lines are h, which W0 is multiplied with first

  TileExtras from(Index line, Index position) const {
    return {dense == nullptr ? nullptr : dense + line * dense_stride + position, dense_stride, lines.from(line),
            positions.from(position), lines_first};
  }
};

/// The factors of tiles side by side, from their first line and position on: left [k][8], right [tile][k][lane].
template <class Compute>
struct TileFactors {
  const Compute* left;
  const Compute* right;
  Index depth;
  TileExtras<Compute> extras;

  /// Those of one of the tiles.
  TileFactors tile(Index i) const {
    return {left, right + i * tile_length * depth, depth, extras.from(0, i * tile_length)};
  }
};

/// The factors that give a block's delta: delta(i, j) is the chain acc = fma(left(i, k), right(k, j), acc) over k, from the
/// dense part or +0.
/// For a row-major weight left is c B and right is A; for a column-major one left is A^T and right is (c B)^T, which gives
/// the same bits.
///   left  [line / 8][k][line % 8]            from the block's first line
///   right [position / 32][k][lane]           from the block's first position, 64-byte aligned
/// Lines and positions beyond the weight are zeros; k has no padding.
template <class Compute>
struct BlockFactors {
  const Compute* left;
  const Compute* right;
  Index depth;
  TileExtras<Compute> extras;

  TileFactors<Compute> tiles(Index line, Index position) const {
    return {left + line * depth, right + position * depth, depth, extras.from(line, position)};
  }
};

/// Tiles side by side that the kernels take at once, at most `row_tiles`: 8 lines, `count` x 32 elements, all of them readable
/// and writable. Of a tile at the edge of the weight, which is alone, `lines` x `length` elements lie inside.
template <class T>
struct TileRow {
  T* data;
  Index stride;
  Index count = 1;
  Index lines = tile_lines, length = tile_length;
  Index below = 0;  ///< from an element to the one that is to be prefetched for it, 0: none

  /// One of them.
  TileRow tile(Index i) const { return {data + i * tile_length, stride, 1, lines, length, below}; }
  T* group(unsigned i) const { return data + static_cast<Index>(i / 2) * stride + 16 * (i % 2); }
  unsigned lanes(unsigned i) const { return group_lanes(i / 2, i % 2, lines, length); }
};

inline constexpr Index row_tiles = codec_tiles;

/// What makes merged tiles ones to look at again: masks of tiles.
struct Doubts {
  unsigned nonfinite;  ///< some W' is infinite or NaN
  unsigned extreme;    ///< some distance is beyond -126 .. 126: it may stand for a larger one
};

/// A tile at the edge of the weight, in a copy, so that nothing outside of the weight is touched.
template <class T>
class EdgeTile {
 public:
  /// `lines` and `length` are what the weight has from `data` on.
  LORA_NOINLINE EdgeTile(T* data, Index stride, Index lines, Index length)
      : data_(data), stride_(stride), lines_(std::min(lines, tile_lines)), length_(std::min(length, tile_length)) {
    std::memset(static_cast<void*>(copy_), 0, sizeof copy_);
    for (Index i = 0; i < lines_; ++i)
      std::memcpy(static_cast<void*>(copy_ + i * tile_length), data_ + i * stride_, line_bytes());
  }
  TileRow<T> row() { return {copy_, tile_length, 1, lines_, length_}; }
  LORA_NOINLINE void write_back() const {
    for (Index i = 0; i < lines_; ++i)
      std::memcpy(static_cast<void*>(data_ + i * stride_), copy_ + i * tile_length, line_bytes());
  }

 private:
  std::size_t line_bytes() const { return static_cast<std::size_t>(length_) * sizeof(T); }

  T* data_;
  Index stride_, lines_, length_;
  alignas(64) T copy_[tile_elements];
};

LORA_TAGGED_END
