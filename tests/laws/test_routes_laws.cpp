// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Mixed batches: every column has the bits that it has alone, whatever the sets, the routes, the number of columns,
// types, orders, threads and layers; and sets that keep their factors in 16 bits do what those in the compute type do.

#include "lora/layer/any_linear.hpp"
#include "lora/layer/conv.hpp"
#include "lora/layer/embedding.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"
#include "reference/patches.hpp"
#include "reference/random_sets.hpp"

#include <thread>

namespace {

using lora::Index;
using lora::Routes;
using reference::Random;

template <class Layout>
class RoutesLaws : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Set = lora::ActiveSet<Computed>;
  static constexpr lora::StorageOrder order = Layout::order;
  using Weight = lora::Matrix<Stored, order>;

  /// Sets for this weight, with factors in the compute type and in the type they came in.
  struct Sets {
    template <class Layer>
    Sets(Random& random, const Layer& layer, Index rows, Index cols) {
      for (const auto& updates : reference::random_sets<Computed>(random, rows, cols)) {
        stacked.push_back(layer.for_weight(Set(updates)));
        stored.push_back(layer.for_weight(Set::in_storage_type(updates)));
      }
    }
    const Set& of(Index route) const {
      static const Set none;
      return route == Routes::base ? none : stacked[static_cast<std::size_t>(route)];
    }
    std::vector<Set> stacked, stored;
  };

  /// Random routes, the same sorted, one for all, a set of its own for every second column, two groups.
  static std::vector<std::vector<Index>> routes(Random& random, Index batch, Index sets) {
    auto any = reference::random_routes(random, batch, sets), sorted = any;
    std::sort(sorted.begin(), sorted.end());
    std::vector<Index> one(any.size(), random.below(sets)), own, two;
    for (Index c = 0; c < batch; ++c) own.push_back(c % 2 == 0 ? 1 : c / 2 % sets);
    for (Index c = 0; c < batch; ++c) two.push_back(c < batch - 1 ? 7 : 4);
    return {any, sorted, one, own, two};
  }

  template <class Layer, class Derived>
  static lora::Matrix<Computed> alone(const Layer& layer, const Sets& sets, const std::vector<Index>& routes,
                                      const Eigen::MatrixBase<Derived>& X) {
    lora::Activations<Computed> Y(layer.rows(), X.cols());
    for (Index c = 0; c < X.cols(); ++c)
      layer.forward_into(X.col(c), Y.col(c), sets.of(routes[static_cast<std::size_t>(c)]));
    return Y;
  }
};
TYPED_TEST_SUITE(RoutesLaws, reference::Layouts);

TYPED_TEST(RoutesLaws, EveryColumnHasTheBitsItHasAlone) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(300);
  struct Case {
    Index rows, cols;
    bool wild;
  };
  for (const Case& what : {Case{37, 70, false}, {16, 33, true}, {1, 1, false}}) {
    const Index rows = what.rows, cols = what.cols;
    const auto w0 = what.wild ? reference::any_patterns<T, Order>(random, rows, cols)
                              : reference::gaussian<T, Order>(random, rows, cols);
    const Eigen::Matrix<C, Eigen::Dynamic, 1> bias = reference::gaussian<C>(random, rows, 1);
    lora::Linear<T, Order> layer(w0, bias);
    const typename TestFixture::Sets sets(random, layer, rows, cols);
    const lora::AnyLinear<C> any{lora::Linear<T, Order>(w0, bias)};
    const auto check = [&](const auto& X) {
      const Index batch = X.cols();
      int which = 0;
      for (const auto& list : this->routes(random, batch, static_cast<Index>(sets.stacked.size()))) {
        SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch << ", routes " << which++);
        const Routes routes(list);
        const auto expected = this->alone(layer, sets, list, X);
        lora::Activations<C> Y(rows, batch);
        layer.forward_into(X, Y, {routes, sets.stacked});
        ASSERT_TRUE(reference::same_bits(expected, Y));
        Y.setZero();
        layer.forward_into(X, Y, {routes, sets.stored});
        ASSERT_TRUE(reference::same_bits(expected, Y));
        Y.setZero();
        any.forward_into(X, Y, {routes, sets.stored});
        ASSERT_TRUE(reference::same_bits(expected, Y));
        Y.setZero();
        lora::forward_into(w0, {routes, sets.stored}, X, Y, bias);
        ASSERT_TRUE(reference::same_bits(expected, Y));
      }
    };
    for (const Index batch : {0, 1, 2, 3, 7, 16, 33, 41, 70, 300}) {
      check(reference::gaussian<C, lora::column_major>(random, cols, batch));
      if (std::is_same_v<T, Eigen::bfloat16> && batch % 2 == 1)  // they have an order of their own
        check(reference::any_patterns<Eigen::bfloat16, lora::column_major>(random, cols, batch));
    }
  }
}

