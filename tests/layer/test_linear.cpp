// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include <lora/fwd.hpp>
#include <lora/lora.hpp>

#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace {

using lora::Index;
using reference::message_of;

using reference::same_bits;

template <class T>
class Linear : public ::testing::Test {
 protected:
  using Compute = lora::compute_t<T>;
  static constexpr Index out = 37, in = 53;

  lora::LowRank<Compute> update(Index rank, double s) {
    return {reference::gaussian<Compute>(random, out, rank), reference::gaussian<Compute>(random, rank, in),
            lora::scaling::fixed(s)};
  }
  lora::Linear<T> layer() {
    lora::Linear<T> made(W0);
    made.attach("a", a);
    made.attach("b", b);
    made.attach("c", c);
    return made;
  }

  reference::Random random{7};
  lora::Matrix<T> W0 = reference::gaussian<T>(random, out, in);
  lora::LowRank<Compute> a = update(4, 0.1), b = update(1, -0.3), c = update(60, 0.01);
};
using Types = ::testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(Linear, Types);

TYPED_TEST(Linear, OwnsItsWeightWithoutGaps) {
  const auto layer = this->layer();
  const auto W = layer.weight().matrix();
  EXPECT_EQ(W.outerStride(), this->in);
  EXPECT_EQ(std::memcmp(W.data(), this->W0.data(), sizeof(TypeParam) * static_cast<std::size_t>(this->W0.size())), 0);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(W.data()) % 64, 0U);
}

TYPED_TEST(Linear, MergesWhatTheFreeFunctionMerges) {
  auto layer = this->layer();
  layer.activate({{"b", 0.5}, {"a", -2}});
  layer.merge();
  lora::Matrix<TypeParam> W = this->W0;
  const lora::ActiveSet<lora::compute_t<TypeParam>> set({{this->b, 0.5}, {this->a, -2}});
  const lora::UndoRecord record = lora::merge(W, set);
  EXPECT_TRUE(same_bits(layer.weight().matrix(), W));
  EXPECT_EQ(layer.weight().record().serialize(), record.serialize());
  EXPECT_TRUE(same_bits(layer.delta(), lora::delta<lora::compute_t<TypeParam>>(set, W.rows(), W.cols())));
}

TYPED_TEST(Linear, GivesEveryBitBackAfterManySwitches) {
  auto layer = this->layer();
  layer.activate({{"a", 1.0}});
  layer.merge();
  for (const double weight : {0.5, -1.0, 3.0, 1e-6, 1e3}) {
    layer.activate({{"c", weight}, {"a", 1 - weight}});
    layer.activate({{"b", weight}});
    layer.activate({});
    EXPECT_TRUE(layer.merged());
  }
  layer.activate({{"c", 1.0}, {"b", -1.0}});
  auto fresh = this->layer();
  fresh.activate({{"c", 1.0}, {"b", -1.0}});
  fresh.merge();
  EXPECT_TRUE(same_bits(layer.weight().matrix(), fresh.weight().matrix()));
  EXPECT_EQ(layer.weight().record().serialize(), fresh.weight().record().serialize());
  layer.unmerge();
  EXPECT_TRUE(same_bits(layer.weight().matrix(), this->W0));
  EXPECT_FALSE(layer.merged());
  EXPECT_EQ(layer.active().size(), 2u);
}

TYPED_TEST(Linear, CopiesAreIndependent) {
  auto layer = this->layer();
  layer.activate({{"a", 1.0}});
  layer.merge();
  auto copy = layer;
  layer.unmerge();
  EXPECT_TRUE(copy.merged());
  EXPECT_FALSE(same_bits(copy.weight().matrix(), this->W0));
  copy.activate({{"b", 1.0}});
  copy.unmerge();
  EXPECT_TRUE(same_bits(copy.weight().matrix(), this->W0));
  EXPECT_TRUE(same_bits(layer.weight().matrix(), this->W0));
  layer = copy;
  EXPECT_EQ(layer.active(), copy.active());
  EXPECT_EQ(layer.attached(), (std::vector<std::string>{"a", "b", "c"}));
}

TYPED_TEST(Linear, ViewsWorkInTheCallersMemoryAndLeaveThePaddingAlone) {
  using Map = lora::MatrixMap<TypeParam>;
  const Index stride = this->in + 5;
  const TypeParam guard(1234.0f);
  std::vector<TypeParam> memory(static_cast<std::size_t>(this->out * stride), guard);
  Map map(memory.data(), this->out, this->in, Eigen::OuterStride<>(stride));
  map = this->W0;
  auto layer = lora::Linear<TypeParam>::view(map);
  static_assert(!std::is_copy_constructible_v<decltype(layer)> && std::is_move_constructible_v<decltype(layer)>);
  layer.attach("a", this->a);
  layer.activate({{"a", 1.0}});
  layer.merge();
  auto owner = this->layer();
  owner.activate({{"a", 1.0}});
  owner.merge();
  EXPECT_TRUE(same_bits(map, owner.weight().matrix()));
  auto moved = std::move(layer);
  moved.unmerge();
  EXPECT_TRUE(same_bits(map, this->W0));
  for (Index i = 0; i < this->out; ++i)
    for (Index j = this->in; j < stride; ++j)
      EXPECT_EQ(lora::detail::to_bits(memory[static_cast<std::size_t>(i * stride + j)]), lora::detail::to_bits(guard));
}

