// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The same calls on every layer: sets by names and of a call's own, sizes of scratch memory, and errors that name the thing.

#include "lora/layer/conv.hpp"
#include "lora/layer/embedding.hpp"
#include "lora/layer/layer_group.hpp"
#include "lora/update/dora.hpp"
#include "reference/expect.hpp"
#include "reference/random_sets.hpp"

#include <array>
#include <limits>

namespace {

using lora::Index;
using reference::message_of;
using reference::Random;

constexpr Index rows = 6, cols = 8;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

class LayerCalls : public ::testing::Test {
 public:
  LayerCalls() { linear.attach("a", update), any.attach("a", update); }

  Random random{260};
  const lora::Matrix<float> w0 = reference::gaussian<float>(random, rows, cols);
  const lora::LowRank<float> update = reference::random_low_rank<float>(random, rows, cols, 2);
  const lora::Activations<float> X = reference::gaussian<float>(random, cols, 3);
  lora::Linear<float> linear{w0};
  lora::AnyLinear<float> any{lora::Linear<float>(w0)};
};

TEST_F(LayerCalls, SetsByNamesAndOfACallsOwn) {
  const lora::Activations<float> expected = lora::forward(w0, {{update, 0.5}}, X);
  EXPECT_TRUE(reference::same_bits(expected, linear.forward(X, linear.set_of({{"a", 0.5}}))));
  EXPECT_TRUE(reference::same_bits(expected, any.forward(X, any.set_of({{"a", 0.5}}))));
  EXPECT_TRUE(reference::same_bits(lora::forward(w0, {}, X), linear.forward(X, lora::ActiveSet<float>())));

  lora::Embedding<float> tokens(w0.transpose());
  tokens.attach("a", update);
  const std::vector<int> some{3, 0};
  const auto own = tokens.forward(some, tokens.set_of({{"a", 0.5}}));
  tokens.activate({{"a", 0.5}});
  EXPECT_TRUE(reference::same_bits(tokens.forward(some), own));
  EXPECT_EQ(tokens.forward_workspace(), tokens.forward_workspace(tokens.active_set()));
}

/// A size is given as a list, vector, span or array, to every call.
TEST_F(LayerCalls, SizesOfConvolutions) {
  lora::Conv<float> conv(w0, {.kernel = {2, 2}});  // two channels
  conv.attach("a", update);
  const lora::Activations<float> image = reference::gaussian<float>(random, 2 * 3 * 4, 2);
  const std::vector<Index> size{3, 4};
  const std::array<Index, 2> fixed{3, 4};
  const auto set = conv.set_of({{"a", 0.5}});
  const auto own = conv.forward(image, {3, 4}, set);
  conv.activate({{"a", 0.5}});
  EXPECT_TRUE(reference::same_bits(own, conv.forward(image, size)));
  EXPECT_TRUE(reference::same_bits(own, conv.forward(image, fixed)));
  lora::Activations<float> Y(own.rows(), 2);
  conv.forward_into(image, Y, {3, 4});
  EXPECT_TRUE(reference::same_bits(own, Y));
  Y.setZero();
  conv.forward_into(image, Y, std::span(size), set);
  EXPECT_TRUE(reference::same_bits(own, Y));
  EXPECT_EQ(conv.forward_workspace({3, 4}, set), conv.forward_workspace(size, set));
  EXPECT_EQ(conv.forward_workspace({3, 4}), conv.forward_workspace(size, conv.active_set()));
  EXPECT_EQ(conv.output_size({3, 4}), conv.output_size(fixed));
}

/// What the members say is what the free functions say of the weight; it is enough.
TEST_F(LayerCalls, ScratchMemory) {
  lora::DefaultExecutor executor(1);
  const std::vector<lora::ActiveSet<float>> sets = {{{update, 0.5}}, lora::ActiveSet<float>{}};
  const auto check = [&](auto& layer) {
    const lora::Context one{&executor};
    layer.activate({{"a", 1.0}});
    EXPECT_EQ(layer.forward_workspace(3, one), lora::forward_workspace(w0, layer.active_set(), 3, one));
    EXPECT_EQ(layer.forward_workspace({}, 3, one), lora::forward_workspace(w0, {}, 3, one));
    EXPECT_EQ(layer.forward_workspace(sets, 3, one), lora::forward_workspace(w0, sets, 3, one));
    EXPECT_EQ(layer.merge_workspace(one), lora::merge_workspace<float>(one));
    EXPECT_GT(layer.forward_workspace(30, one), layer.forward_workspace(3, one));

    lora::Activations<float> Y(rows, 3);
    std::vector<std::byte> memory(layer.forward_workspace(3, one)), merges(layer.merge_workspace(one));
    lora::Workspace pass{std::span(memory)}, merge{std::span(merges)};
    layer.forward_into(X, Y, {&executor, &pass});
    layer.merge({&executor, &merge});
    layer.forward_into(X, Y, {&executor, &pass});
    layer.unmerge({&executor, &merge});
    memory.resize(layer.forward_workspace(sets, 3, one));
    lora::Workspace routed{std::span(memory)};
    layer.forward_into(X, Y, {lora::Routes{1, 0, lora::Routes::base}, sets}, {&executor, &routed});
  };
  check(linear);
  check(any);
}

TEST_F(LayerCalls, ErrorsNameTheLayerThatIsCalled) {
  EXPECT_EQ(message_of<lora::StateError>([&] { linear.unmerge(); }), "lora: Linear::unmerge: the layer is not merged");
  EXPECT_EQ(message_of<lora::StateError>([&] { static_cast<void>(any.release()); }),
            "lora: Linear::release: the layer is not merged");
  linear.merge();
  EXPECT_EQ(message_of<lora::StateError>([&] { linear.resume({}, lora::UndoRecord()); }),
            "lora: Linear::resume: the layer is merged already");
  lora::Embedding<float> tokens(w0);
  EXPECT_EQ(message_of<lora::StateError>([&] { tokens.unmerge(); }),
            "lora: Embedding::unmerge: the layer is not merged");
  EXPECT_EQ(message_of<lora::ValueError>([&] { any.activate({{"a", static_cast<double>(nan)}}); }),
            "lora: Linear: the coefficient of \"a\": expected a finite number, found nan");
  lora::Activations<float> Y(rows, 3);
  EXPECT_EQ(message_of<lora::ShapeError>([&] { any.forward_into(X.topRows(2), Y); }).substr(0, 16), "lora: Linear: X:");
}

TEST_F(LayerCalls, FreeFunctionsNameThemselvesAndTheBias) {
  EXPECT_EQ(message_of<lora::ShapeError>([&] { static_cast<void>(lora::forward(w0, {}, X.topRows(2))); }).substr(0, 17),
            "lora: forward: X:");
  lora::Activations<float> Y = lora::Activations<float>::Constant(rows, 3, 5.0f);
  EXPECT_EQ(message_of<lora::ShapeError>([&] { lora::forward_into(w0, {}, X.topRows(2), Y); }).substr(0, 22),
            "lora: forward_into: X:");
  const std::vector<lora::ActiveSet<float>> sets = {{{update, 0.5}}};
  const lora::Routes routes{0, 0, 0};
  Eigen::VectorXf bias = Eigen::VectorXf::Ones(rows);
  bias(4) = nan;
  const std::string message = "lora: forward_into: bias: expected finite numbers, found NaN at 4";
  EXPECT_EQ(message_of<lora::ValueError>([&] { lora::forward_into(w0, update, X, Y, bias); }), message);
  EXPECT_EQ(message_of<lora::ValueError>([&] { lora::forward_into(w0, {routes, sets}, X, Y, bias); }), message);
  EXPECT_TRUE((Y.array() == 5.0f).all());
}

/// The classes of core/error.hpp stay what they are, with the layer in front; others pass through.
TEST_F(LayerCalls, AGroupSaysWhichLayerFailed) {
  lora::LayerGroup<float> group;
  lora::Matrix<float> W = w0;
  group.add("first", lora::Linear<float>(w0));
  group.add("second", lora::Linear<float>::view(W));
  const auto shared = std::make_shared<const lora::LowRank<float>>(update);
  const auto small = std::make_shared<const lora::LowRank<float>>(
      reference::random_low_rank<float>(random, rows, cols - 1, 2));
  EXPECT_EQ(message_of<lora::ShapeError>([&] { group.attach("a", {{"first", shared}, {"second", small}}); }),
            "lora: layer \"second\": Linear: update \"a\": expected 6 x 8, found 6 x 7");
  EXPECT_EQ(message_of<lora::ValueError>([&] { group.attach("a", {{"first", shared}, {"third", shared}}); }),
            "lora: LayerGroup: no layer \"third\"; layers are: first, second");
  group.attach("a", {{"first", shared}, {"second", shared}});
  EXPECT_EQ(message_of<lora::ValueError>([&] { group.activate({{"a", static_cast<double>(nan)}}); }),
            "lora: layer \"first\": Linear: the coefficient of \"a\": expected a finite number, found nan");
  EXPECT_EQ(message_of<lora::StateError>([&] { group.unmerge(); }),
            "lora: layer \"first\": Linear::unmerge: the layer is not merged");
  group.activate({{"a", 1.0}});
  group.merge();
  W(0, 0) += 1;
  EXPECT_EQ(message_of<lora::RecordError>([&] { group.unmerge(); }).substr(0, 22), "lora: layer \"second\": ");
  W(0, 0) -= 1;
  EXPECT_EQ(message_of<lora::ValueError>([&] { group.resume({}, {}); }),
            "lora: LayerGroup::resume: no record for the layer \"first\"");
}

/// A caller's own class is not cut down to the one it derives from.
TEST_F(LayerCalls, AGroupPassesErrorsOfTheCallersOn) {
  struct Cancelled : lora::StateError {
    Cancelled() : StateError("the program: cancelled") {}
  };
  struct Cancelling final : lora::Executor {
    int concurrency() const override { return 1; }
    void run(int, lora::FunctionRef<void(int)>) override { throw Cancelled(); }
  } executor;
  lora::LayerGroup<float> group;
  group.add("first", lora::Linear<float>(w0));
  group.attach("a", {{"first", std::make_shared<const lora::LowRank<float>>(update)}});
  group.activate({{"a", 1.0}});
  EXPECT_EQ(message_of<Cancelled>([&] { group.merge({&executor}); }), "the program: cancelled");
}

TEST(Samples, TheLengthOfASpanIsChecked) {
  std::vector<float> data(12);
  const auto X = lora::samples(std::span(data), 3, 4);
  EXPECT_EQ(X.rows(), 4);
  EXPECT_EQ(X.cols(), 3);
  EXPECT_EQ(lora::samples(std::span<const float>(data), 2, 6).data(), data.data());
  EXPECT_EQ(lora::samples(std::span<float>(), 0, 4).cols(), 0);
  const auto refused = [&](Index batch, Index features) {
    return message_of<lora::ShapeError>([&] { static_cast<void>(lora::samples(std::span(data), batch, features)); });
  };
  EXPECT_EQ(refused(3, 5), "lora: samples: expected 3 x 5 elements for [batch, features], found 12");
  for (const auto& [batch, features] : {std::pair<Index, Index>{2, 4}, {4, 4}, {0, 4}, {12, 0}, {Index{1} << 62, 12}})
    EXPECT_NE(refused(batch, features), "") << batch << " " << features;
  EXPECT_EQ(refused(-3, -4), "lora: samples: expected sizes of 0 or more, found [-3, -4]");
  float* const none = nullptr;
  EXPECT_THROW(static_cast<void>(lora::samples(none, -3, 6)), lora::ShapeError);
  EXPECT_THROW(static_cast<void>(lora::samples(none, 3, -6)), lora::ShapeError);
}

}  // namespace
