// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "lora/exact/layout.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

namespace {

using lora::Index;
using lora::detail::Block;
using lora::detail::BlockGrid;

constexpr Index sizes[] = {0, 1, 7, 8, 9, 31, 32, 33, 63, 95, 96, 97, 255, 256, 257, 1000, 1023, 1024, 1025, 2049};

TEST(BlockGrid, TakesEveryElementOnce) {
  for (const Index lines : sizes) {
    for (const Index length : sizes) {
      const BlockGrid grid(lines, length);
      std::vector<unsigned char> taken(static_cast<std::size_t>(lines * length));
      for (Index i = 0; i < grid.count(); ++i) {
        const Block block = grid[i];
        ASSERT_GT(block.elements(), 0) << lines << " x " << length << ", block " << i;
        for (Index line = block.line; line < block.line + block.lines; ++line)
          for (Index position = block.position; position < block.position + block.length; ++position) {
            ASSERT_LT(line, lines);
            ASSERT_LT(position, length);
            ++taken[static_cast<std::size_t>(line * length + position)];
          }
      }
      for (const unsigned char times : taken) ASSERT_EQ(times, 1) << lines << " x " << length;
    }
  }
}

TEST(BlockGrid, FollowsTheBlockRule) {
  for (Index length = 0; length <= 2100; ++length) {
    // The line's length in whole tiles, 32 at least, 1024 at most; as many whole tiles below as 8192 elements allow.
    Index tiles = length / 32 + (length % 32 != 0 ? 1 : 0);
    if (tiles < 1) tiles = 1;
    if (tiles > 32) tiles = 32;
    Index lines = 8;
    while ((lines + 8) * tiles * 32 <= 8192) lines += 8;
    const BlockGrid grid(10000, length);
    ASSERT_EQ(grid.block_length(), 32 * tiles) << length;
    ASSERT_EQ(grid.block_lines(), lines) << length;
    ASSERT_LE(grid.block_length() * grid.block_lines(), lora::detail::block_elements);
  }
}

TEST(BlockGrid, GoesAlongTheLinesFirst) {
  const BlockGrid grid(20, 2050);
  ASSERT_EQ(grid.count(), 9);
  const Block second = grid[1], last = grid[8];
  EXPECT_EQ(second.line, 0);
  EXPECT_EQ(second.position, 1024);
  EXPECT_EQ(last.line, 16);
  EXPECT_EQ(last.position, 2048);
  EXPECT_EQ(last.lines, 4);
  EXPECT_EQ(last.length, 2);
  EXPECT_EQ(last.tiles(), 1);
}

TEST(BlockGrid, CountsTheLargestShapeWithoutOverflow) {
  constexpr Index largest = Index{1} << 32;
  EXPECT_EQ(BlockGrid(largest, largest).count(), (largest / 8) * (largest / 1024));
  EXPECT_EQ(BlockGrid(largest, 1).count(), largest / 256);
  EXPECT_EQ(BlockGrid(largest, 0).count(), 0);
  EXPECT_EQ(BlockGrid(0, largest).count(), 0);
}

TEST(GroupLanes, AreThoseInsideTheWeight) {
  for (Index lines = 1; lines <= 9; ++lines)
    for (Index length = 1; length <= 40; ++length)
      for (Index line = 0; line < 8; ++line)
        for (Index half = 0; half < 2; ++half) {
          unsigned expected = 0;
          for (Index lane = 0; lane < 16; ++lane)
            if (line < lines && 16 * half + lane < length) expected |= 1u << lane;
          ASSERT_EQ(lora::detail::group_lanes(line, half, lines, length), expected);
        }
}

}  // namespace
