// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The forward pass of a layer: any activations, any batch, merged and unmerged, from many threads at once.

#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"
#include "reference/random.hpp"

#include <thread>

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class LinearForward : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Layer = lora::Linear<Stored, Layout::order>;
  using Vector = Eigen::Matrix<Computed, Eigen::Dynamic, 1>;

  static constexpr Index rows = 53, cols = 77;

  LinearForward() {
    updates.add_gaussian(random, rows, cols, 4, 0.3);
    updates.add_gaussian(random, rows, cols, 7, 0.1, -1.5);
  }

  Layer layer() {
    Layer out(W, Eigen::Map<const Vector>(bias.data(), rows));
    std::vector<lora::ActiveName> active;
    for (std::size_t i = 0; i < updates.size(); ++i) {
      active.push_back({std::to_string(i), updates.coefficient(i)});
      out.attach(active.back().name, updates[i].update);
    }
    out.activate(active);
    return out;
  }

  template <class Derived>
  lora::Matrix<Computed> expected(const Eigen::MatrixBase<Derived>& X) const {
    return reference::forward<Stored, Layout::order>(W, updates, bias, X);
  }

  /// out += |factor| |W| |X| in double.
  template <class Left, class Right>
  static void add_magnitude(const Left& left, const Right& X, double factor, lora::Matrix<double>& out) {
    for (Index i = 0; i < left.rows(); ++i)
      for (Index c = 0; c < X.cols(); ++c)
        for (Index j = 0; j < left.cols(); ++j)
          out(i, c) +=
              std::fabs(factor * static_cast<double>(reference::widen(left(i, j))) * static_cast<double>(X(j, c)));
  }

  /// |W| |X| + |B| |A| |X| + |bias|: rounding errors are a multiple of it.
  lora::Matrix<double> magnitude(const lora::Matrix<Computed>& X) const {
    lora::Matrix<double> out = lora::Matrix<double>::Zero(rows, X.cols());
    add_magnitude(W, X, 1, out);
    for (std::size_t u = 0; u < updates.size(); ++u) {
      const lora::LowRank<Computed>& update = updates.low_rank(u);
      lora::Matrix<double> h = lora::Matrix<double>::Zero(update.rank(), X.cols());
      add_magnitude(update.A(), X, 1, h);
      add_magnitude(update.B(), h, update.scaling() * updates.coefficient(u), out);
    }
    for (Index i = 0; i < rows; ++i)
      for (Index c = 0; c < X.cols(); ++c)
        out(i, c) += std::fabs(static_cast<double>(bias[static_cast<std::size_t>(i)]));
    return out;
  }

  /// |a - b| <= factor * magnitude everywhere; names the worst element.
  static ::testing::AssertionResult close(const lora::Matrix<Computed>& a, const lora::Matrix<Computed>& b,
                                          double factor, const lora::Matrix<double>& magnitude) {
    Index i = 0, j = 0;
    double worst = 0;
    for (Index row = 0; row < a.rows(); ++row)
      for (Index col = 0; col < a.cols(); ++col) {
        const double ratio =
            std::fabs(static_cast<double>(a(row, col)) - static_cast<double>(b(row, col))) / magnitude(row, col);
        if (ratio <= worst) continue;
        worst = ratio;
        i = row;
        j = col;
      }
    if (worst <= factor) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "element (" << i << ", " << j << "): " << a(i, j) << " and " << b(i, j)
                                         << " differ by " << worst / factor << " times the bound";
  }

  /// Half a unit in the last place of 1.
  template <class Number>
  static double unit() {
    return std::ldexp(1, -reference::Format<Number>::mantissa - 1);
  }
  /// Of two results: no chain is longer than the columns, the ranks and the bias together, in whichever order; one more
  /// rounding for c B.
  static double rounding(Index length = cols + 11 + 2) { return 2 * static_cast<double>(length) * unit<Computed>(); }
  /// Storage rounds W' once.
  static double storage_rounding() { return unit<Stored>() + rounding(); }

  Random random{60};
  lora::Matrix<Stored, Layout::order> W = reference::gaussian<Stored, Layout::order>(random, rows, cols);
  std::vector<Computed> bias = [this] {
    const lora::Matrix<Computed> values = reference::gaussian<Computed>(random, rows, 1);
    return std::vector<Computed>(values.data(), values.data() + rows);
  }();
  Updates<Computed> updates;
};
TYPED_TEST_SUITE(LinearForward, reference::Layouts);

