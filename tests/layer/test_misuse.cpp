// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Mistakes that new users make, and the sentence that each gets.

#include <lora/lora.hpp>

#include "reference/expect.hpp"

namespace {

using lora::Index;
using reference::message_of;

lora::LowRank<float> low_rank(Index out, Index in) {
  return {Eigen::MatrixXf::Ones(out, 2), Eigen::MatrixXf::Ones(2, in), lora::scaling::alpha(2)};
}

TEST(Misuse, OfALayerThatWasMovedFrom) {
  lora::AnyLinear<float> layer(lora::Linear<float>(Eigen::MatrixXf::Ones(3, 4)));
  const lora::AnyLinear<float> other = std::move(layer);
  const Eigen::MatrixXf X = Eigen::MatrixXf::Ones(4, 1);
  const std::string expected = "lora: AnyLinear: this layer was moved from";
  EXPECT_EQ(message_of<lora::StateError>([&] { static_cast<void>(layer.forward(X)); }), expected);
  EXPECT_EQ(message_of<lora::StateError>([&] { static_cast<void>(layer.rows()); }), expected);
  EXPECT_EQ(message_of<lora::StateError>([&] { layer.merge(); }), expected);
  layer.shrink_to_fit();
  EXPECT_EQ(other.forward(X)(0, 0), 4.0f);
}

TEST(Misuse, OfNullPointers) {
  float* const none = nullptr;
  const lora::MatrixMap<float> W(none, 3, 4, Eigen::OuterStride<>(4));
  EXPECT_EQ(message_of<lora::ValueError>([&] { static_cast<void>(lora::Linear<float>::view(W)); }),
            "lora: a weight: expected memory for 3 x 4, found a null pointer");
  EXPECT_EQ(message_of<lora::ValueError>([&] { static_cast<void>(lora::samples(none, 3, 4)); }),
            "lora: samples: expected memory for [3, 4], found a null pointer");
  const lora::Linear<float> layer(Eigen::MatrixXf::Ones(3, 4));
  const Eigen::Map<const Eigen::MatrixXf> X(none, 4, 2);
  EXPECT_EQ(message_of<lora::ValueError>([&] { static_cast<void>(layer.forward(X)); }),
            "lora: activations: expected memory for 4 x 2, found a null pointer");
  EXPECT_EQ(lora::samples(none, 0, 4).cols(), 0);
}

TEST(Misuse, OfRecords) {
  Eigen::MatrixXf W = Eigen::MatrixXf::Ones(64, 80);
  const auto update = low_rank(64, 80);
  EXPECT_EQ(message_of<lora::RecordError>([&] { lora::unmerge(W, update, lora::UndoRecord()); }),
            "lora: undo record: expected that of a merge, found an empty one: never filled, moved from or cleared");
  const auto bytes = lora::merge(W, update).serialize();
  auto longer = bytes;
  longer.resize(bytes.size() + 8);
  EXPECT_NE(message_of<lora::RecordError>([&] { static_cast<void>(lora::UndoRecord::deserialize(longer)); })
                .find("8 bytes more"),
            std::string::npos);
  for (std::size_t size = 80; size < bytes.size(); ++size) {
    const std::string found = message_of<lora::RecordError>(
        [&] { static_cast<void>(lora::UndoRecord::deserialize(std::span(bytes).first(size))); });
    EXPECT_TRUE(found.find("cut off") != std::string::npos || found.find("size: expected at least") != std::string::npos) << found;
  }
  EXPECT_NE(message_of<lora::RecordError>([&] {
              lora::unmerge(W, {{update, 0.5}}, lora::UndoRecord::deserialize(bytes));
            }).find("other factors or coefficients"),
            std::string::npos);
}

TEST(Misuse, OfNarrowTypes) {
  Eigen::MatrixXf B = Eigen::MatrixXf::Ones(3, 2);
  B(1, 1) = 1e6f;
  const lora::LowRank<float> update(B, Eigen::MatrixXf::Ones(2, 4), lora::scaling::fixed(1));
  EXPECT_EQ(message_of<lora::ValueError>([&] { static_cast<void>(update.cast<Eigen::half>()); }),
            "lora: LowRank: B: expected numbers that fit in half, found 1e+06 at (1, 1)");
}

TEST(Misuse, OfNamesInAGroup) {
  lora::LayerGroup<float> model;
  model.add("a", lora::Linear<float>(Eigen::MatrixXf::Ones(3, 4)));
  model.add("b", lora::Linear<float>(Eigen::MatrixXf::Ones(3, 4)));
  EXPECT_EQ(message_of<lora::ValueError>([&] { static_cast<void>(model["c"]); }),
            "lora: LayerGroup: no layer \"c\"; layers are: a, b");
  EXPECT_EQ(message_of<lora::ValueError>([&] { model.activate({{"style", 1.0}}); }),
            "lora: LayerGroup: no adapter \"style\" is attached; attached are: none");
  for (const char* name : {"1", "2", "3", "4", "5", "6", "7", "8", "9"}) model.attach(name, {});
  EXPECT_EQ(message_of<lora::ValueError>([&] { model.detach("0"); }),
            "lora: LayerGroup: no adapter \"0\" is attached; attached are: 1, 2, 3, 4, 5, 6, 7, 8 and 1 more");
}

TEST(Misuse, OfBatches) {
  const lora::Linear<float> layer(Eigen::MatrixXf::Ones(3, 4));
  EXPECT_EQ(message_of<lora::ShapeError>([&] { static_cast<void>(layer.forward_workspace(-3)); }),
            "lora: forward_workspace: expected a batch of 0 or more columns, found -3");
}

}  // namespace
