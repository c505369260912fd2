// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "exact/record_bytes.hpp"
#include "exact/sample.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>
#include <utility>

namespace {

thread_local std::size_t largest_allocation = 0, allocated = 0;

void* count_and_allocate(std::size_t size) {
  largest_allocation = std::max(largest_allocation, size);
  allocated += size;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return count_and_allocate(size); }
void* operator new[](std::size_t size) { return count_and_allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

using Eigen::bfloat16;
using lora::Index;
using lora::UndoRecord;
using Bytes = std::vector<std::byte>;

/// A bfloat16 weight that has been merged, and all that was used.
struct Merged {
  Merged(Index rows, Index cols, Index special = 16)
      : random(static_cast<std::uint64_t>(rows + cols)),
        w0(lora_test::weight<bfloat16>(rows, cols, random, 0, special)),
        w(w0),
        updates{lora_test::update<float>(rows, cols, 3, lora::scaling::fixed(0.5), random, -3),
                lora_test::update<float>(rows, cols, 2, lora::scaling::rank_stabilized(1.5), random, -3)},
        set({{updates[0], 1.0}, {updates[1], -0.75}}),
        record(lora::merge(w, set)) {}
  Merged(const Merged&) = delete;
  Merged& operator=(const Merged&) = delete;

  bool comes_back_with(const UndoRecord& some_record) {
    lora::Matrix<bfloat16> copy = w;
    lora::unmerge(copy, set, some_record);
    return lora_test::same_bits(copy, w0);
  }

  lora_test::Random random;
  lora::Matrix<bfloat16> w0, w;
  lora::LowRank<float> updates[2];
  lora::ActiveSet<float> set;
  UndoRecord record;
};

TEST(UndoRecord, KnowsItsWeight) {
  const Merged merged(19, 45);
  EXPECT_EQ(merged.record.rows(), 19);
  EXPECT_EQ(merged.record.cols(), 45);
  EXPECT_EQ(merged.record.type(), lora::ScalarType::bfloat16);
  EXPECT_EQ(merged.record.order(), lora::row_major);
  EXPECT_NE(merged.record.fingerprint(), 0u);
}

TEST(UndoRecord, StatesItsSize) {
  for (const auto& [rows, cols] :
       {std::pair<Index, Index>{0, 0}, {0, 7}, {7, 0}, {1, 1}, {9, 33}, {200, 100}, {3, 2100}}) {
    const Merged merged(rows, cols);
    EXPECT_EQ(merged.record.size_bytes(), merged.record.serialize().size()) << rows << " x " << cols;
  }
  EXPECT_EQ(UndoRecord().size_bytes(), UndoRecord().serialize().size());
}

TEST(UndoRecord, TakesLittleRoomForGaussianWeights) {
  const Index size = 512;
  lora_test::Random random(7);
  const auto measure = [&]<class T>(T, int exponent) {
    lora::Matrix<T> w = lora_test::weight<T>(size, size, random, 0, 0);
    const auto update = lora_test::update<float>(size, size, 16, lora::scaling::fixed(1.92), random, exponent);
    const lora::ActiveSet<float> set(update);
    const double bytes = static_cast<double>(lora::merge(w, set).size_bytes());
    return bytes / static_cast<double>(w.size() * Index{sizeof(T)});
  };
  // ||delta|| / ||W0|| = 1.92 * 4 / 2^8 = 3 %
  EXPECT_LE(measure(bfloat16(), -4), 0.05);
  EXPECT_LE(measure(Eigen::half(), -4), 0.05);
  EXPECT_LE(measure(float(), -4), 0.04);
}

TEST(UndoRecord, NeverTakesMuchMoreThanTheWeight) {
  const Index rows = 40, cols = 200;
  lora_test::Random random(8);
  for (const int exponent : {-60, -8, 0, 8, 50}) {
    lora::Matrix<bfloat16> w(rows, cols);
    for (Index i = 0; i < w.size(); ++i)
      w.data()[i] = lora::detail::from_bits<bfloat16>(static_cast<std::uint16_t>(random.bits()));
    const auto update = lora_test::update<float>(rows, cols, 2, lora::scaling::fixed(1.0), random, exponent);
    const lora::ActiveSet<float> set(update);
    const UndoRecord record = lora::merge(w, set);
    const auto blocks = static_cast<std::size_t>(lora::detail::BlockGrid(rows, cols).count());
    EXPECT_LE(record.size_bytes(), static_cast<std::size_t>(2 * rows * cols) + 16 * blocks + 72) << exponent;
  }
}

TEST(UndoRecord, CopiesAreIndependent) {
  Merged merged(150, 100);
  UndoRecord copy(merged.record);
  const Bytes bytes = merged.record.serialize();
  EXPECT_EQ(copy.serialize(), bytes);
  UndoRecord assigned;
  assigned = copy;
  copy = UndoRecord();
  EXPECT_EQ(assigned.serialize(), bytes);
  EXPECT_TRUE(merged.comes_back_with(assigned));
  const UndoRecord& alias = assigned;
  assigned = alias;
  EXPECT_EQ(assigned.serialize(), bytes);
}

TEST(UndoRecord, MovesTakeTheBytesAlong) {
  Merged merged(150, 100);
  const Bytes bytes = merged.record.serialize();
  UndoRecord moved(std::move(merged.record));
  EXPECT_EQ(moved.serialize(), bytes);
  UndoRecord assigned;
  assigned = std::move(moved);
  EXPECT_EQ(assigned.serialize(), bytes);
  EXPECT_TRUE(merged.comes_back_with(assigned));
}

TEST(UndoRecord, MovedFromIsARecordOfNothing) {
  Merged merged(20, 20);
  const UndoRecord taken(std::move(merged.record));
  EXPECT_EQ(merged.record.rows(), 0);
  EXPECT_EQ(merged.record.serialize(), UndoRecord().serialize());
  EXPECT_THROW(merged.comes_back_with(merged.record), lora::RecordError);
  EXPECT_TRUE(merged.comes_back_with(taken));
}

TEST(UndoRecord, ReadsBytesAtAnyAddress) {
  Merged merged(40, 100);
  const Bytes bytes = merged.record.serialize();
  for (std::size_t offset = 0; offset < 8; ++offset) {
    Bytes shifted(offset);
    shifted.insert(shifted.end(), bytes.begin(), bytes.end());
    const UndoRecord record = UndoRecord::deserialize(std::span(shifted).subspan(offset));
    EXPECT_EQ(record.serialize(), bytes);
    EXPECT_TRUE(merged.comes_back_with(record));
  }
}

TEST(UndoRecord, AllocatesInProportionToTheBytesRead) {
  for (const Index size : {1, 16, 300}) {
    const Merged merged(size, size);
    const Bytes bytes = merged.record.serialize();
    allocated = 0;
    const UndoRecord record = UndoRecord::deserialize(bytes);
    EXPECT_LE(allocated, 3 * bytes.size() + 1024) << bytes.size() << " bytes";
    allocated = 0;
    const UndoRecord copy(record);
    EXPECT_LE(allocated, 3 * bytes.size() + 1024) << bytes.size() << " bytes";
  }
}

TEST(UndoRecord, AllocatesNothingForAHugeShapeWithoutBlocks) {
  const Merged merged(16, 16);
  Bytes bytes = merged.record.serialize();
  constexpr std::uint64_t largest = std::uint64_t{1} << 32;
  largest_allocation = 0;
  for (const std::uint64_t rows : {largest, largest + 1, ~std::uint64_t{0}})
    for (const std::uint64_t cols : {std::uint64_t{16}, largest, ~std::uint64_t{0}}) {
      lora_test::put(bytes, lora_test::RecordOffset::rows, rows);
      lora_test::put(bytes, lora_test::RecordOffset::cols, cols);
      lora_test::repair(bytes);
      EXPECT_THROW((void)UndoRecord::deserialize(bytes), lora::RecordError);
    }
  EXPECT_LE(largest_allocation, bytes.size() + 1024);
}

TEST(UndoRecord, BelongsToItsWeightAndFactors) {
  Merged merged(20, 40);
  const lora::Matrix<bfloat16> before = merged.w;
  const auto refused = [&](auto& w, lora::ActiveSet<float> set) {
    EXPECT_THROW(lora::unmerge(w, set, merged.record), lora::RecordError);
  };
  refused(merged.w, merged.updates[0]);
  const lora::ActiveSet<float> swapped({{merged.updates[1], -0.75}, {merged.updates[0], 1.0}});
  refused(merged.w, swapped);
  const lora::ActiveSet<float> weighted({{merged.updates[0], 1.0}, {merged.updates[1], -0.7500001}});
  refused(merged.w, weighted);
  auto by_columns = lora_test::ordered_as<lora::column_major>(merged.w);
  refused(by_columns, merged.set);
  lora::Matrix<Eigen::half> other_type = lora::Matrix<Eigen::half>::Zero(20, 40);
  refused(other_type, merged.set);
  merged.w(11, 17) = lora::detail::from_bits<bfloat16>(lora::detail::to_bits(merged.w(11, 17)) ^ 1u);
  refused(merged.w, merged.set);
  merged.w(11, 17) = before(11, 17);
  EXPECT_TRUE(lora_test::same_bits(merged.w, before));
  EXPECT_TRUE(merged.comes_back_with(merged.record));
}

}  // namespace
