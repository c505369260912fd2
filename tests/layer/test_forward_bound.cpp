// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// The bound on |merged forward - unmerged forward|: it holds for the library's forward pass and for plain loops in any
/// order, and it is not much larger than what can happen.

#include "reference/random.hpp"

#include <lora/layer/forward_bound.hpp>
#include <lora/update/dense.hpp>
#include <lora/update/ia3.hpp>

#include <gtest/gtest.h>

#include <numeric>

using lora::Index;
using reference::Random;

namespace {

template <class Type, lora::StorageOrder StorageOrder>
struct Case {
  using T = Type;
  static constexpr lora::StorageOrder order = StorageOrder;
};

template <class C>
class ForwardBound : public testing::Test {};
using Cases = testing::Types<Case<Eigen::half, lora::row_major>, Case<Eigen::bfloat16, lora::row_major>,
                             Case<float, lora::row_major>, Case<double, lora::row_major>,
                             Case<Eigen::half, lora::column_major>, Case<Eigen::bfloat16, lora::column_major>,
                             Case<float, lora::column_major>, Case<double, lora::column_major>>;
TYPED_TEST_SUITE(ForwardBound, Cases);

/// The largest part of its bound that an element of |a - b| is.
template <class Compute>
double worst_ratio(const lora::Activations<Compute>& a, const lora::Activations<Compute>& b,
                   const lora::Activations<double>& bound) {
  double worst = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]));
    if (difference != 0) worst = std::max(worst, difference / bound.data()[i]);
  }
  return worst;
}

/// Sum of W(i, j) X(j, c) in the order given, every product and sum rounded, or with fused multiply-adds.
template <class Compute, class W>
Compute plain_row(const W& weight, Index i, const lora::Activations<Compute>& X, Index c,
                  const std::vector<Index>& order, bool fused) {
  Compute sum = 0;
  for (const Index j : order) {
    const auto w = static_cast<Compute>(lora::detail::widen(weight(i, j)));
    if (fused) {
      sum = std::fma(w, X(j, c), sum);
    } else {
      const volatile Compute product = w * X(j, c);
      sum += product;
    }
  }
  return sum;
}

TEST(ForwardBoundOfLayer, IsThatOfItsWeightAndActiveSet) {
  reference::Random random(11);
  const auto W0 = reference::gaussian<float>(random, 9, 14);
  const lora::LowRank<float> update(reference::gaussian<float>(random, 9, 2),
                                    reference::gaussian<float>(random, 2, 14), lora::scaling::fixed(1));
  lora::Linear<float> layer(W0);
  layer.attach("u", update);
  layer.activate({{"u", 0.5}});
  const lora::Activations<float> X = lora::Activations<float>::Ones(14, 3);
  const lora::ActiveSet<float> set({update, 0.5});
  EXPECT_TRUE(lora::forward_bound(layer, X) == lora::forward_bound(W0, set, X));
  layer.merge();
  EXPECT_THROW(lora::forward_bound(layer, X), lora::StateError);
}

}  // namespace

TYPED_TEST(ForwardBound, HoldsForTheLayersForwardPass) {
  using T = typename TypeParam::T;
  using Compute = lora::compute_t<T>;
  Random random(1);
  for (const auto& [out, in, batch] :
       {std::array<Index, 3>{1, 1, 1}, {5, 3, 2}, {17, 64, 4}, {33, 200, 1}, {64, 500, 16}})
    for (const double size : {1e-7, 1e-3, 0.1, 10.0}) {
      const lora::Matrix<T, TypeParam::order> W0 = reference::gaussian<T, TypeParam::order>(random, out, in);
      reference::Updates<Compute> updates;
      updates.add_gaussian(random, out, in, 1 + random.below(8), size, 1.0);
      updates.add_gaussian(random, out, in, 1 + random.below(8), size, -0.5);
      const auto X = reference::gaussian<Compute, lora::column_major>(random, in, batch);
      const auto bias = reference::gaussian<Compute, lora::column_major>(random, out, 1);

      lora::Linear<T, TypeParam::order> layer(W0, bias);
      layer.attach("0", updates.low_rank(0));
      layer.attach("1", updates.low_rank(1));
      layer.activate({{"0", 1.0}, {"1", -0.5}});
      const auto unmerged = layer.forward(X);
      layer.merge();
      const auto bound = lora::forward_bound(W0, updates.set(), X, layer.bias());
      EXPECT_LE(worst_ratio<Compute>(unmerged, layer.forward(X), bound), 1.0)
          << out << " x " << in << ", batch " << batch << ", delta " << size;
    }
}

