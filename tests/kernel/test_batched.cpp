// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The forward pass of many columns equals the scalar reference in every bit, and so the one of few.

#include "kernel/forward_order.hpp"

#include <cfenv>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace {

using lora::Index;
using reference::Random;
using reference::Threads;
using reference::Updates;

template <class Layout>
class Batched : public ForwardOrder<Layout> {};
TYPED_TEST_SUITE(Batched, reference::Layouts);

/// Around the sizes of groups, tiles, blocks and panels; more columns than are taken at once.
TYPED_TEST(Batched, EqualsTheReferenceAtAwkwardSizes) {
  using C = lora::compute_t<typename TypeParam::Scalar>;
  Random random(60);
  const Index shapes[][3] = {{0, 5, 50},   {5, 0, 50},    {1, 1, 41},   {1, 16, 48},  {7, 15, 49},   {8, 17, 63},
                             {9, 63, 64},  {15, 64, 65},  {16, 65, 70}, {17, 127, 96}, {31, 128, 97}, {33, 129, 41},
                             {64, 31, 47}, {65, 513, 50}, {66, 16, 257}, {3, 40, 300}};
  for (const auto& [rows, cols, batch] : shapes) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch);
    const auto W = reference::gaussian<typename TypeParam::Scalar, TypeParam::order>(random, rows, cols);
    Updates<C> updates;
    if (batch % 2 == 1) updates.add_gaussian(random, rows, cols, 1 + random.below(20), 0.3, -0.7);
    if (batch % 3 == 1) {
      updates.add_gaussian(random, rows, cols, 2, 1, 0);
      updates.add_gaussian(random, rows, cols, 3, 0.1);
    }
    this->check(W, updates, batch % 4 < 2 ? this->random_bias(random, rows) : std::vector<C>{},
                reference::gaussian<C>(random, cols, batch));
  }
}

/// More rows than have their results in the cache; so many columns that fewer of X are taken; threads with shares of their own.
TYPED_TEST(Batched, EqualsTheReferenceForLargeWeightsAndAnyThreads) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(61);
  const Index shapes[][3] = {{300, 20, 256}, {700, 40, 48}, {131, 1041, 50}, {5, 17000, 70}};
  for (const auto& [rows, cols, batch] : shapes) {
    const auto W = reference::gaussian<T, TypeParam::order>(random, rows, cols);
    Updates<C> updates;
    updates.add_gaussian(random, rows, cols, 5, 0.1);
    const std::vector<C> bias = this->random_bias(random, rows);
    const auto X = reference::gaussian<C>(random, cols, batch);
    const auto expected = reference::forward<T, TypeParam::order>(W, updates.set(), bias, X);
    for (const int count : {1, 2, 3}) {
      const Threads threads(count);
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch << ", " << count << " threads");
      this->check(W, updates, bias, X, expected);
    }
  }
}

TYPED_TEST(Batched, EqualsTheReferenceForAnyBits) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(62);
  for (const Index cols : {2, 19, 40}) {
    const auto W = reference::any_patterns<T, TypeParam::order>(random, 37, cols);
    auto X = reference::gaussian<C>(random, cols, 45);
    if (cols < 20) X = reference::any_patterns<C>(random, cols, 45);
    Updates<C> updates;
    updates.add_gaussian(random, 37, cols, 2, 0.3);
    this->check(W, updates, {}, X);
    this->check(W, {}, {}, X);
  }
}

TYPED_TEST(Batched, DoesNotDependOnTheCallersEnvironment) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(63);
  const double tiny = 50 * static_cast<double>(std::numeric_limits<T>::denorm_min());
  const double tiny_activation = 50 * static_cast<double>(std::numeric_limits<C>::denorm_min());
  auto W = reference::gaussian<T, TypeParam::order>(random, 70, 300);
  W.leftCols(100) = reference::gaussian<T, TypeParam::order>(random, 70, 100, tiny);
  lora::Matrix<C> X = reference::gaussian<C>(random, 300, 50);
  X.bottomRows(100) = reference::gaussian<C>(random, 100, 50, tiny_activation);
  X.topLeftCorner(200, 20).setZero();  // nothing but small numbers, in the low-rank term, too
  Updates<C> updates;
  updates.add_gaussian(random, 70, 300, 3, 0.1);
  const lora::Matrix<C> expected = reference::forward<T, TypeParam::order>(W, updates.set(), {}, X);
  lora::Linear<T, TypeParam::order> layer(W);
  layer.attach("a", *updates.set()[0].update);
  layer.activate({{"a", 1.0}});
  const Threads threads(2);

  lora::Activations<C> Y(70, 50);
  std::fesetround(FE_UPWARD);
  layer.forward_into(X, Y);
  const int rounding = std::fegetround();
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(rounding, FE_UPWARD);
  EXPECT_TRUE(reference::same_bits(expected, Y));
#if defined(__SSE__)
  Y.setZero();
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040u);
  layer.forward_into(X, Y);
  const unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  EXPECT_EQ(after, before | 0x8040u);
  EXPECT_TRUE(reference::same_bits(expected, Y));
#endif
}

/// Any layout and scalar type of X and Y.
TYPED_TEST(Batched, TakesAnyActivations) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(64);
  const auto W = reference::gaussian<T, TypeParam::order>(random, 37, 70);
  const lora::Linear<T, TypeParam::order> layer(W);
  const auto check = [&]<class X>(const X& x) {
    SCOPED_TRACE(lora::name(lora::detail::ScalarTraits<typename X::Scalar>::type));
    const lora::Matrix<C> wide = x.unaryExpr([](auto value) { return lora::detail::convert<C>(value); });
    const lora::Matrix<C> expected = reference::forward<T, TypeParam::order>(W, {}, {}, wide);
    lora::Matrix<C> by_rows(37, x.cols());
    layer.forward_into(x, by_rows);
    EXPECT_TRUE(reference::same_bits(expected, by_rows));
    lora::Activations<C> larger(40, 2 * x.cols());
    Eigen::Map<lora::Activations<C>, 0, Eigen::OuterStride<>> strided(larger.data() + 1, 37, x.cols(),
                                                                      Eigen::OuterStride<>(80));
    layer.forward_into(x, strided);
    EXPECT_TRUE(reference::same_bits(expected, strided));
  };
  check(reference::gaussian<C>(random, 70, 50));
  check(reference::gaussian<C, lora::column_major>(random, 72, 99).middleRows(1, 70));
  check(reference::gaussian<T, lora::column_major>(random, 70, 50));
  if constexpr (std::is_same_v<T, double>) check(reference::gaussian<float, lora::column_major>(random, 70, 50));

  const auto X = reference::gaussian<T, lora::column_major>(random, 70, 50);
  lora::Activations<T> narrow(37, 50);
  layer.forward_into(X, narrow);
  const lora::Activations<T> rounded =
      layer.forward(X).unaryExpr([](C value) { return lora::detail::convert<T>(value); });
  EXPECT_TRUE(reference::same_bits(rounded, narrow));
}

}  // namespace