/// X and Y of other layouts and types, in memory with room around it that nobody may touch.
TYPED_TEST(RoutesLaws, TakeAnyActivations) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(301);
  const Index rows = 37, cols = 70;
  const lora::Linear<T, TestFixture::order> layer(reference::gaussian<T, TestFixture::order>(random, rows, cols));
  const typename TestFixture::Sets sets(random, layer, rows, cols);
  for (const Index batch : {6, 50}) {
    const auto list = reference::random_routes(random, batch, static_cast<Index>(sets.stacked.size()));
    const Routes routes(list);
    const auto X = reference::gaussian<T, lora::row_major>(random, cols, batch);
    const auto expected = this->alone(layer, sets, list, X);
    lora::Matrix<C> room = lora::Matrix<C>::Constant(rows + 2, batch + 1, C{7});
    layer.forward_into(X, room.block(1, 0, rows, batch), {routes, sets.stored});
    EXPECT_TRUE(reference::same_bits(expected, room.block(1, 0, rows, batch)));
    EXPECT_TRUE((room.row(0).array() == C{7}).all() && (room.row(rows + 1).array() == C{7}).all() &&
                (room.col(batch).array() == C{7}).all());
    lora::Activations<T> narrow(rows, batch);
    layer.forward_into(X, narrow, {routes, sets.stored});
    const lora::Matrix<T> rounded = expected.unaryExpr([](C value) { return lora::detail::convert<T>(value); });
    EXPECT_TRUE(reference::same_bits(rounded, narrow));
  }
}

/// Nor do threads and workspaces matter; what forward_workspace() says for a batch is enough for every smaller one.
TYPED_TEST(RoutesLaws, ThreadsAndWorkspacesChangeNothing) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(302);
  const Index rows = 131, cols = 530;
  const auto w0 = reference::gaussian<T, TestFixture::order>(random, rows, cols);
  const lora::Linear<T, TestFixture::order> layer(w0);
  const typename TestFixture::Sets sets(random, layer, rows, cols);
  for (const Index batch : {2, 9, 39, 80}) {
    const auto X = reference::gaussian<C, lora::column_major>(random, cols, batch);
    std::vector<Index> pairs;  // these take the most memory
    for (Index c = 0; c < batch; ++c) pairs.push_back(c / 2 % 13);
    for (const auto& list : {reference::random_routes(random, batch, 13), pairs}) {
      const Routes routes(list);
      const auto expected = this->alone(layer, sets, list, X);
      for (const int threads : {1, 2, 3}) {
        SCOPED_TRACE(::testing::Message() << threads << " threads, batch " << batch);
        lora::DefaultExecutor executor(threads);
        std::vector<std::byte> memory(1 + lora::forward_workspace(w0, sets.stored, 80, {&executor}));
        lora::Workspace workspace{std::span(memory).subspan(1)}, small{std::span(memory).first(1000)};
        lora::Activations<C> Y(rows, batch);
        layer.forward_into(X, Y, {routes, sets.stored}, {&executor, &workspace});
        EXPECT_TRUE(reference::same_bits(expected, Y));
        EXPECT_THROW(layer.forward_into(X, Y, {routes, sets.stored}, {&executor, &small}), lora::ValueError);
      }
    }
  }
}

/// Many threads, with the same routes and sets over one layer.
TYPED_TEST(RoutesLaws, AreSharedByThreads) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(303);
  const Index rows = 53, cols = 77, batch = 45;
  const lora::Linear<T, TestFixture::order> layer(reference::gaussian<T, TestFixture::order>(random, rows, cols));
  const typename TestFixture::Sets sets(random, layer, rows, cols);
  const auto list = reference::random_routes(random, batch, 13);
  const Routes routes(list);
  const auto X = reference::gaussian<C, lora::column_major>(random, cols, batch);
  const auto expected = this->alone(layer, sets, list, X);
  std::vector<int> same(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < same.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        lora::Activations<C> Y(rows, batch);
        layer.forward_into(X, Y, {routes, sets.stored});
        if (reference::same_bits(expected, Y)) ++same[t];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 10));
}