TYPED_TEST(Linear, ViewsFollowTheOrderOfTheMemory) {
  lora::Matrix<TypeParam, lora::column_major> W = this->W0;
  auto layer = lora::Linear<TypeParam>::view(W);
  layer.attach("a", this->a);
  layer.activate({{"a", 1.0}});
  layer.merge();
  auto owner = this->layer();
  owner.activate({{"a", 1.0}});
  owner.merge();
  EXPECT_TRUE(same_bits(W, owner.weight().matrix()));
  layer.unmerge();
  EXPECT_TRUE(same_bits(W, this->W0));
}

TYPED_TEST(Linear, ReadOnlyMemoryCanBeUsedUnmerged) {
  const lora::Matrix<TypeParam>& W = this->W0;
  auto layer = lora::Linear<TypeParam>::view(W);
  layer.attach("a", this->a);
  layer.activate({{"a", 2.0}});
  auto owner = this->layer();
  owner.activate({{"a", 2.0}});
  const auto X = reference::gaussian<lora::compute_t<TypeParam>, lora::column_major>(this->random, this->in, 3);
  EXPECT_TRUE(same_bits(layer.forward(X), owner.forward(X)));
}

TYPED_TEST(Linear, SaysWhatIsWrongAndChangesNothing) {
  using Real = lora::compute_t<TypeParam>;
  auto layer = this->layer();
  layer.activate({{"a", 1.0}});
  const lora::LowRank<Real> other(lora::Matrix<Real>::Ones(3, 1), lora::Matrix<Real>::Ones(1, 4), lora::scaling::fixed(1));
  EXPECT_EQ(message_of<lora::ShapeError>([&] { layer.attach("x", other); }),
            "lora: Linear: update \"x\": expected 37 x 53, found 3 x 4");
  EXPECT_EQ(message_of<lora::StateError>([&] { layer.attach("a", this->b); }),
            "lora: Linear: an update named \"a\" is attached already");
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.activate({{"b", 1.0}, {"d", 1.0}});
            }),
            "lora: Linear: no update named \"d\" is attached; attached are: a, b, c");
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.activate({{"b", 1.0}, {"b", 2.0}});
            }),
            "lora: Linear: \"b\" stands twice in the active set");
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THROW(layer.activate({{"b", infinity}}), lora::ValueError);
  EXPECT_THROW(layer.activate({{"b", std::nan("")}}), lora::ValueError);
  EXPECT_THROW(layer.unmerge(), lora::StateError);
  EXPECT_THROW(layer.weight().record(), lora::StateError);
  EXPECT_EQ(layer.active(), (std::vector<lora::ActiveName>{{"a", 1.0}}));

  layer.merge();
  EXPECT_THROW(layer.merge(), lora::StateError);
  EXPECT_THROW(layer.activate({{"b", infinity}}), lora::ValueError);
  EXPECT_EQ(message_of<lora::StateError>([&] { layer.detach("a"); }),
            "lora: Linear: the update \"a\" is merged; unmerge or activate another set before detaching it");
  layer.detach("c");
  EXPECT_EQ(layer.attached(), (std::vector<std::string>{"a", "b"}));
  layer.unmerge();
  EXPECT_TRUE(same_bits(layer.weight().matrix(), this->W0));
  layer.detach("a");
  EXPECT_TRUE(layer.active().empty());
  EXPECT_THROW(layer.detach("a"), lora::ValueError);
  const auto X = lora::Activations<Real>::Ones(this->in + 1, 2).eval();
  EXPECT_EQ(message_of<lora::ShapeError>([&] { static_cast<void>(layer.forward(X)); }),
            "lora: Linear: X: expected 53 rows, one column per sample, found 54 x 2");
}

/// The updates' factors are held by the layer: what the caller does to its own afterwards must not reach a merged weight.
TYPED_TEST(Linear, KeepsTheFactorsItMergedWith) {
  auto layer = this->layer();
  layer.activate({{"a", 1.0}});
  layer.merge();
  this->a = this->b;
  layer.unmerge();
  EXPECT_TRUE(same_bits(layer.weight().matrix(), this->W0));
}

