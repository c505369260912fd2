// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Routes: how columns are grouped, and what is said about those that are wrong.

#include "lora/layer/conv.hpp"
#include "lora/layer/embedding.hpp"
#include "lora/layer/layer_group.hpp"
#include "reference/expect.hpp"
#include "reference/random_sets.hpp"

namespace {

using lora::Index;
using lora::Routes;
using reference::message_of;
using reference::Random;

std::vector<std::vector<Index>> groups_of(const Routes& routes) {
  std::vector<std::vector<Index>> out;
  for (Index g = 0; g < routes.groups(); ++g) {
    out.push_back({routes.set(g)});
    for (const Index column : routes.columns(g)) out.back().push_back(column);
  }
  return out;
}

TEST(Routes, GroupColumnsByTheirSets) {
  const Routes routes{2, 0, Routes::base, 2, 0, 7};
  EXPECT_EQ(routes.batch(), 6);
  EXPECT_EQ(groups_of(routes), (std::vector<std::vector<Index>>{{-1, 2}, {0, 1, 4}, {2, 0, 3}, {7, 5}}));
  EXPECT_EQ(std::vector(routes.order().begin(), routes.order().end()), (std::vector<Index>{2, 1, 4, 0, 3, 5}));
  EXPECT_EQ(std::vector(routes.offsets().begin(), routes.offsets().end()), (std::vector<Index>{0, 1, 3, 5, 6}));
  EXPECT_EQ(groups_of(Routes(std::vector<std::uint8_t>{3, 0, 3})),
            (std::vector<std::vector<Index>>{{0, 1}, {3, 0, 2}}));
  EXPECT_EQ(Routes().batch(), 0);
  EXPECT_EQ(Routes(std::vector<int>()).groups(), 0);
  EXPECT_EQ(Routes().offsets().size(), 1u);
}

TEST(Routes, AreAssignedAllOrNothing) {
  Routes routes{1, 0};
  const std::string message = message_of<lora::ValueError>([&] { routes.assign({0, 1, -2}); });
  EXPECT_EQ(message, "lora: Routes: column 2: expected the number of a set, from 0 on, or -1 for none, found -2");
  EXPECT_EQ(groups_of(routes), (std::vector<std::vector<Index>>{{0, 1}, {1, 0}}));
  routes.assign(std::array{5, -1, 5, 5});
  EXPECT_EQ(groups_of(routes), (std::vector<std::vector<Index>>{{-1, 1}, {5, 0, 2, 3}}));
}

class RouteErrors : public ::testing::Test {
 public:
  static constexpr Index rows = 20, cols = 30;
  using Set = lora::ActiveSet<float>;

  template <class Error>
  void expect(const Routes& routes, const std::vector<Set>& sets, const std::string& message) {
    EXPECT_EQ(message_of<Error>([&] {
                layer.forward_into(X, Y, {routes, sets});
              }),
              "lora: Linear::forward_into: " + message);
    EXPECT_EQ(message_of<Error>([&] {
                any.forward_into(X, Y, {routes, sets});
              }),
              "lora: Linear::forward_into: " + message);
    EXPECT_EQ(message_of<Error>([&] {
                lora::forward_into(w0, {routes, sets}, X, Y);
              }),
              "lora: forward_into: " + message);
    EXPECT_TRUE((Y.array() == 5.0f).all());
  }

