// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the kernels work on: a block of the weight, the packed factors that reach it, and one cell.

#include "lora/core/scalar.hpp"
#include "lora/exact/block_payload.hpp"

#include <algorithm>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A block of a weight in memory order: `lines` lines of `length` elements, `stride` elements apart. `lines_below` more may
/// be prefetched.
template <class T>
struct WeightBlock {
  T* data;
  Index stride;
  Index lines, length, lines_below;
};

/// The factors of one cell, from its first line and position on: left [k][8], right [k][32].
template <class Compute>
struct CellFactors {
  const Compute* left;
  const Compute* right;
  Index depth;
};

/// The factors that give a block's delta: delta(i, j) is the chain acc = fma(left(i, k), right(k, j), acc) over k, from +0.
/// For a row-major weight left is c B and right is A; for a column-major one left is A^T and right is (c B)^T, which gives
/// the same bits.
///   left  [line / 8][k][line % 8]            from the block's first line
///   right [position / 32][k][position % 32]  from the block's first position, 64-byte aligned
/// Lines and positions beyond the weight are zeros; k has no padding.
template <class Compute>
struct BlockFactors {
  const Compute* left;
  const Compute* right;
  Index depth;

  CellFactors<Compute> cell(Index line, Index position) const {
    return {left + line * depth, right + position * depth, depth};
  }
};

/// One cell: 8 lines of 32 elements, all of them readable and writable; those outside of the weight are not in `lanes`.
template <class T>
struct Cell {
  T* data;
  Index stride;
  const std::uint16_t* lanes;  ///< a mask for each of the 16 groups

  T* group(unsigned i) const { return data + static_cast<Index>(i / 2) * stride + 16 * (i % 2); }
};

inline constexpr std::uint16_t all_lanes[cell_groups] = {0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
                                                         0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff,
                                                         0xffff, 0xffff, 0xffff, 0xffff};

/// A cell at the edge of the weight, in a copy, so that nothing outside of the weight is touched.
template <class T>
class EdgeCell {
 public:
  /// `lines` and `length` are what the weight has from `data` on.
  EdgeCell(T* data, Index stride, Index lines, Index length)
      : data_(data), stride_(stride), lines_(std::min(lines, cell_lines)), length_(std::min(length, cell_length)) {
    std::memset(static_cast<void*>(copy_), 0, sizeof copy_);
    for (Index i = 0; i < lines_; ++i)
      std::memcpy(static_cast<void*>(copy_ + i * cell_length), data_ + i * stride_, line_bytes());
    for (unsigned i = 0; i < cell_groups; ++i)
      lanes_[i] = static_cast<std::uint16_t>(group_lanes(i / 2, i % 2, lines_, length_));
  }
  Cell<T> cell() { return {copy_, cell_length, lanes_}; }
  void write_back() const {
    for (Index i = 0; i < lines_; ++i)
      std::memcpy(static_cast<void*>(data_ + i * stride_), copy_ + i * cell_length, line_bytes());
  }

 private:
  std::size_t line_bytes() const { return static_cast<std::size_t>(length_) * sizeof(T); }

  T* data_;
  Index stride_, lines_, length_;
  std::uint16_t lanes_[cell_groups];
  alignas(64) T copy_[cell_lines * cell_length];
};

}  // namespace detail
LORA_NAMESPACE_END