/// A weight of 0 is not in the set: the same bits as if the update were not named.
TYPED_TEST(Linear, WeightZeroIsNotInTheSet) {
  auto with = this->layer(), without = this->layer();
  with.activate({{"b", 0.0}, {"a", 1.0}, {"c", -0.0}});
  without.activate({{"a", 1.0}});
  const auto X = reference::gaussian<lora::compute_t<TypeParam>, lora::column_major>(this->random, this->in, 2);
  EXPECT_TRUE(same_bits(with.forward(X), without.forward(X)));
  with.merge();
  without.merge();
  EXPECT_TRUE(same_bits(with.weight().matrix(), without.weight().matrix()));
  EXPECT_EQ(with.weight().record().serialize(), without.weight().record().serialize());
}

TEST(LinearFactors, OfStorageTypeGiveTheSameBitsAsWidenedOnes) {
  reference::Random random(3);
  const auto W0 = reference::gaussian<Eigen::bfloat16>(random, 40, 40);
  const lora::LowRank<Eigen::bfloat16> narrow(reference::gaussian<Eigen::bfloat16>(random, 40, 3),
                                              reference::gaussian<Eigen::bfloat16>(random, 3, 40),
                                              lora::scaling::alpha(2));
  lora::Linear<Eigen::bfloat16> one(W0), other(W0);
  one.attach("u", narrow);
  other.attach("u", narrow.cast<float>());
  one.activate({{"u", 0.7}});
  other.activate({{"u", 0.7}});
  one.merge();
  other.merge();
  EXPECT_TRUE(same_bits(one.weight().matrix(), other.weight().matrix()));
  EXPECT_TRUE(same_bits(lora::delta(narrow), lora::delta(narrow.cast<float>())));
}

TEST(LinearBias, IsAddedMergedAndUnmerged) {
  reference::Random random(4);
  const auto W0 = reference::gaussian<double>(random, 5, 6);
  const Eigen::VectorXd bias = Eigen::VectorXd::LinSpaced(5, -2, 2);
  lora::Linear<double> layer(W0, bias);
  const lora::Activations<double> zero = lora::Activations<double>::Zero(6, 2);
  EXPECT_TRUE(layer.forward(zero) == bias.replicate(1, 2));
  layer.merge();
  EXPECT_TRUE(layer.forward(zero) == bias.replicate(1, 2));
  layer.set_bias(W0.transpose().topRows(5) * bias);  // an expression
  EXPECT_TRUE(layer.bias().isApprox((W0.transpose().topRows(5) * bias).eval()));
  layer.set_bias(Eigen::VectorXd());
  EXPECT_TRUE(layer.forward(zero) == lora::Activations<double>::Zero(5, 2));
  EXPECT_THROW((lora::Linear<double>(W0, Eigen::VectorXd::Zero(6).eval())), lora::ShapeError);
}

TEST(LinearBias, OfTheStorageTypeIsTakenAsItIs) {
  reference::Random random(5);
  const auto W0 = reference::gaussian<Eigen::half>(random, 5, 6);
  const lora::Matrix<Eigen::half, lora::column_major> bias =
      reference::gaussian<Eigen::half, lora::column_major>(random, 5, 1);
  const lora::Linear<Eigen::half> layer(W0, bias);
  EXPECT_TRUE(layer.forward(lora::Activations<float>::Zero(6, 1)) == bias.cast<float>());
}

TYPED_TEST(Linear, SharesAnUpdate) {
  using Update = lora::LowRank<typename TestFixture::Compute>;
  const auto shared = std::make_shared<const Update>(this->a);
  lora::Linear<TypeParam> one(this->W0), other(this->W0);
  one.attach("a", shared);
  other.attach("a", this->a);
  EXPECT_EQ(shared.use_count(), 2);
  one.activate({{"a", 0.5}});
  other.activate({{"a", 0.5}});
  EXPECT_TRUE(same_bits(other.delta(), one.delta()));
  EXPECT_NE(message_of<lora::ValueError>([&] { one.attach("b", std::shared_ptr<const Update>()); }).find("\"b\""),
            std::string::npos);
}

TYPED_TEST(Linear, IsNotMergedWhenMovedFrom) {
  auto layer = this->layer();
  layer.activate({{"a"}});
  layer.merge();
  auto moved = std::move(layer);
  EXPECT_FALSE(layer.merged());  // NOLINT(bugprone-use-after-move): what is asked for
  EXPECT_TRUE(moved.merged());
  layer = std::move(moved);
  EXPECT_FALSE(moved.merged());  // NOLINT(bugprone-use-after-move)
  layer.unmerge();
  EXPECT_TRUE(same_bits(this->W0, layer.weight().matrix()));
}

TEST(ForwardDeclarations, AreEnoughForAPointer) {
  struct Engine {
    lora::Linear<float>* layer = nullptr;
  };
  EXPECT_EQ(Engine().layer, nullptr);
}

}  // namespace