/// Sets with factors in 16 bits: the same form, passes, merges and records.
TYPED_TEST(RoutesLaws, SetsInStorageTypeAreTheSameSets) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(304);
  const Index rows = 37, cols = 70;
  const auto w0 = reference::gaussian<T, Order>(random, rows, cols);
  const lora::Linear<T, Order> layer(w0);
  const typename TestFixture::Sets sets(random, layer, rows, cols);
  int narrow = 0;
  for (std::size_t s = 0; s < sets.stacked.size(); ++s) {
    SCOPED_TRACE(s);
    const auto &stacked = sets.stacked[s], &stored = sets.stored[s];
    EXPECT_EQ(stacked.fingerprint(), stored.fingerprint());
    ASSERT_EQ(stacked.form().depth(), stored.form().depth());
    if (stored.form().stored_kernels() != nullptr) {
      ++narrow;
      EXPECT_EQ(stored.form().A(), nullptr);
      EXPECT_EQ(stored.form().B(), nullptr);
    }
    for (Index k = 0; k < stacked.form().depth(); ++k) {
      for (Index j = 0; j < cols; ++j)
        ASSERT_EQ(reference::bits(stacked.form().A(k, j)), reference::bits(stored.form().A(k, j)));
      for (Index i = 0; i < rows; ++i)
        ASSERT_EQ(reference::bits(stacked.form().B(i, k)), reference::bits(stored.form().B(i, k)));
    }
    for (const Index batch : {1, 2, 3, 32, 33, 90}) {
      const auto X = reference::gaussian<C, lora::column_major>(random, cols, batch);
      lora::Activations<C> Y(rows, batch), expected(rows, batch);
      layer.forward_into(X, expected, stacked);
      layer.forward_into(X, Y, stored);
      ASSERT_TRUE(reference::same_bits(expected, Y));
    }
    auto w = w0, other = w0;
    const lora::UndoRecord record = lora::merge(w, stored);
    EXPECT_EQ(lora::merge(other, stacked).serialize(), record.serialize());
    EXPECT_TRUE(reference::same_bits(other, w));
    lora::unmerge(w, stored, record);
    EXPECT_TRUE(reference::same_bits(w0, w));
    lora::unmerge(other, stored, record);
    EXPECT_TRUE(reference::same_bits(w0, other));
  }
  EXPECT_EQ(narrow, (std::is_same_v<C, float> ? 6 : 0));
}

TYPED_TEST(RoutesLaws, EmbeddingsHaveThem) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(305);
  const Index vocab = 60, dim = 37;
  const lora::Embedding<T, TestFixture::order> layer(reference::gaussian<T, TestFixture::order>(random, vocab, dim));
  const typename TestFixture::Sets sets(random, layer, dim, vocab);
  for (const Index count : {0, 1, 50}) {
    const auto list = reference::random_routes(random, count, 13);
    std::vector<int> tokens;
    lora::Matrix<C> expected(dim, count);
    for (Index c = 0; c < count; ++c) {
      tokens.push_back(static_cast<int>(random.below(vocab)));
      lora::Activations<C> one(dim, 1);
      layer.forward_into(std::array{tokens.back()}, one, sets.of(list[static_cast<std::size_t>(c)]));
      expected.col(c) = one;
    }
    const Routes routes(list);
    lora::Activations<C> Y(dim, count);
    for (const int threads : {1, 3}) {
      lora::DefaultExecutor executor(threads);
      layer.forward_into(tokens, Y, {routes, sets.stacked}, {&executor});
      ASSERT_TRUE(reference::same_bits(expected, Y));
      std::size_t most = 0;
      for (const auto& set : sets.stored) most = std::max(most, layer.forward_workspace(set, {&executor}));
      std::vector<std::byte> memory(most);
      lora::Workspace workspace{std::span(memory)};
      lora::Activations<T> narrow(dim, count);
      layer.forward_into(tokens, narrow, {routes, sets.stored}, {&executor, &workspace});
      const lora::Matrix<T> rounded = expected.unaryExpr([](C value) { return lora::detail::convert<T>(value); });
      ASSERT_TRUE(reference::same_bits(rounded, narrow));
    }
  }
}

TYPED_TEST(RoutesLaws, ConvolutionsHaveThem) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(306);
  for (const Index groups : {1, 2}) {
    const lora::ConvGeometry geometry{.kernel = {3, 2}, .padding = {1, 0}, .groups = groups};
    const Index out = 18, in = 4, cols = in / groups * 6, batch = 20;
    const std::vector<Index> size{5, 4};
    const lora::Conv<T, TestFixture::order> layer(reference::gaussian<T, TestFixture::order>(random, out, cols),
                                                  geometry);
    const typename TestFixture::Sets sets(random, layer, out, cols);
    const auto X = reference::gaussian<C, lora::column_major>(random, in * 20, batch);
    const auto list = reference::random_routes(random, batch, 13);
    const Index results = out * 5 * 3;
    lora::Activations<C> expected(results, batch), Y(results, batch);
    for (Index c = 0; c < batch; ++c)
      layer.forward_into(X.col(c), expected.col(c), size, sets.of(list[static_cast<std::size_t>(c)]));
    const Routes routes(list);
    layer.forward_into(X, Y, size, {routes, sets.stacked});
    ASSERT_TRUE(reference::same_bits(expected, Y));
    layer.forward_into(X, Y, size, {routes, sets.stored});
    ASSERT_TRUE(reference::same_bits(expected, Y));
  }
}

}  // namespace