TYPED_TEST(ForwardBound, HoldsForDensePartsAndGainsOfBothAxes) {
  using T = typename TypeParam::T;
  using Compute = lora::compute_t<T>;
  Random random(7);
  for (const auto& [out, in, batch] : {std::array<Index, 3>{3, 2, 1}, {17, 64, 4}, {33, 200, 1}, {64, 300, 16}})
    for (const double size : {1e-3, 0.1, 10.0}) {
      const lora::Matrix<T, TypeParam::order> W0 = reference::gaussian<T, TypeParam::order>(random, out, in);
      reference::Updates<Compute> updates;
      updates.add_gaussian(random, out, in, 1 + random.below(8), size, 1.0);
      const auto X = reference::gaussian<Compute, lora::column_major>(random, in, batch);
      const lora::Matrix<Compute> D = static_cast<Compute>(size) *
                                      reference::gaussian<Compute, lora::row_major>(random, out, in),
                                  columns = reference::gaussian<Compute, lora::row_major>(random, 1, in),
                                  rows = reference::gaussian<Compute, lora::row_major>(random, out, 1);
      lora::Linear<T, TypeParam::order> layer(W0);
      layer.attach("low rank", updates.low_rank(0));
      layer.attach("dense", lora::Dense<Compute>(D));
      layer.attach("columns", lora::IA3<Compute>(columns).sized(out, in));
      layer.attach("rows", lora::IA3<Compute>(rows).sized(out, in));
      for (const std::vector<lora::ActiveName>& active :
           {std::vector<lora::ActiveName>{{"dense", 1.0}},
            {{"columns", 1.0}},
            {{"columns", 0.5}, {"low rank", 1.0}},
            {{"dense", -0.5}, {"low rank", 1.0}, {"rows", 1.0}, {"columns", 1.0}}}) {
        layer.activate(active);
        const auto unmerged = layer.forward(X);
        const auto bound = lora::forward_bound(layer, X);
        layer.merge();
        EXPECT_LE(worst_ratio<Compute>(unmerged, layer.forward(X), bound), 1.0)
            << out << " x " << in << ", batch " << batch << ", delta " << size << ", " << active.size() << " updates";
        layer.unmerge();
      }
    }
}

TYPED_TEST(ForwardBound, HoldsForEveryOrderOfSummation) {
  using T = typename TypeParam::T;
  using Compute = lora::compute_t<T>;
  Random random(2);
  const Index out = 7, in = 90, batch = 3;
  std::vector<Index> order(in);
  std::iota(order.begin(), order.end(), Index{0});
  for (int round = 0; round < 20; ++round) {
    const lora::Matrix<T, TypeParam::order> W0 = reference::gaussian<T, TypeParam::order>(random, out, in);
    reference::Updates<Compute> updates;
    updates.add_gaussian(random, out, in, 4, 0.05, 2.0);
    const auto X = reference::gaussian<Compute, lora::column_major>(random, in, batch);
    const auto bound = lora::forward_bound(W0, updates.set(), X);
    lora::Matrix<T, TypeParam::order> merged = W0;
    lora::merge_plain(merged, updates.set());

    const lora::LowRank<Compute>& update = updates.low_rank(0);
    const auto scale = static_cast<Compute>(update.scaling() * 2.0);
    std::vector<Index> rank_order{0, 1, 2, 3};
    lora::Activations<Compute> a(out, batch), b(out, batch);
    for (Index c = 0; c < batch; ++c) {
      for (Index j = in; j > 1; --j)
        std::swap(order[static_cast<std::size_t>(j - 1)], order[static_cast<std::size_t>(random.below(j))]);
      lora::Activations<Compute> H(4, 1);
      // The scale may stand with A's product as well as with B.
      for (Index k = 0; k < 4; ++k) H(k, 0) = scale * plain_row<Compute>(update.A(), k, X, c, order, round % 2 == 0);
      for (Index i = 0; i < out; ++i) {
        a(i, c) = plain_row<Compute>(W0, i, X, c, order, round % 2 == 0) +
                  plain_row<Compute>(update.B(), i, H, 0, rank_order, round % 3 == 0);
        b(i, c) = plain_row<Compute>(merged, i, X, c, order, round % 5 == 0);
      }
    }
    EXPECT_LE(worst_ratio<Compute>(a, b, bound), 1.0);
  }
}

