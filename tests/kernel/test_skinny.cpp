// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The forward pass of up to 32 columns equals the scalar reference in every bit.

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
class Skinny : public ForwardOrder<Layout> {};
TYPED_TEST_SUITE(Skinny, reference::Layouts);

TYPED_TEST(Skinny, EqualsTheReferenceAtAwkwardSizes) {
  using C = lora::compute_t<typename TypeParam::Scalar>;
  Random random(50);
  const Index shapes[][2] = {{0, 5},  {5, 0},  {1, 1},   {1, 16},  {16, 1},  {3, 15},  {7, 17},
                             {8, 16}, {9, 31}, {15, 33}, {17, 48}, {33, 65}, {64, 64}, {65, 7}};
  for (const auto& [rows, cols] : shapes)
    for (const Index batch : {1, 2, 3, 4, 5, 7, 9, 16, 17, 31, 32}) {
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

/// More rows and columns than the kernels take at once; threads with shares of their own.
TYPED_TEST(Skinny, EqualsTheReferenceForLargeWeightsAndAnyThreads) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(51);
  const Index shapes[][3] = {{9, 1100, 9}, {300, 40, 32}, {8300, 3, 1}, {70, 2100, 3}, {131, 1041, 2}};
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

TYPED_TEST(Skinny, EqualsTheReferenceForAnyBits) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(52);
  for (const Index batch : {1, 6, 17})
    for (const Index cols : {1, 2, 19, 40}) {
      const auto W = reference::any_patterns<T, TypeParam::order>(random, 37, cols);
      auto X = reference::gaussian<C>(random, cols, batch);
      if (cols < 20) X = reference::any_patterns<C>(random, cols, batch);
      Updates<C> updates;
      updates.add_gaussian(random, 37, cols, 2, 0.3);
      this->check(W, updates, {}, X);
      this->check(W, {}, {}, X);
    }
}

TYPED_TEST(Skinny, DoesNotDependOnTheCallersEnvironment) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(53);
  const double tiny = 50 * static_cast<double>(std::numeric_limits<T>::denorm_min());
  const double tiny_activation = 50 * static_cast<double>(std::numeric_limits<C>::denorm_min());
  auto W = reference::gaussian<T, TypeParam::order>(random, 150, 700);
  W.leftCols(300) = reference::gaussian<T, TypeParam::order>(random, 150, 300, tiny);
  lora::Matrix<C> X = reference::gaussian<C>(random, 700, 3);
  X.bottomRows(300) = reference::gaussian<C>(random, 300, 3, tiny_activation);
  X.col(2).head(400).setZero();  // nothing but small numbers, in the low-rank term, too
  Updates<C> updates;
  updates.add_gaussian(random, 150, 700, 3, 0.1);
  const lora::Matrix<C> expected = reference::forward<T, TypeParam::order>(W, updates, {}, X);
  lora::Linear<T, TypeParam::order> layer(W);
  layer.attach("a", *updates.set()[0].update);
  layer.activate({{"a", 1.0}});
  const Threads threads(2);

  lora::Activations<C> Y(150, 3);
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

}  // namespace
