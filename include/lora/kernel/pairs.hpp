// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The product Y = W X + B H + bias of a bfloat16 W and a bfloat16 X, in the order of tile units (AMX's TDPBF16PS) on every
/// machine, for any number of columns and both orders of W: W's columns in blocks of 32, continued by zeros; in each a chain
/// of fused multiply-adds over the even ones from +0, one over the odd ones, their sum, which is added to the sum so far.
/// Operands and results of all these that are denormal are zeros. Where the processor does not see to that, most products are
/// known to need no flushing (stay_normal), and in the others each result is looked at.
///
/// Vectors are rows of W: a few columns of W in float, rows next to each other, meet one number of X at a time, so results
/// need no transposing. With AVX-512 few columns of X have kernels of their own (few_pair_kernels.inc), whose vectors are
/// blocks of a row; dot products and tile units have others (kernel/dot_pairs.hpp, kernel/tile_unit.hpp).

#include "lora/kernel/wide.hpp"

LORA_TAGGED_BEGIN

/// The order's blocks, and how many rows of X are packed together: several blocks, for fewer stops at the sums.
inline constexpr Index pair_block = 32, pair_depth = 4 * pair_block;

/// What a vector has a number of each block of.
inline constexpr Index long_block = 16 * pair_block;

/// How kernels take X: as floats, where the processor does not flush with their least exponents, or where blocks are lanes, too;
/// as words with a zero in one half, for dot products; or for a tile unit, as its first or second operand.
enum class PairPacking { floats, floats_and_exponents, block_lanes, zero_halves, first_tiles, second_tiles };

/// Where X is in memory, its rows continued by zeros to whole blocks and its columns to a multiple of `width`. As floats:
/// [row / pair_depth][column][row % pair_depth], or, of whole long blocks with blocks as lanes,
/// [row / long_block][column][row % 32][row % long_block / 32]. With zero halves: [column / 16][row][column % 16], the last columns
/// in eights where no more are left; an even row's numbers in the lower halves. For a tile unit, as words of two rows:
/// [column / 16][row / 32][column % 16][row % 32 / 2], or [row % 32 / 2][column % 16] in the end for its second operand.
/// Behind floats their least exponents: [row / pair_depth].
struct PairLayout {
  bool tiles, second, exponents, zero_halves;
  Index rows, columns, lane_rows;

  PairLayout(PairPacking packing, Index rows_of_X, Index columns_of_X, Index width)
      : tiles(packing >= PairPacking::first_tiles), second(packing == PairPacking::second_tiles),
        exponents(packing == PairPacking::floats_and_exponents), zero_halves(packing == PairPacking::zero_halves),
        rows(padded(rows_of_X, pair_block)), columns(padded(columns_of_X, width)),
        lane_rows(packing == PairPacking::block_lanes ? rows_of_X / long_block * long_block : 0) {}

  /// Rows that are packed at once.
  Index unit() const { return tiles ? pair_block : lane_rows != 0 ? long_block : pair_depth; }
  Index depth(Index row) const { return std::min(pair_depth, rows - row); }
  /// Where the least exponent of the unit with such a row is.
  Index exponent(Index row) const { return rows * columns + row / pair_depth; }
  /// How many columns stand together from such a one on, in words with a zero half, and where.
  Index panel_columns(Index column) const { return std::min<Index>(16, columns - column); }
  Index panel(Index column, Index row) const { return column * rows + row * panel_columns(column); }
  /// In numbers of four bytes.
  Index size() const {
    return tiles ? rows / 2 * columns : exponents ? exponent(padded(rows, pair_depth)) : rows * columns;
  }
};

/// Whether no chain of products w x, and no sum of two, gives a denormal result, for bfloat16 numbers of such least
/// exponents (core/fma.hpp). They are multiples of 2^(w - 134) and 2^(x - 134), significands having 8 bits; so products
/// and their exact sums are of 2^(w + x - 268), and of 2^-126 where this is true. Such a number's rounding is one again:
/// up to 2^-102 it is exact, and beyond all floats are. Of these numbers only 0 is below 2^-126.
constexpr bool stay_normal(int w, int x) { return w > 0 && w + x >= 268 - 126; }

/// As WideKernels. A task's scratch memory does not depend on the number of columns.
template <class T>
struct PairKernels {
  PairPacking packing;
  Index width;  ///< what columns of X are filled up to
  Index scratch;
  ForwardProduct<T>* product;
};

#define LORA_TARGET_FILE "lora/kernel/pair_kernels.inc"
#include "lora/simd/for_each_target.inc"
#define LORA_TARGET_FILE "lora/kernel/few_pair_kernels.inc"
#include "lora/simd/for_each_target.inc"

LORA_TAGGED_END
