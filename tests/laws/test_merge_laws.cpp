// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What holds for every update, type, order and size.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class MergeLaws : public ::testing::Test {
 public:
  using Scalar = typename Layout::Scalar;
  using Compute = lora::compute_t<Scalar>;
  static constexpr double unit = static_cast<double>(std::numeric_limits<Compute>::epsilon()) / 2;

  /// A set of 0 .. 3 updates of random ranks, sizes and coefficients.
  static void add_random(Updates<Compute>& set, Random& random, Index rows, Index cols) {
    const Index count = random.below(4);
    for (Index i = 0; i < count; ++i)
      set.add_gaussian(random, rows, cols, 1 + random.below(9),
                       std::pow(10.0, -4.0 + 0.1 * static_cast<double>(random.below(60))),
                       random.below(5) == 0 ? 0.0 : static_cast<double>(random.normal()));
  }
  /// sum of |c B(i, k)| |A(k, j)|, in double.
  static double absolute_sum(const Updates<Compute>& set, Index i, Index j) {
    double sum = 0;
    for (std::size_t u = 0; u < set.size(); ++u) {
      const lora::LowRank<Compute>& update = set.low_rank(u);
      for (Index k = 0; k < update.rank(); ++k)
        sum += std::abs(update.scaling() * set.coefficient(u) * static_cast<double>(update.B()(i, k)) *
                        static_cast<double>(update.A()(k, j)));
    }
    return sum;
  }
  static double exact(const Updates<Compute>& set, Index i, Index j) {
    double sum = 0;
    for (std::size_t u = 0; u < set.size(); ++u) {
      const lora::LowRank<Compute>& update = set.low_rank(u);
      for (Index k = 0; k < update.rank(); ++k)
        sum += update.scaling() * set.coefficient(u) * static_cast<double>(update.B()(i, k)) *
               static_cast<double>(update.A()(k, j));
    }
    return sum;
  }
};
TYPED_TEST_SUITE(MergeLaws, reference::Layouts);

TYPED_TEST(MergeLaws, UnmergeAfterMergeIsTheIdentity) {
  using T = typename TestFixture::Scalar;
  Random random(120);
  for (int round = 0; round < 40; ++round) {
    const Index rows = random.below(70), cols = random.below(70);
    const auto w0 = round % 2 == 0 ? reference::gaussian<T, TypeParam::order>(random, rows, cols)
                                   : reference::any_patterns<T, TypeParam::order>(random, rows, cols);
    Updates<typename TestFixture::Compute> set;
    this->add_random(set, random, rows, cols);
    auto w = w0;
    for (int cycle = 0; cycle < 3; ++cycle) {
      const lora::UndoRecord record = lora::merge(w, set);
      lora::unmerge(w, set, record);
      ASSERT_TRUE(reference::same_bits(w0, w)) << "round " << round << ", cycle " << cycle;
    }
  }
}

TYPED_TEST(MergeLaws, AnyNumberOfSwitchesIsOneFreshMerge) {
  using T = typename TestFixture::Scalar;
  Random random(121);
  const Index rows = 41, cols = 107;
  const auto w0 = reference::any_patterns<T, TypeParam::order>(random, rows, cols);
  auto w = w0;
  auto set = std::make_unique<Updates<typename TestFixture::Compute>>();
  this->add_random(*set, random, rows, cols);
  lora::UndoRecord record = lora::merge(w, *set);
  for (int i = 0; i < 25; ++i) {
    auto next = std::make_unique<Updates<typename TestFixture::Compute>>();
    this->add_random(*next, random, rows, cols);
    record = lora::switch_to(w, *set, record, *next);
    set = std::move(next);
    auto fresh = w0;
    const lora::UndoRecord fresh_record = lora::merge(fresh, *set);
    ASSERT_TRUE(reference::same_bits(fresh, w)) << "switch " << i;
    ASSERT_EQ(fresh_record.serialize(), record.serialize()) << "switch " << i;
  }
  lora::unmerge(w, *set, record);
  ASSERT_TRUE(reference::same_bits(w0, w));
}

