// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Every allocation a merge, an unmerge or a switch makes is made to fail, one after the other: std::bad_alloc comes out,
// and the weight and its record are as before. This file replaces operator new of the whole program.

#include "lora/layer/layer_group.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

/// Allocations until one fails; negative: none does.
std::atomic<long> allocations_left{-1};
std::atomic<std::size_t> largest_allocation{0};
std::atomic<long> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) {
  if (allocations_left.load() >= 0 && allocations_left.fetch_sub(1) == 0) throw std::bad_alloc();
  if (size > largest_allocation) largest_allocation = size;
  ++allocations;
  const std::size_t rounded = (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* memory = alignment <= alignof(std::max_align_t) ? std::malloc(rounded) : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// gcc inlines the one half of a pair and not the other, and takes free() for a mismatch.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t align) { return allocate(size, static_cast<std::size_t>(align)); }
void* operator new[](std::size_t size, std::align_val_t align) {
  return allocate(size, static_cast<std::size_t>(align));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

using lora::Index;
using reference::Random;
using reference::Threads;
using reference::Updates;

/// What a run of `work` under a failing n-th allocation came to.
enum class Outcome { done, out_of_memory };

template <class Work>
Outcome run_with_failure(long n, const Work& work) {
  allocations_left = n;
  Outcome outcome = Outcome::done;
  try {
    work();
  } catch (const std::bad_alloc&) {
    outcome = Outcome::out_of_memory;
  } catch (...) {
    allocations_left = -1;
    throw;
  }
  allocations_left = -1;
  return outcome;
}

template <class T>
class FailingAllocation : public ::testing::Test {
 public:
  using Compute = lora::compute_t<T>;
  // Blocks for several threads, and payloads (random bits: raw blocks) that need more than one piece of memory each.
  static constexpr Index rows = 131, cols = 1033;

  FailingAllocation() {
    Random random(80);
    w0 = reference::any_patterns<T>(random, rows, cols);
    w0.topRows(rows / 3) = reference::gaussian<T>(random, rows / 3, cols);
    from.add_gaussian(random, rows, cols, 1, 0.03);
    from.add_gaussian(random, rows, cols, 2, 0.03, -1);
    to.add_gaussian(random, rows, cols, 1, 0.3);
  }

  /// Fails each allocation in turn. `work` works on `w`, which is `before` again after each failure, and the record that it
  /// writes into, if any, is what it was or a default one; returns how many failed.
  template <class Work>
  static long fail_each(const lora::Matrix<T>& before, lora::Matrix<T>& w, const Work& work,
                        const lora::UndoRecord* used = nullptr) {
    const lora::UndoRecord none;
    const auto default_bytes = none.serialize();
    if (used == nullptr) used = &none;
    for (long n = 0;; ++n) {
      const auto bytes = used->serialize();
      const Outcome outcome = run_with_failure(n, work);
      if (outcome == Outcome::done) return n;
      EXPECT_TRUE(reference::same_bits(before, w)) << "allocation " << n;
      const auto left = used->serialize();
      EXPECT_TRUE(left == bytes || left == default_bytes) << "allocation " << n << ": the record";
      if (::testing::Test::HasFailure()) return n;
    }
  }

  void check() {
    const auto merged = reference::merge<T, lora::row_major>(w0, from);
    const auto switched = reference::merge<T, lora::row_major>(w0, to);
    lora::Matrix<T> w = w0;

    lora::UndoRecord record;
    EXPECT_GT(fail_each(w0, w, [&] { record = lora::merge(w, from); }), 5);
    ASSERT_TRUE(reference::same_bits(merged.weight, w));
    ASSERT_TRUE(reference::same_record(merged.record, record));

    lora::UndoRecord next;
    EXPECT_GT(fail_each(merged.weight, w, [&] { next = lora::switch_to(w, from, record, to); }), 5);
    ASSERT_TRUE(reference::same_bits(switched.weight, w));
    ASSERT_TRUE(reference::same_record(switched.record, next));
    ASSERT_TRUE(reference::same_record(merged.record, record)) << "the old record";

    EXPECT_GT(fail_each(switched.weight, w, [&] { lora::unmerge(w, to, next); }), 1);
    ASSERT_TRUE(reference::same_bits(w0, w));
    // Into records that are small and of another kind: what their memory lacks is allocated, and fails in turn.
    lora::UndoRecord used = small_record(), used_next = small_record();
    EXPECT_GT(fail_each(w0, w, [&] { lora::merge_into(w, from, used); }, &used), 5);
    ASSERT_TRUE(reference::same_bits(merged.weight, w));
    ASSERT_TRUE(reference::same_record(merged.record, used));
    EXPECT_GT(fail_each(merged.weight, w, [&] { lora::switch_into(w, from, used, to, used_next); }, &used_next), 5);
    ASSERT_TRUE(reference::same_bits(switched.weight, w));
    ASSERT_TRUE(reference::same_record(switched.record, used_next));
    ASSERT_TRUE(reference::same_record(merged.record, used)) << "the old record";
    lora::unmerge(w, to, used_next);
    ASSERT_TRUE(reference::same_bits(w0, w));

    EXPECT_GT(fail_each(w0, w, [&] { lora::merge_plain(w, from); }), 1);
    ASSERT_TRUE(reference::same_bits(merged.weight, w));
    lora::unmerge(w, from, record);
    ASSERT_TRUE(reference::same_bits(w0, w));
  }

  /// A record of another weight.
  static lora::UndoRecord small_record() {
    Random random(83);
    auto other = reference::gaussian<double, lora::column_major>(random, 20, 30);
    Updates<double> dora;
    dora.add_dora(random, 20, 30, 1, 0.1, 1);
    return lora::merge(other, dora);
  }

  lora::Matrix<T> w0;
  Updates<Compute> from, to;
};
TYPED_TEST_SUITE(FailingAllocation, reference::Scalars);

TYPED_TEST(FailingAllocation, LeavesTheWeightOnOneThread) {
  const Threads threads(1);
  this->check();
}

TYPED_TEST(FailingAllocation, LeavesTheWeightOnTwoThreads) {
  ASSERT_GE(this->rows * this->cols, 2 * reference::elements_per_thread);
  const Threads threads(2);
  this->check();
}

/// An unmerge that has found an edited block cannot even make its message: still an exception, still the same weight.
TYPED_TEST(FailingAllocation, WhileReportingAnEditedWeight) {
  using T = TypeParam;
  lora::Matrix<T> w = this->w0;
  const lora::UndoRecord record = lora::merge(w, this->from);
  w(this->rows - 1, this->cols - 1) =
      std::bit_cast<T>(static_cast<reference::Bits<T>>(reference::bits(w(this->rows - 1, this->cols - 1)) ^ 1));
  const lora::Matrix<T> edited = w;
  for (long n = 0;; ++n) {
    Outcome outcome = Outcome::done;
    try {
      outcome = run_with_failure(n, [&] { lora::unmerge(w, this->from, record); });
    } catch (const lora::RecordError&) {
      break;
    }
    ASSERT_EQ(outcome, Outcome::out_of_memory);
    ASSERT_TRUE(reference::same_bits(edited, w)) << "allocation " << n;
  }
  EXPECT_TRUE(reference::same_bits(edited, w));
}

/// A layer that cannot hand out its record keeps it, and so do the layers of a group.
TYPED_TEST(FailingAllocation, ReleaseKeepsTheRecords) {
  using T = TypeParam;
  using C = typename TestFixture::Compute;
  lora::Matrix<T> one = this->w0, two = this->w0;
  lora::LayerGroup<C> group;
  group.add("first", lora::Linear<T>::view(one));
  group.add("second", lora::Linear<T>::view(two));
  const std::shared_ptr<const lora::Update<C>> update = this->from[0].update;
  group.attach("a", {{"first", update}, {"second", update}});
  group.activate({{"a", 1.0}});
  group.merge();
  const lora::Matrix<T> merged = one;
  const auto bytes = group["first"].record().serialize();

  std::map<std::string, lora::UndoRecord> records;
  EXPECT_GT(this->fail_each(merged, one,
                            [&] {
                              if (!group.merged()) throw std::logic_error("a record is lost");
                              records = group.release();
                            }),
            1);
  ASSERT_EQ(records.size(), 2u);
  for (const auto& [path, record] : records) EXPECT_EQ(record.serialize(), bytes) << path;
  EXPECT_TRUE(reference::same_bits(merged, one));
  EXPECT_TRUE(reference::same_bits(merged, two));

  auto layer = lora::Linear<T>::view(one);
  layer.attach("a", update);
  layer.resume({{"a", 1.0}}, records.at("first"));
  lora::UndoRecord record;
  this->fail_each(merged, one, [&] {
    if (!layer.merged()) throw std::logic_error("the record is lost");
    record = layer.release();
  });
  EXPECT_EQ(record.serialize(), bytes);
}

/// The allocations of `work`.
template <class Work>
long allocations_of(const Work& work) {
  const long before = allocations;
  work();
  return allocations - before;
}

/// A merge, and a switch, into a record that has been used before take no memory for it: they allocate what a merge without a
/// record does (packed factors), and no more.
TYPED_TEST(FailingAllocation, UsedRecordsBringTheirMemory) {
  using T = TypeParam;
  for (const int count : {1, 2}) {
    const Threads threads(count);
    const auto one = this->from.set(), other = this->to.set();
    lora::Matrix<T> w = this->w0;
    lora::UndoRecord record = lora::merge(w, one), next = lora::switch_to(w, one, record, other);
    const auto first = record.serialize(), second = next.serialize();
    lora::unmerge(w, other, next);

    lora::Matrix<T> plain = this->w0;
    const long one_set = allocations_of([&] { lora::merge_plain(plain, one); });
    const std::size_t memory = record.memory_bytes(), next_memory = next.memory_bytes();
    EXPECT_GE(memory, first.size() - 72);
    EXPECT_EQ(allocations_of([&] { lora::merge_into(w, one, record); }), one_set);
    EXPECT_EQ(record.serialize(), first);
    EXPECT_EQ(record.memory_bytes(), memory);

    // Factors of two sets: two arrays more.
    EXPECT_EQ(allocations_of([&] { lora::switch_into(w, one, record, other, next); }), one_set + 2);
    EXPECT_EQ(next.serialize(), second);
    EXPECT_EQ(next.memory_bytes(), next_memory);
    lora::unmerge(w, other, next);
    EXPECT_TRUE(reference::same_bits(this->w0, w));
  }
}

/// A layer keeps its records' memory by itself, and gives it back.
TYPED_TEST(FailingAllocation, LayersUseTheirRecordsAgain) {
  using T = TypeParam;
  lora::Matrix<T> w = this->w0, plain = this->w0;
  auto layer = lora::Linear<T>::view(w);
  layer.attach("a", this->from[0].update);
  layer.attach("b", this->to[0].update);
  layer.activate({{"a", 1.0}});
  layer.merge();
  layer.unmerge();
  const long one_set = allocations_of([&] { lora::merge_plain(plain, layer.active_set()); });
  EXPECT_EQ(allocations_of([&] { layer.merge(); }), one_set);
  layer.unmerge();
  layer.shrink_to_fit();
  EXPECT_GT(allocations_of([&] { layer.merge(); }), one_set);

  // Two records take turns: the third switch finds the memory of the first.
  const auto switched = [&](const char* name) { return allocations_of([&] { layer.activate({{name, 1.0}}); }); };
  const long fresh = switched("b");
  switched("a");
  EXPECT_LT(switched("b"), fresh);
  layer.shrink_to_fit();
  layer.unmerge();
  EXPECT_TRUE(reference::same_bits(this->w0, w));

  // A copy takes none of it along, what is moved all.
  lora::FrozenWeight<T> one(this->w0);
  const auto& set = layer.active_set();
  one.merge(set);
  one.unmerge();
  lora::FrozenWeight<T> copy = one;
  EXPECT_GT(allocations_of([&] { copy.merge(set); }), allocations_of([&] { one.merge(set); }));
  one.unmerge();
  lora::FrozenWeight<T> moved = std::move(one);
  EXPECT_EQ(allocations_of([&] { moved.merge(set); }), allocations_of([&] { lora::merge_plain(plain, set); }));
}

/// The rows of a merged column-major weight lie all over its blocks: a task takes 8 MB for them, however wide the weight is.
TEST(MergedColumns, AreTakenInBandsOfBoundedSize) {
  Random random(81);
  const Index rows = 1030, cols = 4100;
  const auto w0 = reference::gaussian<Eigen::bfloat16, lora::column_major>(random, rows, cols);
  Updates<float> low_rank, dora;
  low_rank.add_gaussian(random, rows, cols, 1, 0.1);
  dora.add_dora(random, rows, cols, 1, 0.1, 1);
  lora::FrozenWeight<Eigen::bfloat16, lora::column_major> weight(w0);
  weight.merge(low_rank.set());
  const auto set = dora.set();
  lora::DefaultExecutor alone(1);
  largest_allocation = 0;
  const auto bound = weight.for_weight(set, {&alone});
  EXPECT_LE(largest_allocation, std::size_t{8} << 20);
  const auto expected = lora::for_weight(set, w0);
  for (Index i = 0; i < rows; ++i)
    ASSERT_EQ(reference::bits(expected.form().row_gains()[i]), reference::bits(bound.form().row_gains()[i])) << i;
}

}  // namespace
