// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Records that are made in the memory of others: byte for byte those that a merge makes anew, whatever the memory was used for.

#include "lora/weight/frozen_weight.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <vector>

namespace {

using lora::Index;
using reference::Random;
using reference::Threads;
using reference::Updates;

/// Records of all kinds: of other types, orders, shapes and numbers of tasks, with gains, raw, read from bytes, default, cleared.
std::vector<lora::UndoRecord> used_records() {
  Random random(90);
  std::vector<lora::UndoRecord> out(1);
  const auto add = [&](auto weight, bool gains) {
    Updates<lora::compute_t<typename decltype(weight)::Scalar>> updates;
    updates.add_gaussian(random, weight.rows(), weight.cols(), 2, 0.1);
    if (gains) updates.add_dora(random, weight.rows(), weight.cols(), 1, 0.1, 1);
    out.push_back(lora::merge(weight, updates));
  };
  add(reference::gaussian<double, lora::column_major>(random, 30, 50), true);
  add(reference::gaussian<Eigen::bfloat16, lora::row_major>(random, 300, 700), false);
  add(reference::any_patterns<float, lora::row_major>(random, 300, 900), false);
  add(reference::gaussian<float, lora::row_major>(random, 1, 1), false);
  out.push_back(lora::UndoRecord::deserialize(out.back().serialize()));
  out.push_back(lora::UndoRecord::deserialize(out[2].serialize()));
  out.push_back(out[2]);
  out.back().clear();
  return out;
}

template <class T>
class RecordReuse : public ::testing::Test {};
TYPED_TEST_SUITE(RecordReuse, reference::Scalars);

TYPED_TEST(RecordReuse, GivesTheBytesOfAFreshRecord) {
  using T = TypeParam;
  using C = lora::compute_t<T>;
  Random random(91);
  std::vector<std::pair<Index, Index>> shapes{{0, 5}, {7, 33}, {131, 1033}};
  std::vector<int> counts{2};
#if !LORA_TEST_SAMPLE
  shapes.emplace_back(300, 520);
  counts.push_back(1);
#endif
  for (const auto& [rows, cols] : shapes) {
    for (const bool gains : {false, true}) {
      lora::Matrix<T> w0 = reference::gaussian<T>(random, rows, cols);
      if (rows > 100) w0.topRows(rows / 3) = reference::any_patterns<T>(random, rows / 3, cols);
      Updates<C> first, second;
      first.add_gaussian(random, rows, cols, 3, 0.03);
      second.add_gaussian(random, rows, cols, 1, 0.3);
      if (gains) second.add_dora(random, rows, cols, 2, 0.1, 1);
      lora::Matrix<T> w = w0;
      const lora::UndoRecord record = lora::merge(w, first), next = lora::switch_to(w, first, record, second);
      const lora::Matrix<T> switched = w;
      lora::unmerge(w, second, next);
      for (const int count : counts) {
        const Threads threads(count);
        for (lora::UndoRecord& used : used_records()) {
          lora::UndoRecord other = used;
          lora::merge_into(w, first, used);
          ASSERT_EQ(used.serialize(), record.serialize());
          lora::switch_into(w, first, used, second, other);
          ASSERT_TRUE(reference::same_bits(switched, w));
          ASSERT_EQ(other.serialize(), next.serialize());
          ASSERT_EQ(used.serialize(), record.serialize()) << "the old record";
          const lora::UndoRecord copy = other;
          lora::unmerge(w, second, copy);
          ASSERT_TRUE(reference::same_bits(w0, w));
          lora::merge_into(w, first, other);  // and once more in memory that has held this very weight's
          ASSERT_EQ(other.serialize(), record.serialize());
          lora::unmerge(w, first, other);
          ASSERT_TRUE(reference::same_bits(w0, w));
        }
      }
    }
  }
}

TEST(RecordMemory, RefusesTheRecordItIsToReplace) {
  Random random(92);
  lora::Matrix<float> w = reference::gaussian<float>(random, 40, 50);
  Updates<float> first, second;
  first.add_gaussian(random, 40, 50, 3, 0.03);
  second.add_gaussian(random, 40, 50, 1, 0.3);
  lora::UndoRecord record = lora::merge(w, first);
  const lora::Matrix<float> merged = w;
  const auto bytes = record.serialize();
  EXPECT_THROW(lora::switch_into(w, first, record, second, record), lora::ValueError);
  EXPECT_TRUE(reference::same_bits(merged, w));
  EXPECT_EQ(record.serialize(), bytes);
  // What does not fit leaves the record that was to be filled, too.
  lora::UndoRecord used = record;
  lora::Matrix<float> other(41, 50);
  EXPECT_THROW(lora::merge_into(other, first, used), lora::ShapeError);
  EXPECT_EQ(used.serialize(), bytes);
}

TEST(RecordMemory, ClearKeepsTheMemory) {
  Random random(93);
  lora::Matrix<float> w = reference::gaussian<float>(random, 400, 500);
  Updates<float> updates;
  updates.add_gaussian(random, 400, 500, 3, 0.03);
  lora::UndoRecord record = lora::merge(w, updates);
  const std::size_t memory = record.memory_bytes();
  EXPECT_GE(memory, record.size_bytes() - 72);
  record.clear();
  EXPECT_EQ(record.memory_bytes(), memory);
  EXPECT_EQ(record.serialize(), lora::UndoRecord().serialize());
  EXPECT_THROW(lora::unmerge(w, updates, record), lora::RecordError);
  record = {};
  EXPECT_EQ(record.memory_bytes(), 0u);
}

/// A weight goes through merges, switches and unmerges in its own memory, moved and copied on the way.
TEST(RecordMemory, WeightsKeepIt) {
  Random random(94);
  const lora::Matrix<float> w0 = reference::gaussian<float>(random, 300, 520);
  std::array<Updates<float>, 3> sets;
  for (Index i = 0; i < 3; ++i)
    sets[static_cast<std::size_t>(i)].add_gaussian(random, 300, 520, 1 + i, 0.03 * static_cast<double>(1 + 9 * i));
  std::array<std::vector<std::byte>, 3> records;
  for (std::size_t i = 0; i < 3; ++i) {
    lora::Matrix<float> w = w0;
    records[i] = lora::merge(w, sets[i]).serialize();
  }
  lora::FrozenWeight<float> weight(w0);
  for (int round = 0; round < 3; ++round) {
    weight.merge(sets[0]);
    EXPECT_EQ(weight.record().serialize(), records[0]);
    for (const std::size_t i : {1u, 2u, 0u, 2u}) {
      weight.switch_to(sets[i]);
      ASSERT_EQ(weight.record().serialize(), records[i]);
      lora::FrozenWeight<float> copy = weight;
      if (round == 1) weight.shrink_to_fit();
      copy.unmerge();
      ASSERT_TRUE(reference::same_bits(w0, copy.matrix()));
      copy.merge(sets[1]);
      if (round == 2) copy.unmerge();
      lora::FrozenWeight<float> moved = std::move(copy);
      ASSERT_EQ(moved.merged(), round != 2);
    }
    weight.unmerge();
    ASSERT_TRUE(reference::same_bits(w0, weight.matrix()));
  }
}

}  // namespace
