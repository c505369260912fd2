// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Merge, unmerge and switch equal the scalar reference in every bit of the weight and of the record.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class Contract : public ::testing::Test {
 public:
  using Scalar = typename Layout::Scalar;
  using Compute = lora::compute_t<Scalar>;
  using Weight = lora::Matrix<Scalar, Layout::order>;

  /// Merges `from` into W0, switches to `to`, unmerges, and compares each step with the reference.
  static void check(const Weight& w0, const lora::ActiveSet<Compute>& from, const lora::ActiveSet<Compute>& to) {
    const auto expected = reference::merge<Scalar, Layout::order>(w0, from);
    Weight w = w0;
    const lora::UndoRecord record = lora::merge(w, from);
    ASSERT_TRUE(reference::same_bits(expected.weight, w));
    ASSERT_TRUE(reference::same_record(expected.record, record));
    ASSERT_EQ(record.size_bytes(), expected.record.size());

    Weight plain = w0;
    lora::merge_plain(plain, from);
    ASSERT_TRUE(reference::same_bits(expected.weight, plain));

    const auto unmerged = reference::unmerge<Scalar, Layout::order>(expected.weight, from, expected.record);
    ASSERT_TRUE(reference::same_bits(w0, unmerged)) << "the reference itself";
    lora::unmerge(plain, from, record);
    ASSERT_TRUE(reference::same_bits(w0, plain));

    const auto switched = reference::merge<Scalar, Layout::order>(w0, to);
    const lora::UndoRecord next = lora::switch_to(w, from, record, to);
    ASSERT_TRUE(reference::same_bits(switched.weight, w));
    ASSERT_TRUE(reference::same_record(switched.record, next));
    lora::unmerge(w, to, next);
    ASSERT_TRUE(reference::same_bits(w0, w));
  }

  static void check_gaussian(Random& random, Index rows, Index cols, Index rank, double size) {
    const auto w0 = reference::gaussian<Scalar, Layout::order>(random, rows, cols, 0.02);
    Updates<Compute> from, to;
    from.add_gaussian(random, rows, cols, rank, 0.02 * size);
    to.add_gaussian(random, rows, cols, rank % 5 + 1, 0.02 * size, -0.7);
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", rank " << rank << ", delta / W0 " << size);
    check(w0, from, to);
  }
};
TYPED_TEST_SUITE(Contract, reference::Layouts);

TYPED_TEST(Contract, HoldsAtEverySizeAroundATile) {
  Random random(1);
  for (const Index rows : {0, 1, 2, 7, 8, 9, 17, 31, 32, 33})
    for (const Index cols : {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65})
      this->check_gaussian(random, rows, cols, 1 + random.below(9), 0.03);
}

TYPED_TEST(Contract, HoldsAtTheEdgesOfBlocks) {
  Random random(2);
  const Index shapes[][2] = {{9, 1023}, {8, 1024}, {7, 1025}, {17, 2049}, {1025, 9}, {2049, 3}, {255, 32}, {257, 31},
                             {32, 257}, {31, 255}, {81, 96},  {96, 81},   {170, 47}, {1, 5000}, {5000, 1}};
  for (const auto& [rows, cols] : shapes) this->check_gaussian(random, rows, cols, 1 + random.below(6), 0.03);
}

TYPED_TEST(Contract, HoldsForEveryRankUpToBeyondTheMatrix) {
  Random random(3);
  for (const Index rank : {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 257})
    this->check_gaussian(random, 19, 45, rank, 0.03);
}

TYPED_TEST(Contract, HoldsForDeltasOfEverySize) {
  Random random(4);
  for (const double size : {0.0, 1e-6, 1e-4, 1e-2, 0.1, 1.0, 10.0, 1e3, 1e6})
    this->check_gaussian(random, 37, 101, 5, size);
}

TYPED_TEST(Contract, HoldsForSeveralUpdatesWithNegativeAndZeroWeights) {
  using C = typename TestFixture::Compute;
  Random random(5);
  for (const auto& [rows, cols] : {std::pair<Index, Index>{33, 65}, {9, 1030}, {300, 20}}) {
    const auto w0 = reference::gaussian<typename TestFixture::Scalar, TypeParam::order>(random, rows, cols);
    Updates<C> from, to;
    for (const double weight : {1.0, -0.5, 0.0, 3.25, -0.0, 1e-3}) {
      from.add_gaussian(random, rows, cols, 1 + random.below(12), 0.03, weight);
      to.add_gaussian(random, rows, cols, 1 + random.below(12), 0.3, -2 * weight);
    }
    this->check(w0, from, to);
    this->check(w0, from, from);
    this->check(w0, {}, to);
    this->check(w0, from, {});
  }
}

TYPED_TEST(Contract, HoldsForAnyBitsInTheWeight) {
  using T = typename TestFixture::Scalar;
  using C = typename TestFixture::Compute;
  Random random(6);
  for (int round = 0; round < 6; ++round) {
    const Index rows = 1 + random.below(60), cols = 1 + random.below(90);
    const auto w0 = reference::any_patterns<T, TypeParam::order>(random, rows, cols);
    Updates<C> from, to;
    const double largest = static_cast<double>(std::numeric_limits<T>::max());
    for (const double size : {1e-6, 1.0, 1e3}) from.add_gaussian(random, rows, cols, 3, size);
    to.add_gaussian(random, rows, cols, 2, largest / 4);
    this->check(w0, from, to);
  }
}

TYPED_TEST(Contract, HoldsForDenormalsOnBothSides) {
  using T = typename TestFixture::Scalar;
  using C = typename TestFixture::Compute;
  Random random(7);
  const double smallest = static_cast<double>(std::numeric_limits<T>::denorm_min());
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, 25, 70, 40 * smallest);
  Updates<C> from, to;
  from.add_gaussian(random, 25, 70, 4, 3 * smallest);
  to.add_gaussian(random, 25, 70, 4, 1000 * smallest);
  this->check(w0, from, to);
}

/// Factors that are finite but whose products overflow give infinities and NaN in delta.
TYPED_TEST(Contract, HoldsWhenDeltaOverflows) {
  using T = typename TestFixture::Scalar;
  using C = typename TestFixture::Compute;
  Random random(8);
  const auto w0 = reference::any_patterns<T, TypeParam::order>(random, 20, 50);
  Updates<C> from, to;
  const double huge = static_cast<double>(std::numeric_limits<C>::max());
  const lora::Matrix<C> B = reference::gaussian<C>(random, 20, 3, huge / 8),
                        A = reference::gaussian<C>(random, 3, 50, huge / 8);
  from.add(lora::LowRank<C>(B, A, lora::scaling::fixed(1)));
  from.add(lora::LowRank<C>(B, A, lora::scaling::fixed(1)), -1);
  to.add_gaussian(random, 20, 50, 2, 0.1);
  this->check(w0, from, to);
  this->check(w0, to, from);
}

template <class Layout>
class ContractOf16Bits : public Contract<Layout> {};
TYPED_TEST_SUITE(ContractOf16Bits, reference::Layouts16);

TYPED_TEST(ContractOf16Bits, HoldsForEveryPattern) {
  using T = typename TestFixture::Scalar;
  lora::Matrix<T, TypeParam::order> w0(256, 256);
  for (Index i = 0; i < w0.size(); ++i) w0.data()[i] = std::bit_cast<T>(static_cast<std::uint16_t>(i));
  Random random(9);
  Updates<float> from, to;
  from.add_gaussian(random, 256, 256, 1, 0.5);
  to.add_gaussian(random, 256, 256, 2, 1e-5);
  this->check(w0, from, to);
}

}  // namespace