TEST(ForwardBoundTightness, OneElementCanNearlyReachIt) {
  // 1 + 2^-8 is a tie in bfloat16 and rounds to 1: all of delta is lost.
  const lora::Matrix<Eigen::bfloat16> W0 = lora::Matrix<Eigen::bfloat16>::Constant(1, 1, Eigen::bfloat16(1.0f));
  const lora::LowRank<float> update(lora::Matrix<float>::Constant(1, 1, 0x1p-8f), lora::Matrix<float>::Ones(1, 1), lora::scaling::fixed(1));
  const lora::ActiveSet<float> set(update);
  const lora::Activations<float> X = lora::Activations<float>::Ones(1, 1);
  const double bound = lora::forward_bound(W0, set, X)(0, 0);
  EXPECT_GE(bound, 0x1p-8);
  EXPECT_LE(bound, 0x1.03p-8);
}

TEST(ForwardBoundTightness, DenormalsOfHalfAreCovered) {
  // Below half of the least denormal everything becomes 0: no part of the numbers bounds that.
  const lora::Matrix<Eigen::half> W0 = lora::Matrix<Eigen::half>::Zero(1, 4);
  const lora::LowRank<float> update(lora::Matrix<float>::Constant(1, 1, 0x1.fep-26f), lora::Matrix<float>::Ones(1, 4), lora::scaling::fixed(1));
  const lora::ActiveSet<float> set(update);
  const lora::Activations<float> X = lora::Activations<float>::Constant(4, 1, 3.0f);
  const double lost = 12 * 0x1.fep-26, bound = lora::forward_bound(W0, set, X)(0, 0);
  EXPECT_GE(bound, lost);
  EXPECT_LE(bound, 1.02 * lost);
}

TEST(ForwardBoundTightness, ProductsThatUnderflowAreCovered) {
  const lora::Matrix<float> W0 = lora::Matrix<float>::Constant(1, 1, 0x1p-100f);
  const lora::LowRank<float> update(lora::Matrix<float>::Constant(1, 1, 0x1p-100f), lora::Matrix<float>::Ones(1, 1), lora::scaling::fixed(1));
  const lora::ActiveSet<float> set(update);
  const lora::Activations<float> X = lora::Activations<float>::Constant(1, 1, 0x1p-50f);  // unmerged: 0 + 0
  lora::Linear<float> layer(W0);
  layer.attach("update", update);
  layer.activate({{"update", 1.0}});
  const auto unmerged = layer.forward(X);
  const auto bound = lora::forward_bound(W0, set, X);
  layer.merge();
  EXPECT_LE(worst_ratio<float>(unmerged, layer.forward(X), bound), 1.0);
  EXPECT_GE(bound(0, 0), 0x1p-149);
  EXPECT_LE(bound(0, 0), 0x1p-140);
}

