// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The forward pass of many columns equals the scalar reference in every bit, and so the one of few.

#include "kernel/forward_order.hpp"

namespace {

using lora::Index;
using reference::Random;

template <class Layout>
class Wide : public ForwardOrder<Layout> {};
TYPED_TEST_SUITE(Wide, reference::Layouts);

/// Around the sizes of groups, tiles, blocks and panels; more columns than are taken at once.
TYPED_TEST(Wide, EqualsTheReferenceAtAwkwardSizes) {
  Random random(60);
  const Index shapes[][3] = {{0, 5, 50},   {5, 0, 50},    {1, 1, 41},    {1, 16, 48},   {7, 15, 49},   {8, 17, 63},
                             {9, 63, 64},  {15, 64, 65},  {16, 65, 70},  {17, 127, 96}, {31, 128, 97}, {33, 129, 41},
                             {64, 31, 47}, {65, 513, 50}, {66, 16, 257}, {3, 40, 300}};
  for (const auto& [rows, cols, batch] : shapes) this->check(random, rows, cols, batch);
}

/// More rows than have their results in the cache; so many columns that fewer of X are taken; threads with shares of their own.
TYPED_TEST(Wide, EqualsTheReferenceForLargeWeightsAndAnyThreads) {
  Random random(61);
  const Index shapes[][3] = {{300, 20, 256}, {700, 40, 48}, {131, 1041, 50}, {5, 17000, 70}};
  for (const auto& [rows, cols, batch] : shapes) this->check_threads(random, rows, cols, batch);
}

TYPED_TEST(Wide, EqualsTheReferenceForAnyBits) {
  Random random(62);
  for (const Index cols : {2, 19, 40}) this->check_any_bits(random, cols, 45);
}

TYPED_TEST(Wide, DoesNotDependOnTheCallersEnvironment) {
  Random random(63);
  this->check_environment(random, 70, 300, 50, 100, 20);
}

/// Any layout and scalar type of X and Y.
TYPED_TEST(Wide, TakesAnyActivations) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(64);
  const auto W = reference::gaussian<T, TypeParam::order>(random, 37, 70);
  const lora::Linear<T, TypeParam::order> layer(W);
  const auto check = [&]<class X>(const X& x) {
    SCOPED_TRACE(lora::name(lora::detail::ScalarTraits<typename X::Scalar>::type));
    const lora::Matrix<C> expected = reference::forward<T, TypeParam::order>(W, {}, {}, x);
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
