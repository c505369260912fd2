// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How a weight is cut for its undo record (docs/UNDO-FORMAT.md). Everything is in memory order: `lines` are rows of a
/// row-major weight, columns of a column-major one, and an element's place in a line is its position.

#include "lora/core/matrix.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A tile is the unit of the kernels and of the record's order: 8 lines of 32 positions, or what the weight's edge leaves
/// of them. It has 16 groups, two to a line.
inline constexpr Index tile_lines = 8, tile_length = 32, tile_groups = 16, tile_elements = tile_lines * tile_length;

/// Blocks of whole tiles, as near to 8 x 1024 elements as the line's length allows.
inline constexpr Index block_elements = 8 * 1024;

/// How many tiles hold `lines` x `length` elements.
constexpr Index tiles_of(Index lines, Index length) {
  return padded(lines, tile_lines) / tile_lines * (padded(length, tile_length) / tile_length);
}

struct Block {
  Index line, position;  ///< of its first element
  Index lines, length;

  Index elements() const { return lines * length; }
  Index tiles() const { return tiles_of(lines, length); }
};

/// The blocks of a weight of `lines` x `length`: those of the first `block_lines` lines first, along the line.
class BlockGrid {
 public:
  BlockGrid(Index lines, Index length)
      : lines_(lines),
        length_(length),
        block_length_(std::clamp<Index>(padded(length, tile_length), tile_length, 1024)),
        block_lines_(block_elements / block_length_ / tile_lines * tile_lines) {}

  Index block_lines() const { return block_lines_; }
  Index block_length() const { return block_length_; }
  Index blocks_per_line() const { return (length_ + block_length_ - 1) / block_length_; }
  Index count() const { return (lines_ + block_lines_ - 1) / block_lines_ * blocks_per_line(); }

  Block operator[](Index i) const {
    const Index line = i / blocks_per_line() * block_lines_, position = i % blocks_per_line() * block_length_;
    return {line, position, std::min(block_lines_, lines_ - line), std::min(block_length_, length_ - position)};
  }

 private:
  Index lines_, length_, block_length_, block_lines_;
};

/// Which of a group's 16 lanes lie inside the weight: line `line` of a tile that has `lines` x `length` elements, `half`
/// 0 or 1.
inline unsigned group_lanes(Index line, Index half, Index lines, Index length) {
  const Index lanes = std::clamp<Index>(length - 16 * half, 0, 16);
  return line < lines ? (1u << lanes) - 1u : 0u;
}

}  // namespace detail
LORA_NAMESPACE_END