TEST(ForwardBoundTightness, GainsOfColumnsThatUnderflowAreCovered) {
  // h x underflows on one way, h W0 on the other.
  for (const auto& [weight, input] : {std::pair(0x1p100f, 0x1p-115f), std::pair(0x1p-115f, 0x1p100f)}) {
    const lora::Matrix<float> W0 = lora::Matrix<float>::Constant(1, 2, weight);
    const lora::Activations<float> X = lora::Activations<float>::Constant(2, 1, input);
    lora::Linear<float> layer(W0);
    layer.attach("columns", lora::IA3<float>(lora::Matrix<float>::Constant(1, 2, 0x1p-40f)).sized(1, 2));
    layer.activate({{"columns", 1.0}});
    const auto unmerged = layer.forward(X);
    const auto bound = lora::forward_bound(layer, X);
    layer.merge();
    const auto merged = layer.forward(X);
    EXPECT_NE(unmerged(0, 0), merged(0, 0));
    EXPECT_LE(worst_ratio<float>(unmerged, merged, bound), 1.0);
    EXPECT_LE(bound(0, 0), 0x1p-40);
  }
}

TEST(ForwardBoundTightness, FlushedDenormalsAreCovered) {
  Random random(12);
  const Index out = 20, in = 70, batch = 3;
  using T = Eigen::bfloat16;
  int apart = 0;
  for (const auto& [weight, change, input] : {std::tuple(0x1p-127, 0x1p-126, 1.0), std::tuple(1.0, 1.0, 0x1p-127),
                                              std::tuple(0x1p-60, 0x1p-62, 0x1p-66), std::tuple(1.0, 0x1p-8, 1.0)})
    for (const bool gains : {false, true}) {
      const auto W0 = reference::gaussian<T>(random, out, in, weight);
      reference::Updates<float> updates;
      updates.add_gaussian(random, out, in, 3, change);
      lora::Linear<T> layer(W0);
      layer.attach("low rank", updates.low_rank(0));
      layer.attach("dense", lora::Dense<float>(reference::gaussian<float>(random, out, in, change)));
      layer.attach("columns", lora::IA3<float>(reference::gaussian<float>(random, 1, in)).sized(out, in));
      layer.activate({{"low rank", 1.0}, {"dense", 0.5}});
      if (gains) layer.activate({{"low rank", 1.0}, {"dense", 0.5}, {"columns", 1.0}});
      const lora::Activations<T> X = reference::gaussian<T, lora::column_major>(random, in, batch, input);
      const auto unmerged = layer.forward(X);
      const auto bound = lora::forward_bound(layer, X);
      layer.merge();
      const auto merged = layer.forward(X);
      apart += unmerged == merged ? 0 : 1;
      EXPECT_LE(worst_ratio<float>(unmerged, merged, bound), 1.0) << weight << ' ' << change << ' ' << input << gains;
    }
  EXPECT_EQ(apart, 8);
}

TEST(ForwardBoundTightness, InfiniteWhereTheTheoryEnds) {
  const Index in = Index{1} << 22;
  const lora::Matrix<float> W0 = lora::Matrix<float>::Zero(1, in);
  const lora::Activations<float> X = lora::Activations<float>::Zero(in, 1);
  EXPECT_EQ(lora::forward_bound(W0, {}, X)(0, 0), std::numeric_limits<double>::infinity());
}

TEST(ForwardBoundErrors, ShapesAreChecked) {
  const lora::Matrix<float> W0 = lora::Matrix<float>::Ones(2, 3);
  const lora::Activations<float> X = lora::Activations<float>::Ones(3, 1), other = lora::Activations<float>::Ones(2, 1);
  const lora::LowRank<float> update(lora::Matrix<float>::Ones(2, 1), lora::Matrix<float>::Ones(1, 4), lora::scaling::fixed(1));
  const lora::ActiveSet<float> set(update);
  EXPECT_THROW(lora::forward_bound(W0, {}, other), lora::ShapeError);
  EXPECT_THROW(lora::forward_bound(W0, set, X), lora::ShapeError);
  EXPECT_THROW(lora::forward_bound(W0, {}, X, Eigen::VectorXf::Ones(3)), lora::ShapeError);
}
