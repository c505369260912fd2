// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Passes whose factors the second cache does not hold take their blocks in another order: the same bits.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;

TEST(BlockOrder, OfLargeFactorsGivesTheReferencesBits) {
  reference::Random random(95);
  // 2100 x 70 floats are more than half a MB; ten lines of blocks are two times four and two.
  const Index rows = 77, cols = 2100;
  const auto w0 = reference::gaussian<float>(random, rows, cols);
  reference::Updates<float> from, to;
  from.add_gaussian(random, rows, cols, 70, 0.03);
  to.add_gaussian(random, rows, cols, 75, 0.3);
  const auto merged = reference::merge<float, lora::row_major>(w0, from);
  const auto switched = reference::merge<float, lora::row_major>(w0, to);
  for (const int count : {1, 2}) {
    const reference::Threads threads(count);
    lora::Matrix<float> w = w0;
    const lora::UndoRecord record = lora::merge(w, from);
    ASSERT_TRUE(reference::same_bits(merged.weight, w));
    ASSERT_TRUE(reference::same_record(merged.record, record));
    const lora::UndoRecord next = lora::switch_to(w, from, record, to);
    ASSERT_TRUE(reference::same_bits(switched.weight, w));
    ASSERT_TRUE(reference::same_record(switched.record, next));
    lora::unmerge(w, to, next);
    ASSERT_TRUE(reference::same_bits(w0, w));

    // An edited last block: all others are taken back.
    lora::Matrix<float> edited = merged.weight;
    edited(rows - 1, cols - 1) += 1;
    w = edited;
    EXPECT_THROW(lora::unmerge(w, from, record), lora::RecordError);
    EXPECT_TRUE(reference::same_bits(edited, w));
  }
}

}  // namespace
