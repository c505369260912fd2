// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Updates out of weights that were trained as a whole.

#include "compose/dense.hpp"
#include "reference/expect.hpp"

#include <lora/compose/row_svd.hpp>

namespace {

using namespace dense;
using compose::Truncation;
using reference::message_of;

TEST(Extract, GivesTheBestUpdateOfItsRank) {
  reference::Random random(1);
  const lora::Matrix<float> W0 = reference::gaussian<float>(random, 40, 30, 0.02);
  const lora::Matrix<Eigen::bfloat16> base = W0.cast<Eigen::bfloat16>();
  const lora::Matrix<float, lora::column_major> tuned = W0 + reference::gaussian<float>(random, 40, 30, 0.01);
  const Doubles change = tuned.cast<double>() - base.cast<float>().cast<double>();
  const Svd all = svd(change);
  for (const Index R : {1, 5, 30}) {
    const auto made = compose::extract(tuned, base, Truncation::rank(R));
    EXPECT_EQ(made.update.rank(), R);
    EXPECT_LE(std::abs((change - delta(made)).norm() - all.s.tail(30 - R).norm()), made.rounding);
    EXPECT_NEAR(made.error, all.s.tail(30 - R).norm(), made.rounding);
    EXPECT_NEAR(made.norm, change.norm(), made.rounding);
  }
}

TEST(Extract, FindsTheUpdateThatWasMergedIntoALargeWeight) {
  reference::Random random(2);
  const Index rows = 560, cols = 530;  // more than is decomposed whole
  const lora::Matrix<float> W0 = reference::gaussian<float>(random, rows, cols, 0.02);
  const lora::Matrix<double> B = reference::gaussian<double>(random, rows, 4),
                             A = reference::gaussian<double>(random, 4, cols, 0.01);
  const lora::Matrix<double> tuned = W0.cast<double>() + B * A;
  const auto made = compose::extract(tuned, W0, Truncation::rank(4));
  EXPECT_LE((delta(made) - Doubles(B * A)).norm(), 1e-10 * (B * A).norm());
  // Out of ||M||^2 - ||M V||^2, which can be told to the root of the unit roundoff.
  EXPECT_LE(made.relative_error(), 1e-7);
  EXPECT_EQ(compose::extract(tuned, W0, Truncation::energy(0.999999)).update.rank(), 4);
}

TEST(Extract, KeepsAnEnergyUpToARank) {
  reference::Random random(4);
  for (const Index size : {40, 600}) {  // decomposed whole, and in Krylov spaces
    const lora::Matrix<double> base = lora::Matrix<double>::Zero(size, size);
    lora::Matrix<double> tuned = base;
    for (Index i = 0; i < 6; ++i) tuned(i, (i * 7) % size) = 6.0 - static_cast<double>(i);  // 36 25 16 9 4 1 of 91
    EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(0.8)).update.rank(), 3);
    EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(0.8, 2)).update.rank(), 2);
    EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(0.8, 9)).update.rank(), 3);
    EXPECT_NEAR(compose::extract(tuned, base, Truncation::energy(0.8, 2)).error, std::sqrt(30.0), 1e-6);
    for (const double tiny : {1e-3, 1e-16, 1e-20, 5e-324}) {
      EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(tiny)).update.rank(), 1) << tiny;
      EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(tiny, 2)).update.rank(), 1) << tiny;
    }
    EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(1)).update.rank(), 6);
    EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(1, 4)).update.rank(), 4);
    EXPECT_EQ(compose::extract(tuned, base, Truncation::energy(1, 9)).update.rank(), 6);
  }
  EXPECT_THROW((void)Truncation::energy(0.8, 0), lora::ValueError);
}

/// As many passes over a large matrix as its rank takes, not as many as all 64 directions that are looked for at first would.
TEST(Extract, AnEnergyTakesNoMorePassesThanItsRank) {
  const Index size = 600;
  reference::Random random(5);
  const Doubles noise = reference::gaussian<double>(random, size, size, 1e-3);
  const auto passes_of = [&](const Truncation& truncation, Index rank) {
    int passes = 0;
    const auto fill = [&](Index first, Index count, double* out) {
      passes += first == 0 ? 1 : 0;
      for (Index i = first; i < first + count; ++i)
        for (Index j = 0; j < size; ++j) *out++ = noise(i, j) + (i == j && i < 6 ? 6.0 - static_cast<double>(i) : 0.0);
    };
    EXPECT_EQ(lora::detail::truncated_svd({size, size, fill}, truncation).kept.size(), rank);
    return passes;
  };
  EXPECT_LE(passes_of(Truncation::energy(0.8), 3), passes_of(Truncation::rank(3), 3));
}

TEST(Extract, OfNoChangeIsZero) {
  const lora::Matrix<float> W = lora::Matrix<float>::Ones(5, 4);
  const auto made = compose::extract(W, W, Truncation::none());
  EXPECT_EQ(made.update.rank(), 1);
  EXPECT_EQ(delta(made).norm(), 0.0);
}

TEST(Extract, RefusesWhatDoesNotFit) {
  lora::Matrix<float> W = lora::Matrix<float>::Ones(5, 4);
  const lora::Matrix<float> other = lora::Matrix<float>::Ones(4, 5);
  EXPECT_THROW((void)compose::extract(W, other, Truncation::rank(1)), lora::ShapeError);
  const lora::Matrix<float> base = W;
  W(3, 2) = std::numeric_limits<float>::infinity();
  const std::string message =
      message_of<lora::ValueError>([&] { (void)compose::extract(W, base, Truncation::rank(1)); });
  EXPECT_NE(message.find("infinity at (3, 2)"), std::string::npos) << message;
  const lora::Matrix<float> nothing(0, 4);
  EXPECT_THROW((void)compose::extract(nothing, nothing, Truncation::rank(1)), lora::ShapeError);
}

}  // namespace
