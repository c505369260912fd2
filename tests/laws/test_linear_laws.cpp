// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What holds for a layer in every type, order and size: merged and unmerged are one function.

#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;

template <class Layout>
class LinearLaws : public ::testing::Test {
 public:
  using Scalar = typename Layout::Scalar;
  using Compute = lora::compute_t<Scalar>;
  using Layer = lora::Linear<Scalar, Layout::order>;

  struct Case {
    Case(Random& random, Index rows, Index cols, double size)
        : w0(reference::gaussian<Scalar, Layout::order>(random, rows, cols, 0.1)),
          bias(reference::gaussian<Compute>(random, rows, 1)),
          layer(w0, bias) {
      for (const auto& [name, rank] : {std::pair<const char*, Index>{"a", 3}, {"b", 17}}) {
        const double s = 0.1 * size / std::sqrt(static_cast<double>(rank));
        layer.attach(name,
                     lora::LowRank<Compute>(reference::gaussian<Compute>(random, rows, rank),
                                            reference::gaussian<Compute>(random, rank, cols), lora::scaling::fixed(s)));
      }
    }
    lora::Matrix<Scalar, Layout::order> w0;
    lora::Matrix<Compute> bias;
    Layer layer;
  };

  /// |c B| |A| of what is merged into a layer, in double.
  static lora::Matrix<double> absolute_delta(const Layer& layer) {
    lora::Matrix<double> sum = lora::Matrix<double>::Zero(layer.rows(), layer.cols());
    for (const auto& [update, coefficient] : layer.weight().merged_set().updates()) {
      const auto& own = dynamic_cast<const lora::LowRank<Compute>&>(*update);
      sum += std::abs(own.scaling() * coefficient) * own.B().template cast<double>().cwiseAbs() *
             own.A().template cast<double>().cwiseAbs();
    }
    return sum;
  }
  static lora::Matrix<double> wide(const lora::Matrix<Scalar, Layout::order>& w) {
    lora::Matrix<double> out(w.rows(), w.cols());
    for (Index i = 0; i < w.rows(); ++i)
      for (Index j = 0; j < w.cols(); ++j) out(i, j) = static_cast<double>(reference::widen(w(i, j)));
    return out;
  }
};
TYPED_TEST_SUITE(LinearLaws, reference::Layouts);

/// With u the compute type's unit roundoff and v the storage type's, element by element
///   |merged - unmerged| <= 2 gamma(in + rank + 4) ((|W0| + |c B| |A|) |X| + |bias|) + v (|W0| + |c B| |A|) |X|:
/// two sums of at most in + rank + 4 rounded steps each, and W' rounded to storage once.
TYPED_TEST(LinearLaws, MergedForwardIsUnmergedForwardWithinTheBound) {
  using C = typename TestFixture::Compute;
  Random random(140);
  double worst = 0;
  for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 1}, {7, 33}, {64, 96}, {33, 257}})
    for (const Index batch : {1, 2, 5, 40})
      for (const double size : {0.03, 1.0}) {
        typename TestFixture::Case test(random, rows, cols, size);
        const lora::Activations<C> X = reference::gaussian<C>(random, cols, batch);
        test.layer.activate({{"b", -0.6}, {"a", 1.5}});
        const lora::Activations<C> unmerged = test.layer.forward(X);
        test.layer.merge();
        const lora::Activations<C> merged = test.layer.forward(X);

        const double u = static_cast<double>(std::numeric_limits<C>::epsilon()) / 2;
        const double v = std::ldexp(1.0, -reference::Format<typename TestFixture::Scalar>::mantissa - 1);
        const double n = static_cast<double>(cols + 3 + 17 + 4) * u;
        const lora::Matrix<double> size_of_x =
            (this->wide(test.w0).cwiseAbs() + this->absolute_delta(test.layer)) * X.template cast<double>().cwiseAbs();
        for (Index i = 0; i < rows; ++i)
          for (Index j = 0; j < batch; ++j) {
            const double bound = 2 * n / (1 - n) * (size_of_x(i, j) + std::abs(static_cast<double>(test.bias(i, 0)))) +
                                 v * size_of_x(i, j);
            const double error = std::abs(static_cast<double>(merged(i, j)) - static_cast<double>(unmerged(i, j)));
            worst = std::max(worst, error / bound);
            ASSERT_LE(error, bound) << rows << " x " << cols << ", batch " << batch << ", at (" << i << ", " << j
                                    << "): " << unmerged(i, j) << " unmerged, " << merged(i, j) << " merged";
          }
      }
  this->RecordProperty("worst_error_of_bound", std::to_string(worst));
}

/// On a weight of zeros the layer applied to the identity is its delta: B (A e_j) against the chain, R + 4 rounded
/// steps each.
TYPED_TEST(LinearLaws, DeltaIsTheLayerAppliedToTheIdentity) {
  using C = typename TestFixture::Compute;
  using T = typename TestFixture::Scalar;
  Random random(141);
  const Index rows = 37, cols = 50, rank = 6;
  lora::Linear<T, TypeParam::order> layer(lora::Matrix<T, TypeParam::order>::Zero(rows, cols));
  const lora::LowRank<C> update(reference::gaussian<C>(random, rows, rank), reference::gaussian<C>(random, rank, cols),
                                lora::scaling::alpha(4));
  layer.attach("only", update);
  layer.activate({{"only", 0.8}});
  const lora::Matrix<C> delta = layer.delta();
  EXPECT_TRUE(reference::same_bits(lora::delta(update, 0.8), delta));
  const lora::Activations<C> Y = layer.forward(lora::Activations<C>::Identity(cols, cols));
  const double n = (rank + 4) * static_cast<double>(std::numeric_limits<C>::epsilon()) / 2;
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) {
      double size = 0;
      for (Index k = 0; k < rank; ++k)
        size += std::abs(update.scaling() * 0.8 * static_cast<double>(update.B()(i, k)) *
                         static_cast<double>(update.A()(k, j)));
      ASSERT_LE(std::abs(static_cast<double>(Y(i, j)) - static_cast<double>(delta(i, j))), 2 * n / (1 - n) * size)
          << "(" << i << ", " << j << ")";
    }
}

TYPED_TEST(LinearLaws, MergeSwitchAndUnmergeAreTheFreeFunctions) {
  Random random(142);
  typename TestFixture::Case test(random, 45, 70, 0.3);
  const auto bits_of = [&] {
    return lora::Matrix<typename TestFixture::Scalar, TypeParam::order>(test.layer.weight().matrix());
  };
  test.layer.activate({{"a", 1.0}});
  EXPECT_TRUE(reference::same_bits(test.w0, bits_of()));
  test.layer.merge();
  const auto merged = bits_of();
  const auto record = test.layer.weight().record().serialize();
  for (int i = 0; i < 20; ++i)
    test.layer.activate({{i % 2 == 0 ? "b" : "a", random.normal()}, {i % 2 == 0 ? "a" : "b", 0.1}});
  EXPECT_FALSE(reference::same_bits(merged, bits_of()));
  test.layer.activate({{"a", 1.0}});
  EXPECT_TRUE(reference::same_bits(merged, bits_of()));
  EXPECT_EQ(record, test.layer.weight().record().serialize());
  test.layer.unmerge();
  EXPECT_TRUE(reference::same_bits(test.w0, bits_of()));
}

}  // namespace
