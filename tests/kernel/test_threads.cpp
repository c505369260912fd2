// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The number of threads changes neither the weight nor the record.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Threads;
using reference::Updates;

template <class Layout>
class ThreadCount : public ::testing::Test {};
TYPED_TEST_SUITE(ThreadCount, reference::Layouts);

/// Shapes in which two threads get shares of their own (elements_per_thread each), with blocks that do not divide
/// evenly; five are more than that.
TYPED_TEST(ThreadCount, DoesNotMatter) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(30);
  const Index shapes[][2] = {{129, 1041}, {1041, 127}};
  for (const auto& [rows, cols] : shapes) {
    ASSERT_GE(rows * cols, 2 * reference::elements_per_thread);
    const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
    Updates<C> from, to;
    from.add_gaussian(random, rows, cols, 2, 0.03);
    to.add_gaussian(random, rows, cols, 1, 0.3);
    const auto expected = reference::merge<T, TypeParam::order>(w0, from);
    const auto switched = reference::merge<T, TypeParam::order>(w0, to);
    lora::Matrix<C> change;
    for (const int count : {1, 2, 5}) {
      const Threads threads(count);
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", " << count << " threads");
      auto w = w0;
      const lora::UndoRecord record = lora::merge(w, from);
      ASSERT_TRUE(reference::same_bits(expected.weight, w));
      ASSERT_TRUE(reference::same_record(expected.record, record));
      const lora::UndoRecord next = lora::switch_to(w, from, record, to);
      ASSERT_TRUE(reference::same_bits(switched.weight, w));
      ASSERT_TRUE(reference::same_record(switched.record, next));
      lora::unmerge(w, to, next);
      ASSERT_TRUE(reference::same_bits(w0, w));
      lora::merge_plain(w, from);
      ASSERT_TRUE(reference::same_bits(expected.weight, w));
      lora::unmerge(w, from, lora::UndoRecord::deserialize(record.serialize()));
      ASSERT_TRUE(reference::same_bits(w0, w));
      if (count == 1) change = lora::delta<C>(from, rows, cols);
      ASSERT_TRUE(reference::same_bits(change, lora::delta<C>(from, rows, cols)));
    }
  }
}

#if defined(_OPENMP)
/// Inside a parallel region of the caller's, each call is serial and as good as alone.
TYPED_TEST(ThreadCount, CallersThreadsMayMergeAtTheSameTime) {
  using T = typename TypeParam::Scalar;
  constexpr int count = 4;
  Random random(31);
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, 200, 700);
  Updates<lora::compute_t<T>> set;
  set.add_gaussian(random, 200, 700, 1, 0.03);
  const auto expected = reference::merge<T, TypeParam::order>(w0, set);
  std::vector<lora::Matrix<T, TypeParam::order>> weights(count, w0);
  std::vector<lora::UndoRecord> records(count);
#pragma omp parallel for num_threads(count)
  for (int i = 0; i < count; ++i)
    records[static_cast<std::size_t>(i)] = lora::merge(weights[static_cast<std::size_t>(i)], set);
  for (std::size_t i = 0; i < count; ++i) {
    EXPECT_TRUE(reference::same_bits(expected.weight, weights[i]));
    EXPECT_TRUE(reference::same_record(expected.record, records[i]));
  }
}
#endif

}  // namespace