/// Every batch up to 32 has the reference's bits, and every column those it has alone.
TYPED_TEST(LinearForward, EveryBatchSize) {
  using C = typename TestFixture::Computed;
  const auto layer = this->layer();
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 32);
  const lora::Matrix<C> expected = this->expected(X);
  for (Index batch = 1; batch <= 32; ++batch)
    ASSERT_TRUE(reference::same_bits(expected.rightCols(batch), layer.forward(X.rightCols(batch))))
        << "batch " << batch;
  EXPECT_EQ(layer.forward(lora::Activations<C>(this->cols, 0)).cols(), 0);
}

/// The function under the class, on a matrix of the caller's.
TYPED_TEST(LinearForward, IsTheFreeFunction) {
  using C = typename TestFixture::Computed;
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 5);
  lora::Linear<typename TestFixture::Stored, TypeParam::order> layer(this->W);
  EXPECT_TRUE(reference::same_bits(layer.forward(X), lora::forward(this->W, {}, X)));
  std::vector<lora::ActiveName> active;
  for (std::size_t i = 0; i < this->updates.size(); ++i) {
    active.push_back({std::to_string(i), this->updates.coefficient(i)});
    layer.attach(active.back().name, this->updates[i].update);
  }
  layer.activate(active);
  EXPECT_TRUE(reference::same_bits(layer.forward(X), lora::forward(this->W, this->updates.set(), X)));
  EXPECT_THROW(static_cast<void>(lora::forward(this->W, {}, X.topRows(3))), lora::ShapeError);
  EXPECT_THROW(static_cast<void>(lora::forward(this->W, {{std::shared_ptr<const lora::Update<C>>(), 1.0}}, X)), lora::ValueError);
}

/// Activations of the storage type are widened, results stay in the compute type.
TYPED_TEST(LinearForward, TakesActivationsOfTheStorageType) {
  using S = typename TypeParam::Scalar;
  const auto layer = this->layer();
  const lora::Matrix<S> X = reference::gaussian<S>(this->random, this->cols, 7);
  EXPECT_TRUE(reference::same_bits(this->expected(X), layer.forward(X)));
}

TYPED_TEST(LinearForward, LargeBatches) {
  using C = typename TestFixture::Computed;
  const auto layer = this->layer();
  for (const Index batch : {33, 64, 101, 130, 150}) {
    SCOPED_TRACE(batch);
    const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, batch);
    const lora::Matrix<C> expected = this->expected(X);
    EXPECT_TRUE(reference::same_bits(expected, layer.forward(X)));
    EXPECT_TRUE(reference::same_bits(expected, layer.forward(lora::Activations<C>(X))));
    lora::Matrix<C> Y(this->rows, batch);
    layer.forward_into(X, Y);
    EXPECT_TRUE(reference::same_bits(expected, Y));
  }
}

TYPED_TEST(LinearForward, MergedAndUnmergedAgree) {
  using C = typename TestFixture::Computed;
  auto layer = this->layer();
  for (const Index batch : {1, 5, 32, 50}) {
    SCOPED_TRACE(batch);
    const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, batch);
    const lora::Matrix<C> unmerged = layer.forward(X);
    layer.merge();
    EXPECT_TRUE(this->close(unmerged, layer.forward(X), this->storage_rounding(), this->magnitude(X)));
    layer.unmerge();
    EXPECT_TRUE(reference::same_bits(unmerged, layer.forward(X)));
  }
}

