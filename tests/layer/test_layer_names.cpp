// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Layers that are made of a Linear: messages call them by their own names.

#include "lora/layer/conv.hpp"
#include "lora/layer/embedding.hpp"
#include "lora/update/dora.hpp"
#include "reference/expect.hpp"

namespace {

using lora::Index;

/// What they have from Linear calls them by their own name.
template <class Layer>
void expect_called(Layer& layer, const std::string& name, const lora::LowRank<float>& fitting) {
  using reference::message_of;
  const auto other = std::make_shared<const lora::LowRank<float>>(
      lora::Matrix<float>::Zero(2, 1), lora::Matrix<float>::Zero(1, 2), lora::scaling::fixed(1));
  EXPECT_EQ(message_of<lora::ShapeError>([&] {
              layer.attach("a", other);
            }).find("lora: " + name + ": update \"a\": expected "),
            0u);
  layer.attach("a", fitting);
  EXPECT_EQ(
      message_of<lora::StateError>([&] { layer.attach("a", fitting); }).find("lora: " + name + ": an update named"),
      0u);
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.activate({{"b", 1.0}});
            }).find("lora: " + name + ": no update named"),
            0u);
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.activate({{"a", 1.0}, {"a", 1.0}});
            }).find("lora: " + name + ": \"a\" stands"),
            0u);
  layer.activate({{"a", 1.0}});
  layer.merge();
  EXPECT_EQ(message_of<lora::StateError>([&] { layer.merge(); }).find("lora: " + name + "::merge: "), 0u);
  EXPECT_EQ(
      message_of<lora::StateError>([&] { layer.detach("a"); }).find("lora: " + name + ": the update \"a\" is merged"),
      0u);
  layer.unmerge();
}

TEST(LayerNames, AreTheirOwn) {
  const auto low_rank = [](Index out, Index in) {
    return lora::LowRank<float>(lora::Matrix<float>::Ones(out, 1), lora::Matrix<float>::Ones(1, in),
                                lora::scaling::fixed(1));
  };
  lora::Matrix<float> w0 = lora::Matrix<float>::Ones(4, 9);
  lora::Linear<float> linear(w0);
  expect_called(linear, "Linear", low_rank(4, 9));
  lora::Embedding<float> embedding(w0);
  expect_called(embedding, "Embedding", low_rank(9, 4));
  auto looking = lora::Embedding<float>::view(w0);
  expect_called(looking, "Embedding", low_rank(9, 4));
  lora::Conv<float> conv(w0, {.kernel = {3, 3}});
  expect_called(conv, "Conv", low_rank(4, 9));
  auto view = lora::Conv<float>::view(w0, {.kernel = {3, 3}});
  expect_called(view, "Conv", low_rank(4, 9));
  EXPECT_EQ(reference::message_of<lora::ShapeError>([&] {
              lora::Conv<float>(w0, {.kernel = {3, 3}}, w0.col(0).head(3));
            }),
            "lora: Conv: bias: expected 4 x 1, found 3 x 1");
}

/// A set with the gains of one weight is no set for another.
TEST(LayerNames, GainsAreThoseOfOneWeight) {
  const auto dora = [](Index out, Index in) {
    return lora::DoRA<float>(lora::LowRank<float>(lora::Matrix<float>::Ones(out, 1), lora::Matrix<float>::Ones(1, in),
                                                  lora::scaling::fixed(1)),
                             lora::Matrix<float>::Ones(out, 1));
  };
  const lora::Matrix<float> w0 = lora::Matrix<float>::Ones(4, 9), other = 2 * w0;
  const auto expect_refused = [](const auto& run, const char* call) {
    EXPECT_EQ(reference::message_of<lora::StateError>(run).find(std::string("lora: ") + call), 0u)
        << reference::message_of<lora::StateError>(run);
  };

  const lora::Embedding<float> embedding(w0), another(other);
  const lora::ActiveSet<float> set = embedding.for_weight(dora(9, 4));
  const std::vector<int> tokens{1, 3};
  lora::Activations<float> Y(9, 2);
  embedding.forward_into(tokens, Y, set);
  expect_refused([&] { another.forward_into(tokens, Y, set); }, "Embedding::forward_into");

  const lora::Conv<float> conv(w0, {.kernel = {3, 3}}), another_conv(other, {.kernel = {3, 3}});
  const lora::ActiveSet<float> of_conv = conv.for_weight(dora(4, 9));
  const std::vector<Index> size{3, 3};
  const lora::Activations<float> X = lora::Activations<float>::Ones(9, 1);
  lora::Activations<float> Z(4, 1);
  conv.forward_into(X, Z, size, of_conv);
  expect_refused([&] { another_conv.forward_into(X, Z, size, of_conv); }, "Conv::forward_into");
  expect_refused([&] { conv.forward_into(X, Z, size, lora::ActiveSet<float>(dora(4, 9))); }, "");
}

}  // namespace
