// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/update/low_rank.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <cfenv>

namespace {

using lora::Index;
using reference::Random;

TEST(ScalingTest, RulesGiveTheirFormula) {
  EXPECT_EQ(lora::scaling::alpha(16)(8), 2.0);
  EXPECT_EQ(lora::scaling::alpha(1)(3), 1.0 / 3.0);
  EXPECT_EQ(lora::scaling::rank_stabilized(16)(4), 8.0);
  EXPECT_EQ(lora::scaling::rank_stabilized(1)(2), 1.0 / std::sqrt(2.0));
  EXPECT_EQ(lora::scaling::fixed(0.3)(1000), 0.3);
  EXPECT_EQ(lora::scaling::alpha(-4)(8), -0.5);
}

TEST(ScalingTest, DoesNotDependOnTheCallersRounding) {
  volatile double one = 1;  // or the compiler computes all of it, to nearest
  const double divided = lora::scaling::alpha(one)(3), root = lora::scaling::rank_stabilized(one)(3);
  std::fesetround(FE_DOWNWARD);
  const double divided_downward = lora::scaling::alpha(one)(3);
  const double root_downward = lora::scaling::rank_stabilized(one)(3);
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(divided, divided_downward);
  EXPECT_EQ(root, root_downward);
}

TEST(ScalingTest, ResultMustBeFinite) {
  EXPECT_THROW(lora::scaling::fixed(std::numeric_limits<double>::infinity())(1), lora::ValueError);
  EXPECT_THROW(lora::scaling::alpha(std::numeric_limits<double>::quiet_NaN())(4), lora::ValueError);
}

template <class T>
class LowRank : public ::testing::Test {};
TYPED_TEST_SUITE(LowRank, reference::Scalars);

TYPED_TEST(LowRank, HoldsWhatItWasGiven) {
  Random random(110);
  const auto B = reference::gaussian<TypeParam>(random, 5, 3), A = reference::gaussian<TypeParam>(random, 3, 7);
  const lora::LowRank<TypeParam> update(B, A, lora::scaling::alpha(6));
  EXPECT_EQ(update.rows(), 5);
  EXPECT_EQ(update.cols(), 7);
  EXPECT_EQ(update.rank(), 3);
  EXPECT_EQ(update.scaling(), 2.0);
  EXPECT_TRUE(reference::same_bits(B, update.B()));
  EXPECT_TRUE(reference::same_bits(A, update.A()));
}

TYPED_TEST(LowRank, DeltaIsTheReferencesChain) {
  using C = lora::compute_t<TypeParam>;
  Random random(111);
  for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 1}, {8, 32}, {9, 33}, {67, 1030}, {0, 4}, {4, 0}}) {
    const lora::LowRank<TypeParam> update(reference::gaussian<TypeParam>(random, rows, 5),
                                          reference::gaussian<TypeParam>(random, 5, cols),
                                          lora::scaling::rank_stabilized(3));
    const lora::LowRank<C> wide = update.template cast<C>();
    for (const double coefficient : {1.0, -0.3, 0.0}) {
      const lora::ActiveSet<C> set({wide, coefficient});
      EXPECT_TRUE(reference::same_bits(reference::delta<C>(set, rows, cols), lora::delta(update, coefficient)));
    }
  }
}

TYPED_TEST(LowRank, ShapesAndRankAreChecked) {
  using Factor = lora::Matrix<TypeParam>;
  const Factor B = Factor::Zero(4, 2), A = Factor::Zero(3, 5), none = Factor::Zero(4, 0), nothing = Factor::Zero(0, 5);
  try {
    lora::LowRank<TypeParam>(B, A, lora::scaling::fixed(1));
    FAIL();
  } catch (const lora::ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("expected A with 2 rows, found 3 x 5"), std::string::npos) << error.what();
  }
  EXPECT_THROW(lora::LowRank<TypeParam>(none, nothing, lora::scaling::fixed(1)), lora::ValueError);
}