/// Row-major, strided, reversed and transposed memory, blocks, expressions.
TYPED_TEST(LinearForward, AnyEigenObject) {
  using C = typename TestFixture::Computed;
  const auto layer = this->layer();
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 6);
  const lora::Matrix<C> expected = this->expected(X);
  EXPECT_TRUE(reference::same_bits(expected, layer.forward(X)));
  EXPECT_TRUE(reference::same_bits(expected, layer.forward(X + lora::Matrix<C>::Zero(this->cols, 6))));
  const lora::Matrix<C> transposed = X.transpose();
  EXPECT_TRUE(reference::same_bits(expected, layer.forward(transposed.transpose())));
  EXPECT_TRUE(reference::same_bits(expected.col(3), layer.forward(X.col(3))));

  lora::Matrix<C> by_rows = lora::Matrix<C>::Zero(this->rows, 6);
  layer.forward_into(X, by_rows);
  EXPECT_TRUE(reference::same_bits(expected, by_rows));
  lora::Activations<C> across(6, this->rows);
  layer.forward_into(X, across.transpose());
  EXPECT_TRUE(reference::same_bits(expected, across.transpose()));
  lora::Activations<C> large = lora::Activations<C>::Zero(2 * this->rows, 9);
  using Strided = Eigen::Map<lora::Activations<C>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, 2>>;
  Strided strided(large.data() + 2 * this->rows, this->rows, 6, Eigen::Stride<Eigen::Dynamic, 2>(2 * this->rows, 2));
  layer.forward_into(X, strided);
  EXPECT_TRUE(reference::same_bits(expected, strided));
  EXPECT_TRUE((large.leftCols(1).array() == C{0}).all() && (large.rightCols(2).array() == C{0}).all());
  for (Index i = 1; i < 2 * this->rows; i += 2) EXPECT_TRUE((large.row(i).array() == C{0}).all());
}

/// Activations of the storage type are widened, and rounded once on the way out.
TYPED_TEST(LinearForward, ActivationsOfTheStorageType) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  const auto layer = this->layer();
  for (const Index batch : {5, 40}) {
    const lora::Activations<T> X = reference::gaussian<T, lora::column_major>(this->random, this->cols, batch);
    lora::Activations<C> wide(this->cols, batch);
    for (Index j = 0; j < batch; ++j)
      for (Index i = 0; i < this->cols; ++i) wide(i, j) = reference::widen(X(i, j));
    const lora::Activations<C> expected = layer.forward(wide);
    lora::Activations<T> Y(this->rows, batch);
    layer.forward_into(X, Y);
    for (Index j = 0; j < batch; ++j)
      for (Index i = 0; i < this->rows; ++i)
        ASSERT_EQ(reference::bits(reference::narrow<T>(expected(i, j))), reference::bits(Y(i, j)));
  }
}

TYPED_TEST(LinearForward, ManyThreadsAtOnce) {
  using C = typename TestFixture::Computed;
  const auto layer = this->layer();
  const Index batches[] = {1, 32, 7, 4};
  std::vector<lora::Matrix<C>> inputs, expected;
  for (const Index batch : batches) {
    inputs.push_back(reference::gaussian<C>(this->random, this->cols, batch));
    expected.push_back(this->expected(inputs.back()));
  }
  std::vector<int> same(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 40; ++i) {
        const std::size_t which = (t + i) % 4;
        if (reference::same_bits(expected[which], layer.forward(inputs[which]))) ++same[t];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 40));
}

TEST(LinearForwardErrors, WrongShapes) {
  const lora::Linear<float> layer(lora::Matrix<float>::Zero(3, 4));
  EXPECT_THROW(static_cast<void>(layer.forward(lora::Activations<float>::Zero(3, 2))), lora::ShapeError);
  lora::Activations<float> Y = lora::Activations<float>::Constant(3, 2, 5);
  EXPECT_THROW(layer.forward_into(lora::Activations<float>::Zero(4, 3), Y), lora::ShapeError);
  EXPECT_TRUE((Y.array() == 5).all());
}

}  // namespace