TYPED_TEST(MergeLaws, MergingIsAddingDelta) {
  using T = typename TestFixture::Scalar;
  Random random(122);
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, 33, 71);
  Updates<typename TestFixture::Compute> set;
  set.add_gaussian(random, 33, 71, 4, 0.3);
  set.add_gaussian(random, 33, 71, 2, 0.1, -2);
  const auto change = lora::delta<typename TestFixture::Compute>(set, 33, 71);
  auto w = w0;
  lora::merge_plain(w, set);
  for (Index i = 0; i < 33; ++i)
    for (Index j = 0; j < 71; ++j)
      ASSERT_EQ(reference::bits(reference::merged(w0(i, j), change(i, j))), reference::bits(w(i, j)));
}

/// Both orders of memory hold the same numbers.
TYPED_TEST(MergeLaws, TheOrderInMemoryDoesNotMatter) {
  using T = typename TestFixture::Scalar;
  Random random(123);
  lora::Matrix<T> rows = reference::any_patterns<T>(random, 45, 77);
  lora::Matrix<T, lora::column_major> columns = rows;
  Updates<typename TestFixture::Compute> set;
  set.add_gaussian(random, 45, 77, 6, 0.2);
  lora::merge_plain(rows, set);
  lora::merge_plain(columns, set);
  EXPECT_TRUE(reference::same_bits(rows, columns));
}

/// An update's chain of R fused steps on products c B rounded once: |delta - exact| <= gamma sum |c B A|,
/// gamma = n u / (1 - n u) with n = R + 2 (one rounding of c, one of c B, R of the chain).
TYPED_TEST(MergeLaws, DeltaIsTheSumWithinItsRoundingErrors) {
  using C = typename TestFixture::Compute;
  Random random(124);
  Updates<C> set;
  set.add_gaussian(random, 29, 53, 7, 0.3, 1.7);
  set.add_gaussian(random, 29, 53, 12, 2.0, -0.4);
  const auto found = lora::delta<C>(set, 29, 53);
  const double n = (7 + 12 + 2) * this->unit;
  const double double_error = 40 * std::numeric_limits<double>::epsilon();  // of the sums this test makes itself
  double worst = 0;
  for (Index i = 0; i < 29; ++i)
    for (Index j = 0; j < 53; ++j) {
      const double bound = (n / (1 - n) + double_error) * this->absolute_sum(set, i, j);
      const double error = std::abs(static_cast<double>(found(i, j)) - this->exact(set, i, j));
      worst = std::max(worst, error / bound);
      ASSERT_LE(error, bound) << "(" << i << ", " << j << ")";
    }
  this->RecordProperty("worst_error_of_bound", std::to_string(worst));
}

/// delta(x S + y T) against x delta(S) + y delta(T): both are within their own bound of the exact sum.
TYPED_TEST(MergeLaws, DeltaIsLinearInTheCoefficients) {
  using C = typename TestFixture::Compute;
  Random random(125);
  const double x = 0.7, y = -1.3;
  Updates<C> first, second, both;
  first.add_gaussian(random, 29, 53, 5, 0.3);
  second.add_gaussian(random, 29, 53, 9, 0.3);
  both.add(first.low_rank(), x);
  both.add(second.low_rank(), y);
  const auto left = lora::delta<C>(both, 29, 53), a = lora::delta<C>(first, 29, 53), b = lora::delta<C>(second, 29, 53);
  const double n = 2 * (5 + 9 + 2) * this->unit, double_error = 4 * std::numeric_limits<double>::epsilon();
  double worst = 0;
  for (Index i = 0; i < 29; ++i)
    for (Index j = 0; j < 53; ++j) {
      const double right = x * static_cast<double>(a(i, j)) + y * static_cast<double>(b(i, j));
      const double bound = (n / (1 - n) + double_error) * this->absolute_sum(both, i, j);
      const double error = std::abs(static_cast<double>(left(i, j)) - right);
      worst = std::max(worst, error / bound);
      ASSERT_LE(error, bound) << "(" << i << ", " << j << ")";
    }
  this->RecordProperty("worst_error_of_bound", std::to_string(worst));
}

}  // namespace