TYPED_TEST(LowRank, FactorsMustBeFinite) {
  Random random(112);
  const auto B = reference::gaussian<TypeParam>(random, 4, 2), A = reference::gaussian<TypeParam>(random, 2, 5);
  for (const auto pattern : {reference::infinity<TypeParam>, reference::quiet_nan<TypeParam>,
                             static_cast<reference::Bits<TypeParam>>(reference::infinity<TypeParam> + 1)}) {
    auto bad = A;
    bad(1, 3) = std::bit_cast<TypeParam>(pattern);
    try {
      lora::LowRank<TypeParam>(B, bad, lora::scaling::fixed(1));
      FAIL();
    } catch (const lora::ValueError& error) {
      const bool infinite = pattern == reference::infinity<TypeParam>;
      EXPECT_NE(std::string(error.what()).find(infinite ? "A: expected finite numbers, found infinity at (1, 3)" : "A: expected finite numbers, found NaN at (1, 3)"), std::string::npos)
          << error.what();
    }
  }
  EXPECT_THROW((lora::LowRank<TypeParam>(B, A, lora::scaling::fixed(std::numeric_limits<double>::infinity()))),
               lora::ValueError);
}

TYPED_TEST(LowRank, CastToAWiderTypeIsExact) {
  Random random(113);
  const lora::LowRank<TypeParam> update(reference::gaussian<TypeParam>(random, 30, 20),
                                        reference::gaussian<TypeParam>(random, 20, 30), lora::scaling::alpha(3));
  const lora::LowRank<double> wide = update.template cast<double>();
  EXPECT_EQ(wide.scaling(), update.scaling());
  for (Index i = 0; i < 30; ++i)
    for (Index k = 0; k < 20; ++k) ASSERT_EQ(wide.B()(i, k), static_cast<double>(reference::widen(update.B()(i, k))));
  EXPECT_TRUE(reference::same_bits(update.B(), wide.template cast<TypeParam>().B()));
}

TEST(LowRankCast, RoundsOnceFromDouble) {
  // Just above a tie; the float nearest to each is the tie itself.
  const lora::Matrix<double> B = lora::Matrix<double>::Constant(1, 1, 1 + 0x1p-11 + 0x1p-40);
  const lora::Matrix<double> A = lora::Matrix<double>::Constant(1, 1, 1 + 0x1p-8 + 0x1p-40);
  const lora::LowRank<double> update(B, A, lora::scaling::fixed(1));
  EXPECT_EQ(reference::bits(update.cast<Eigen::half>().B()(0, 0)), 0x3c01);
  EXPECT_EQ(reference::bits(update.cast<Eigen::bfloat16>().A()(0, 0)), 0x3f81);
}

TEST(LowRankCast, DoesNotDependOnTheCallersRounding) {
  const lora::LowRank<double> update(lora::Matrix<double>::Constant(1, 1, 1.0 / 3), lora::Matrix<double>::Ones(1, 1), lora::scaling::fixed(1));
  const float nearest = update.cast<float>().B()(0, 0);
  std::fesetround(FE_DOWNWARD);
  const float downward = update.cast<float>().B()(0, 0);
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(nearest, downward);
}

TEST(LowRankCast, OverflowIsRefused) {
  const lora::Matrix<float> B = lora::Matrix<float>::Constant(2, 1, 70000.0f), A = lora::Matrix<float>::Ones(1, 2);
  EXPECT_THROW(lora::LowRank<float>(B, A, lora::scaling::fixed(1)).cast<Eigen::half>(), lora::ValueError);
  const lora::Matrix<double> large = lora::Matrix<double>::Constant(2, 1, 1e39);
  EXPECT_THROW(lora::LowRank<double>(large, A.cast<double>(), lora::scaling::fixed(1)).cast<float>(), lora::ValueError);
}

/// Of two factors that are wrong the first is named, whatever the compiler evaluates first.
TEST(LowRankErrors, NameBBeforeA) {
  lora::Matrix<float> B = lora::Matrix<float>::Ones(3, 2), A = lora::Matrix<float>::Ones(2, 4);
  B(1, 1) = A(0, 2) = std::numeric_limits<float>::infinity();
  try {
    const lora::LowRank<float> update(B, A, lora::scaling::alpha(1));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const lora::ValueError& error) {
    EXPECT_NE(std::string(error.what()).find("LowRank: B"), std::string::npos) << error.what();
  }
}

}  // namespace