  Random random{310};
  lora::Matrix<float> w0 = reference::gaussian<float>(random, rows, cols);
  lora::Linear<float> layer{w0};
  lora::AnyLinear<float> any{lora::Linear<float>(w0)};
  lora::Activations<float> X = reference::gaussian<float, lora::column_major>(random, cols, 4),
                           Y = lora::Activations<float>::Constant(rows, 4, 5.0f);
  Set good = reference::random_low_rank<float>(random, rows, cols, 2);
  Set other = reference::random_low_rank<float>(random, rows, cols + 1, 2);
  Set dora = reference::random_dora<float>(random, rows, cols, 2);
};

TEST_F(RouteErrors, NameTheColumnAndTheSet) {
  expect<lora::ShapeError>(Routes{0, 0, 0}, {good}, "expected X and Y of 3 columns, one for each route, found 4");
  expect<lora::ValueError>(Routes{0, 1, -1, 2}, {good, good}, "the route of column 3: expected a set below 2, found 2");
  expect<lora::ValueError>(Routes(std::vector<std::uint64_t>{0, 0, ~std::uint64_t{0}, 0}), {good},
                           "the route of column 2: expected a set below 1, found 4611686018427387904");
  expect<lora::ValueError>(Routes{9, 9, 9, 9}, {}, "the route of column 0: expected a set below 0, found 9");
  expect<lora::ShapeError>(Routes{0, 1, -1, 0}, {good, other},
                           "set 1, the route of column 1: the set's updates: expected 20 x 30, found 20 x 31");
  expect<lora::StateError>(Routes{0, -1, 1, 1}, {good, dora},
                           "set 1, the route of column 2: the set has gains that come from W0 (DoRA): expected one of "
                           "lora::for_weight(set, W0), found one that knows no weight");
  const Set of_another = lora::for_weight(dora, reference::gaussian<float>(random, rows, cols));
  const std::string message = message_of<lora::StateError>([&] {
    layer.forward_into(X, Y, {Routes{-1, 0, 0, 0}, std::vector{of_another}});
  });
  EXPECT_EQ(message.rfind("lora: Linear::forward_into: set 0, the route of column 1: the active set has the gains", 0),
            0u)
      << message;
  EXPECT_TRUE((Y.array() == 5.0f).all());
}

/// Sets without a route may be for anything.
TEST_F(RouteErrors, AreNotAboutSetsThatNoColumnHas) {
  EXPECT_NO_THROW(layer.forward_into(X, Y, {Routes{1, 1, 1, 1}, std::vector{other, good, dora}}));
  EXPECT_NO_THROW(layer.forward_into(X, Y, {Routes{-1, 2, 2, -1}, std::vector{other, good, layer.for_weight(dora)}}));
}

TEST_F(RouteErrors, MergedLayersNeedW0) {
  const Routes routes{0, -1, 0, 0};
  const std::vector<Set> sets{good};
  layer.attach("a", good.updates()[0].update);
  layer.activate({{"a", 1.0}});
  layer.merge();
  EXPECT_EQ(message_of<lora::StateError>([&] {
              layer.forward_into(X, Y, {routes, sets});
            }),
            "lora: Linear::forward_into: the layer is merged; sets of columns need W0: unmerge it first");
  EXPECT_TRUE((Y.array() == 5.0f).all());
  layer.unmerge();
  EXPECT_NO_THROW(layer.forward_into(X, Y, {routes, sets}));
}

TEST_F(RouteErrors, OfOtherShapesOfX) {
  const Routes routes{0, -1, 0, 0};
  const std::vector<Set> sets{good};
  EXPECT_THROW(layer.forward_into(X.transpose(), Y, {routes, sets}), lora::ShapeError);
  EXPECT_THROW(layer.forward_into(X, Y.leftCols(3), {routes, sets}), lora::ShapeError);
  EXPECT_THROW(lora::forward_into(w0, {routes, sets}, X, Y, Eigen::VectorXf::Zero(3).eval()), lora::ShapeError);
}

TEST_F(RouteErrors, OfEmbeddingsAndConvolutions) {
  lora::Embedding<float> tokens(w0.transpose());
  const std::vector<int> four{1, 2, 3, 4};
  EXPECT_EQ(message_of<lora::ShapeError>([&] {
              tokens.forward_into(four, Y, {Routes{0, 0, 0}, std::vector{good}});
            }),
            "lora: Embedding::forward_into: expected X and Y of 3 columns, one for each route, found 4");
  EXPECT_THROW(tokens.forward_into(four, Y, {Routes{0, 0, 0, 0}, std::vector{other}}), lora::ShapeError);
  EXPECT_THROW(tokens.forward_into(four, Y, {Routes{0, 0, 0, 1}, std::vector{good}}), lora::ValueError);
  EXPECT_THROW(tokens.forward_into(four, Y, {Routes{-1, -1, 0, -1}, std::vector{dora}}), lora::StateError);
  EXPECT_THROW(tokens.forward_into(std::vector{1, 2, 30, 4}, Y, {Routes{0, 0, 0, 0}, std::vector{good}}),
               lora::ValueError);
  lora::Conv<float> conv(w0, {.kernel = {3}});
  const lora::Activations<float> images = reference::gaussian<float, lora::column_major>(random, 30, 4);
  const std::vector<Index> size{3};
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              conv.forward_into(images, Y, size, {Routes{0, 0, 3, 0}, std::vector{good}});
            }),
            "lora: Conv::forward_into: the route of column 2: expected a set below 1, found 3");
  EXPECT_THROW(conv.forward_into(images, Y, size, {Routes{-1, -1, -1, 0}, std::vector{other}}), lora::ShapeError);
  EXPECT_THROW(conv.forward_into(images, Y, size, {Routes{-1, -1, -1, 0}, std::vector{dora}}), lora::StateError);
  EXPECT_THROW(conv.forward_into(images, Y, size, {Routes{0}, std::vector{good}}), lora::ShapeError);
  EXPECT_TRUE((Y.array() == 5.0f).all());
}

/// A group makes its layers' sets by the names of adapters; a layer that an adapter has nothing for goes without.
TEST_F(RouteErrors, GroupsMakeTheSetsOfTheirLayers) {
  lora::LayerGroup<float> model;
  model.add("a", lora::Linear<float>(w0));
  model.add("b", lora::Linear<Eigen::bfloat16>(w0.cast<Eigen::bfloat16>()));
  const auto style = std::make_shared<const lora::LowRank<Eigen::bfloat16>>(
      reference::random_low_rank<Eigen::bfloat16>(random, rows, cols, 2));
  const auto formal = std::make_shared<const lora::DoRA<float>>(reference::random_dora<float>(random, rows, cols, 2));
  model.attach("style", {{"a", style}, {"b", style}});
  model.attach("formal", {{"b", formal}});
  const std::vector<std::vector<lora::ActiveName>> lists{{}, {{"style", 0.5}}, {{"style", 1.0}, {"formal", 0.7}}};
  const Routes routes{2, 0, 1, 2};
  for (const char* path : {"a", "b"}) {
    const auto sets = model.sets_of(path, lists);
    model[path].forward_into(X, Y, {routes, sets});
    lora::Activations<float> expected(rows, 4);
    for (const auto& [column, list] : {std::pair<Index, std::size_t>{0, 2}, {1, 0}, {2, 1}, {3, 2}}) {
      std::vector<lora::ActiveName> own;
      for (const lora::ActiveName& entry : lists[list])
        if (model[path].is_attached(entry.name)) own.push_back(entry);
      model[path].activate(own);
      model[path].forward_into(X.col(column), expected.col(column));
    }
    EXPECT_TRUE(reference::same_bits(expected, Y)) << path;
  }
  EXPECT_THROW(static_cast<void>(model.sets_of("c", lists)), lora::ValueError);
  EXPECT_THROW(static_cast<void>(model.sets_of("a", {{{"other", 1.0}}})), lora::ValueError);
}

}  // namespace
