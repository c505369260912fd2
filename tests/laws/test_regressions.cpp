// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Bugs seen in other implementations of low-rank adaptation, each as a test that fails where they have it.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

/// W' = s (W0 + B A) instead of W0 + s B A: right only when alpha = rank.
TEST(Regression, ScalingIsAppliedToTheUpdateAlone) {
  const lora::Matrix<float> B = lora::Matrix<float>::Ones(2, 1), A = lora::Matrix<float>::Ones(1, 3);
  Updates<float> set;
  set.add(lora::LowRank<float>(B, A, lora::scaling::alpha(4)));
  lora::Matrix<float> w = lora::Matrix<float>::Constant(2, 3, 10);
  lora::merge_plain(w, set);
  EXPECT_EQ(w, (lora::Matrix<float>::Constant(2, 3, 14)));
}

/// A merge that casts delta to the weight's type before the addition rounds twice.
TEST(Regression, A16BitMergeRoundsTheSumOnce) {
  // 256 + (1 + 2^-8): rounded at once to 258; with 1 + 2^-8 rounded to 1 first, the tie 257 goes to 256.
  const lora::Matrix<float> B = lora::Matrix<float>::Constant(1, 1, 1 + 0x1p-8f), A = lora::Matrix<float>::Ones(1, 1);
  Updates<float> set;
  set.add(lora::LowRank<float>(B, A, lora::scaling::fixed(1)));
  lora::Matrix<Eigen::bfloat16> w = lora::Matrix<Eigen::bfloat16>::Constant(1, 1, Eigen::bfloat16(256.0f));
  lora::merge_plain(w, set);
  EXPECT_EQ(reference::widen(w(0, 0)), 258.0f);
}

/// Six merge/unmerge cycles that subtract a recomputed delta change 4 to 9 % of the elements.
template <class T>
class Drift : public ::testing::Test {};
TYPED_TEST_SUITE(Drift, reference::Scalars);
TYPED_TEST(Drift, IsZeroAfterManyCycles) {
  using C = lora::compute_t<TypeParam>;
  Random random(130);
  const lora::Matrix<TypeParam> w0 = reference::gaussian<TypeParam>(random, 64, 256, 0.02);
  Updates<C> set;
  set.add_gaussian(random, 64, 256, 16, 0.0006);
  lora::Matrix<TypeParam> exact = w0, subtracted = w0;
  const lora::Matrix<C> change = lora::delta<C>(set, 64, 256);
  for (int cycle = 0; cycle < 6; ++cycle) {
    const lora::UndoRecord record = lora::merge(exact, set);
    lora::unmerge(exact, set, record);
    for (Index i = 0; i < w0.size(); ++i)
      subtracted.data()[i] =
          reference::candidate(reference::merged(subtracted.data()[i], change.data()[i]), change.data()[i]);
  }
  EXPECT_TRUE(reference::same_bits(w0, exact));
  EXPECT_FALSE(reference::same_bits(w0, subtracted)) << "this test cannot fail";
}

/// Different ranks and negative weights are an ordinary sum, without cross terms between the updates.
TEST(Regression, DifferentRanksAndNegativeWeightsAddUp) {
  const lora::Matrix<double> B1 = lora::Matrix<double>::Constant(2, 1, 3), A1 = lora::Matrix<double>::Constant(1, 2, 5);
  const lora::Matrix<double> B2 = lora::Matrix<double>::Constant(2, 3, 1), A2 = lora::Matrix<double>::Constant(3, 2, 2);
  Updates<double> set;
  set.add(lora::LowRank<double>(B1, A1, lora::scaling::fixed(1)), -2);
  set.add(lora::LowRank<double>(B2, A2, lora::scaling::fixed(1)), 0.5);
  EXPECT_EQ(lora::delta<double>(set, 2, 2), (lora::Matrix<double>::Constant(2, 2, -2 * 15 + 0.5 * 6)));
}

/// Scalings or factors that changed between merge and unmerge corrupt the weight elsewhere; here they are refused.
TEST(Regression, AChangedScalingIsRefusedByUnmerge) {
  Random random(131);
  const lora::Matrix<float> w0 = reference::gaussian<float>(random, 9, 9);
  Updates<float> merged, changed;
  merged.add_gaussian(random, 9, 9, 2, 0.1);
  changed.add(lora::LowRank<float>(merged.low_rank().B(), merged.low_rank().A(), lora::scaling::alpha(8)));
  lora::Matrix<float> w = w0;
  const lora::UndoRecord record = lora::merge(w, merged);
  EXPECT_THROW(lora::unmerge(w, changed, record), lora::RecordError);
  lora::unmerge(w, merged, record);
  EXPECT_TRUE(reference::same_bits(w0, w));
}

/// A set of which a later update does not fit must not have been applied in part.
TEST(Regression, NothingIsAppliedWhenOneShapeIsBad) {
  Random random(132);
  const lora::Matrix<float> w0 = reference::gaussian<float>(random, 9, 9);
  Updates<float> set;
  set.add_gaussian(random, 9, 9, 2, 0.1);
  set.add_gaussian(random, 9, 8, 2, 0.1);
  lora::Matrix<float> w = w0;
  EXPECT_THROW(static_cast<void>(lora::merge(w, set)), lora::ShapeError);
  EXPECT_TRUE(reference::same_bits(w0, w));
}

/// Merging while another set is merged stacks the second on top: unmerging in reverse order must still end at W0.
TEST(Regression, NestedMergesComeApartInReverse) {
  Random random(133);
  const lora::Matrix<Eigen::bfloat16> w0 = reference::gaussian<Eigen::bfloat16>(random, 40, 40);
  Updates<float> first, second;
  first.add_gaussian(random, 40, 40, 2, 0.3);
  second.add_gaussian(random, 40, 40, 3, 0.3);
  lora::Matrix<Eigen::bfloat16> w = w0;
  const lora::UndoRecord one = lora::merge(w, first);
  const lora::UndoRecord two = lora::merge(w, second);
  EXPECT_THROW(lora::unmerge(w, first, one), lora::RecordError);
  lora::unmerge(w, second, two);
  lora::unmerge(w, first, one);
  EXPECT_TRUE(reference::same_bits(w0, w));
}

}  // namespace
