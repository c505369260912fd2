// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What engines need of layers: sets of a request's own, buffers as samples, views in containers, restarts, layers of mixed
// types in one container and group.

#include "lora/layer/layer_group.hpp"
#include "lora/layer/linear.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <thread>

namespace {

using lora::Index;
using reference::message_of;
using reference::Random;
using reference::Updates;

template <class Layout>
class Engine : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Weight = lora::Matrix<Stored, Layout::order>;
  static constexpr Index rows = 53, cols = 77;

  Engine() {
    a.add_gaussian(random, rows, cols, 4, 0.3);
    b.add_dora(random, rows, cols, 3, 0.3, 1, 0.7);
    c.add_dense(random, rows, cols, 0.3);
  }

  Random random{250};
  Weight w0 = reference::gaussian<Stored, Layout::order>(random, rows, cols);
  Updates<Computed> a, b, c;
};
TYPED_TEST_SUITE(Engine, reference::Layouts);

/// Many threads, each with its own set over one layer: the bits of each alone.
TYPED_TEST(Engine, RequestsHaveSetsOfTheirOwn) {
  using C = typename TestFixture::Computed;
  using Layer = lora::Linear<typename TestFixture::Stored, TypeParam::order>;
  const Layer layer(this->w0);
  const std::vector<lora::ActiveSet<C>> sets = {this->a.set(), layer.for_weight(this->b.set()), this->c.set(), {}};
  std::vector<lora::Matrix<C>> X, expected;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    X.push_back(reference::gaussian<C>(this->random, this->cols, i % 2 == 0 ? 3 : 41));
    Layer own(this->w0);
    std::vector<lora::ActiveName> active;
    for (const auto& [update, coefficient] : sets[i].updates()) {
      own.attach("only", update);
      active.push_back({"only", coefficient});
    }
    own.activate(active);
    expected.push_back(own.forward(X.back()));
  }
  std::vector<int> same(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < 40; ++i) {
        const std::size_t which = (t + i) % 4;
        lora::Activations<C> Y(this->rows, X[which].cols());
        layer.forward_into(X[which], Y, sets[which]);
        if (reference::same_bits(expected[which], Y)) ++same[t];
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 40));
}

TYPED_TEST(Engine, ASetOfItsOwnNeedsW0) {
  using C = typename TestFixture::Computed;
  lora::Linear<typename TestFixture::Stored, TypeParam::order> layer(this->w0);
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 2);
  lora::Activations<C> Y = lora::Activations<C>::Constant(this->rows, 2, C{5});
  EXPECT_THROW(layer.forward_into(X, Y, this->b.set()), lora::StateError) << "not bound";
  layer.attach("a", this->a[0].update);
  layer.activate({{"a", 1.0}});
  layer.merge();
  EXPECT_THROW(layer.forward_into(X, Y, this->a.set()), lora::StateError) << "merged";
  layer.unmerge();
  Updates<C> other;
  other.add_gaussian(this->random, this->rows + 1, this->cols, 1, 1);
  EXPECT_THROW(layer.forward_into(X, Y, other.set()), lora::ShapeError);
  EXPECT_TRUE((Y.array() == C{5}).all());
}

TYPED_TEST(Engine, BuffersAreSamples) {
  using C = typename TestFixture::Computed;
  const lora::Linear<typename TestFixture::Stored, TypeParam::order> layer(this->w0);
  const Index batch = 5;
  const lora::Matrix<C> buffer = reference::gaussian<C>(this->random, batch, this->cols);  // [batch, features]
  std::vector<C> out(static_cast<std::size_t>(batch * this->rows));
  const C* in = buffer.data();
  layer.forward_into(lora::samples(in, batch, this->cols), lora::samples(out.data(), batch, this->rows));
  const lora::Activations<C> expected = layer.forward(buffer.transpose());
  EXPECT_TRUE(reference::same_bits(expected, lora::samples(out.data(), batch, this->rows)));
  const std::string message = message_of<lora::ShapeError>([&] { static_cast<void>(layer.forward(buffer)); });
  EXPECT_EQ(message, "lora: Linear: X: expected 77 rows, one column per sample, found 5 x 77: transpose it, or map a [batch, "
                     "features] buffer with lora::samples()");
  lora::Matrix<C> across(batch, this->rows);
  EXPECT_NE(message_of<lora::ShapeError>([&] { layer.forward_into(buffer.transpose(), across); })
                .find("Y: expected 53 rows, one column per sample, found 5 x 53: transpose it"),
            std::string::npos);
  EXPECT_NE(message_of<lora::ShapeError>([&] {
              static_cast<void>(lora::forward(this->w0, {}, buffer));
            }).find("transpose it"),
            std::string::npos);
}

TYPED_TEST(Engine, ViewsLiveInContainers) {
  using T = typename TestFixture::Stored;
  using View = lora::Linear<T, TypeParam::order, lora::Ownership::view>;
  std::vector<typename TestFixture::Weight> memory(6, this->w0);
  std::vector<View> views;
  for (auto& W : memory) {
    views.push_back(lora::Linear<T>::view(W));
    views.back().attach("b", this->b[0].update);
    views.back().activate({{"b", 0.5}});
    views.back().merge();
  }
  const auto merged = memory[0];
  EXPECT_FALSE(reference::same_bits(this->w0, merged));
  std::swap(views[0], views[5]);
  views.erase(views.begin() + 2);
  View held = std::move(views[1]);
  views[1] = std::move(held);
  for (View& view : views) view.unmerge();
  for (std::size_t i = 0; i < 6; ++i) EXPECT_TRUE(reference::same_bits(i == 2 ? merged : this->w0, memory[i])) << i;
}

TYPED_TEST(Engine, LayersComeBackAfterARestart) {
  using T = typename TestFixture::Stored;
  auto W = this->w0;
  std::vector<std::byte> bytes;
  {
    auto layer = lora::Linear<T>::view(W);
    layer.attach("b", this->b[0].update);
    layer.attach("c", this->c[0].update);
    layer.activate({{"b", 0.7}, {"c", -1}});
    layer.merge();
    const auto record = layer.release();
    EXPECT_FALSE(layer.merged());
    EXPECT_TRUE(layer.active().empty());
    EXPECT_THROW(static_cast<void>(layer.release()), lora::StateError);
    bytes = record.serialize();
  }
  const auto merged = W;
  auto layer = lora::Linear<T>::view(W);
  layer.attach("b", this->b[0].update);
  layer.attach("c", this->c[0].update);
  EXPECT_THROW(layer.resume({{"b", 0.6}, {"c", -1}}, lora::UndoRecord::deserialize(bytes)), lora::RecordError);
  EXPECT_THROW(layer.resume({{"b", 0.7}, {"x", -1}}, lora::UndoRecord::deserialize(bytes)), lora::ValueError);
  EXPECT_THROW(layer.resume({{"b", 0.7}, {"c", -1}}, lora::UndoRecord()), lora::RecordError);
  EXPECT_FALSE(layer.merged());
  layer.resume({{"b", 0.7}, {"c", -1}}, lora::UndoRecord::deserialize(bytes));
  EXPECT_TRUE(layer.merged());
  EXPECT_EQ(layer.active().size(), 2u);
  EXPECT_TRUE(reference::same_bits(merged, W));
  EXPECT_THROW(layer.resume({{"b", 0.7}, {"c", -1}}, lora::UndoRecord::deserialize(bytes)), lora::StateError);
  layer.activate({{"c", 1.0}});
  EXPECT_TRUE(reference::same_bits(reference::merge<T, TypeParam::order>(this->w0, this->c).weight, W));
  layer.unmerge();
  EXPECT_TRUE(reference::same_bits(this->w0, W));
}

TYPED_TEST(Engine, BiasMustBeFinite) {
  using C = typename TestFixture::Computed;
  using Vector = Eigen::Matrix<C, Eigen::Dynamic, 1>;
  const Vector good = reference::gaussian<C>(this->random, this->rows, 1);
  lora::Linear<typename TestFixture::Stored, TypeParam::order> layer(this->w0, good);
  for (const C bad : {std::numeric_limits<C>::quiet_NaN(), std::numeric_limits<C>::infinity()}) {
    Vector bias = good;
    bias(7) = bad;
    EXPECT_NE(message_of<lora::ValueError>([&] { layer.set_bias(bias); }).find("bias"), std::string::npos);
    EXPECT_TRUE(reference::same_bits(good, layer.bias()));
  }
}

/// What lies with gaps in memory is not a bias; what lies without is one, whatever it is a piece of.
TYPED_TEST(Engine, ABiasLiesWithoutGaps) {
  using C = typename TestFixture::Computed;
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 3);
  const lora::Matrix<C> by_rows = reference::gaussian<C>(this->random, this->rows, this->rows);
  const lora::Matrix<C, lora::column_major> by_columns = by_rows;
  const Eigen::Matrix<C, Eigen::Dynamic, 1> column = by_rows.col(2), row = by_rows.row(2);
  const auto forward = [&](const auto& bias) {
    lora::Activations<C> Y = lora::Activations<C>::Constant(this->rows, 3, C{5});
    lora::forward_into(this->w0, {}, X, Y, bias);
    return Y;
  };
  const auto refused = [&](const auto& bias) {
    lora::Activations<C> Y = lora::Activations<C>::Constant(this->rows, 3, C{5});
    EXPECT_EQ(message_of<lora::ShapeError>([&] { lora::forward_into(this->w0, {}, X, Y, bias); }),
              "lora: forward_into: bias: expected elements one behind the other, found them 53 apart");
    EXPECT_TRUE((Y.array() == C{5}).all());
  };
  refused(by_rows.col(2));
  refused(by_rows.block(0, 2, this->rows, 1));
  refused(by_columns.row(2).transpose());
  EXPECT_TRUE(reference::same_bits(forward(column), forward(by_columns.col(2))));
  EXPECT_TRUE(reference::same_bits(forward(row), forward(by_rows.row(2).transpose())));
  EXPECT_FALSE(reference::same_bits(forward(row), forward(column)));
  // A layer copies its bias, so any will do.
  using Layer = lora::Linear<typename TestFixture::Stored, TypeParam::order>;
  EXPECT_TRUE(reference::same_bits(Layer(this->w0, column).forward(X), Layer(this->w0, by_rows.col(2)).forward(X)));
}

/// A view of memory that nobody may write, which holds W' since before: it is used as it is.
TYPED_TEST(Engine, AReadOnlyLayerMayBeMerged) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  typename TestFixture::Weight merged = this->w0;
  const lora::UndoRecord record = lora::merge(merged, this->b.set());
  const auto bytes = record.serialize();
  const typename TestFixture::Weight& memory = merged;
  auto layer = lora::Linear<T>::view(memory);
  layer.attach("b", this->b[0].update);
  layer.attach("c", this->c[0].update);
  layer.resume({{"b", 0.7}}, record);
  EXPECT_EQ(bytes, record.serialize()) << "the caller's record";
  EXPECT_TRUE(layer.merged());
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 3);
  EXPECT_TRUE(reference::same_bits(lora::forward(merged, {}, X), layer.forward(X)));
  EXPECT_EQ(message_of<lora::StateError>([&] {
              layer.activate({{"c", 1.0}});
            }),
            "lora: Linear::activate: the layer is merged and looks at read-only memory: it cannot switch");
  EXPECT_EQ(layer.active(), (std::vector<lora::ActiveName>{{"b", 0.7}}));
  EXPECT_TRUE(reference::same_bits(lora::forward(merged, {}, X), layer.forward(X)));
  EXPECT_EQ(bytes, layer.release().serialize());
  layer.activate({{"c", 1.0}});
  EXPECT_FALSE(layer.merged());
}

/// A caller keeps the record that it resumed with, whether that went well or not.
TYPED_TEST(Engine, ResumeLeavesTheRecordToTheCaller) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  auto W = this->w0;
  lora::UndoRecord record = lora::merge(W, this->a.set());
  const auto bytes = record.serialize();
  auto layer = lora::Linear<T>::view(W);
  layer.attach("a", this->a[0].update);
  EXPECT_THROW(layer.resume({{"a", 2.0}}, std::move(record)), lora::RecordError);
  EXPECT_EQ(bytes, record.serialize());  // NOLINT(bugprone-use-after-move): it is not moved from
  layer.resume({{"a", 1.0}}, std::move(record));
  EXPECT_EQ(bytes, record.serialize());  // NOLINT(bugprone-use-after-move)
  layer.unmerge();
  EXPECT_TRUE(reference::same_bits(this->w0, W));

  lora::LayerGroup<C> group;
  W = this->w0;
  static_cast<void>(lora::merge(W, this->a.set()));
  group.add("w", lora::Linear<T>::view(W));
  group.attach("a", {{"w", this->a[0].update}});
  std::map<std::string, lora::UndoRecord> records{{"w", record}};
  EXPECT_THROW(group.resume(std::vector<lora::ActiveName>{{"a", 2.0}}, records), lora::RecordError);
  group.resume(std::vector<lora::ActiveName>{{"a", 1.0}}, records);
  EXPECT_EQ(bytes, records.at("w").serialize());
  group.unmerge();
  EXPECT_TRUE(reference::same_bits(this->w0, W));
}

TYPED_TEST(Engine, AnyLinearIsTheLayer) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  lora::Linear<T, TypeParam::order> layer(this->w0);
  std::vector<lora::AnyLinear<C>> layers;
  layers.emplace_back(lora::Linear<T, TypeParam::order>(this->w0));
  layers.emplace_back(lora::Linear<C>(lora::Matrix<C>::Identity(3, 3)));
  lora::AnyLinear<C>& any = layers[0];
  EXPECT_EQ(any.rows(), this->rows);
  EXPECT_EQ(any.cols(), this->cols);
  EXPECT_EQ(any.type(), lora::detail::ScalarTraits<T>::type);
  for (auto* update : {&this->a, &this->b}) {
    any.attach(update == &this->a ? "a" : "b", (*update)[0].update);
    layer.attach(update == &this->a ? "a" : "b", (*update)[0].update);
  }
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 4);
  any.activate({{"b", 0.5}, {"a", 2}});
  layer.activate({{"b", 0.5}, {"a", 2}});
  EXPECT_TRUE(reference::same_bits(layer.forward(X), any.forward(X)));
  lora::Activations<C> Y(this->rows, 4), own(this->rows, 4);
  any.forward_into(X, Y, any.for_weight(this->b.set()));
  layer.forward_into(X, own, layer.for_weight(this->b.set()));
  EXPECT_TRUE(reference::same_bits(own, Y));
  any.merge();
  layer.merge();
  EXPECT_EQ(layer.weight().record().serialize(), any.record().serialize());
  EXPECT_TRUE(reference::same_bits(layer.forward(X), any.forward(X)));
  lora::UndoRecord record = any.release();
  EXPECT_FALSE(any.merged());
  any.resume(layer.active(), std::move(record));
  EXPECT_TRUE(any.merged());
  any.unmerge();
  any.detach("a");
  EXPECT_EQ(any.attached(), (std::vector<std::string>{"b"}));
  EXPECT_THROW(any.forward_into(X.topRows(3), Y), lora::ShapeError);
}

/// Layers of three types in one group: what fails in one of them is taken back in all.
TEST(LayerGroup, IsAllOrNothing) {
  Random random(251);
  lora::LayerGroup<float> group;
  lora::Matrix<Eigen::bfloat16> first = reference::gaussian<Eigen::bfloat16>(random, 9, 12);
  lora::Matrix<float, lora::column_major> last = reference::gaussian<float, lora::column_major>(random, 9, 12);
  const auto first0 = first;
  const auto last0 = last;
  group.add("a", lora::Linear<Eigen::bfloat16>::view(first));
  group.add("b", lora::Linear<Eigen::half>(reference::gaussian<Eigen::half>(random, 5, 7)));
  group.add("c", lora::Linear<float>::view(last));
  EXPECT_EQ(group.size(), 3u);
  EXPECT_THROW(group.add("a", lora::Linear<float>(lora::Matrix<float>::Ones(2, 2))), lora::StateError);
  EXPECT_THROW(group["x"], lora::ValueError);

  using Shared = std::shared_ptr<const lora::Update<float>>;
  Updates<float> updates, small;
  updates.add_gaussian(random, 9, 12, 2, 0.3);
  updates.add_dora(random, 9, 12, 1, 0.3, 1);
  small.add_gaussian(random, 5, 7, 1, 0.1);
  const Shared one = updates[0].update, two = updates[1].update, little = small[0].update;
  EXPECT_THROW(group.attach("bad", {{"a", one}, {"b", one}}), lora::ShapeError);
  EXPECT_TRUE(group["a"].attached().empty());
  EXPECT_THROW(group.attach("bad", {{"a", one}, {"nowhere", one}}), lora::ValueError);
  EXPECT_TRUE(group["a"].attached().empty());
  EXPECT_TRUE(group.attached().empty());
  group.attach("one", {{"a", one}, {"c", one}});
  group.attach("two", {{"a", two}, {"b", little}, {"c", two}});
  EXPECT_THROW(group.attach("two", {}), lora::StateError);
  EXPECT_THROW(group.activate({{"three", 1.0}}), lora::ValueError);

  group.activate({{"one", 1.0}});
  group.merge();
  EXPECT_TRUE(group.merged());
  EXPECT_TRUE(group["b"].merged());
  const auto merged = first;
  EXPECT_FALSE(reference::same_bits(first0, merged));
  EXPECT_THROW(group.merge(), lora::StateError);
  EXPECT_TRUE(reference::same_bits(merged, first));

  // The last layer's weight has been edited: the switch of the ones before it is taken back.
  const float kept = last(8, 11);
  last(8, 11) = kept + 1;
  EXPECT_THROW(group.activate({{"two", 1.0}, {"one", 0.5}}), lora::RecordError);
  EXPECT_TRUE(reference::same_bits(merged, first));
  EXPECT_EQ(group["a"].active(), (std::vector<lora::ActiveName>{{"one", 1.0}}));
  EXPECT_EQ(group.active(), (std::vector<lora::ActiveName>{{"one", 1.0}}));
  EXPECT_THROW(group.unmerge(), lora::RecordError);
  EXPECT_TRUE(group["a"].merged());
  EXPECT_TRUE(reference::same_bits(merged, first));
  last(8, 11) = kept;

  EXPECT_THROW(group.detach("one"), lora::StateError);
  group.activate({{"two", 1.0}});
  group.detach("one");
  EXPECT_EQ(group.attached(), (std::vector<std::string>{"two"}));
  group.unmerge();
  EXPECT_FALSE(group.merged());
  EXPECT_TRUE(reference::same_bits(first0, first));
  EXPECT_TRUE(reference::same_bits(last0, last));
}

/// An update of the tests' own that can be made to throw.
class Fragile final : public lora::Update<float> {
 public:
  Fragile(Index rows, Index cols, std::shared_ptr<const bool> broken)
      : rows_(rows), cols_(cols), broken_(std::move(broken)) {}
  Index rows() const override { return rows_; }
  Index cols() const override { return cols_; }
  std::string_view kind() const override { return "fragile"; }
  std::vector<lora::UpdateTensor> tensors() const override { return {}; }
  void add_to(lora::FormBuilder<float>& form, double coefficient) const override {
    if (*broken_) throw std::runtime_error("broken");
    form.add_dense(coefficient, lora::Matrix<float>::Ones(rows_, cols_).eval());
  }

 private:
  Index rows_, cols_;
  std::shared_ptr<const bool> broken_;
};

/// Layers whose active sets differ, of which the last throws: each has its own set again.
TEST(LayerGroup, GivesEachLayerItsOwnSetBack) {
  lora::LayerGroup<float> group;
  for (const char* path : {"a", "b", "c"}) group.add(path, lora::Linear<float>(lora::Matrix<float>::Identity(3, 4)));
  const auto broken = std::make_shared<bool>(false);
  const auto update = std::make_shared<const Fragile>(3, 4, std::make_shared<const bool>(false));
  const auto fragile = std::make_shared<const Fragile>(3, 4, broken);
  group.attach("one", {{"a", update}, {"b", update}, {"c", update}});
  group.attach("two", {{"a", update}, {"c", fragile}});
  group.activate({{"one", 1.0}});
  group["b"].activate({{"one", 0.25}});  // this layer alone
  group["a"].activate({{"two", 3.0}});
  const auto sets = [&] {
    std::vector<std::vector<lora::ActiveName>> all;
    for (const char* path : {"a", "b", "c"}) all.push_back(group[path].active());
    return all;
  };
  const auto before = sets();
  *broken = true;
  for (const bool merged : {false, true}) {
    if (merged) group.merge();
    EXPECT_EQ(message_of<std::runtime_error>([&] { group.activate({{"two", 1.0}, {"one", 0.5}}); }), "broken");
    EXPECT_EQ(before, sets());
    EXPECT_EQ(group.active(), (std::vector<lora::ActiveName>{{"one", 1.0}}));
  }
  EXPECT_EQ(message_of<lora::StateError>([&] { group.detach("two"); }),
            "lora: LayerGroup: the adapter \"two\" is active in the layer \"a\"");
  *broken = false;
  group.activate({{"two", 1.0}, {"one", 0.5}});
  EXPECT_EQ(group["b"].active(), (std::vector<lora::ActiveName>{{"one", 0.5}}));
  group.unmerge();
  for (const char* path : {"a", "b", "c"})
    EXPECT_TRUE(group[path].forward(lora::Activations<float>::Zero(4, 1)).isZero());
}

/// Layers of one group are merged together or not at all.
TEST(LayerGroup, TakesNoLayerBesideMergedOnes) {
  const auto plain = [] { return lora::Linear<float>(lora::Matrix<float>::Identity(3, 4)); };
  const auto merged = [&] {
    auto layer = plain();
    layer.merge();
    return layer;
  };
  lora::LayerGroup<float> group;
  group.add("a", plain());
  EXPECT_EQ(message_of<lora::StateError>([&] { group.add("b", merged()); }),
            "lora: LayerGroup: the layer \"b\" comes to merged ones; unmerge first");
  group.merge();
  EXPECT_EQ(message_of<lora::StateError>([&] { group.add("b", plain()); }),
            "lora: LayerGroup: the layer \"b\" comes to merged ones; unmerge first");
  EXPECT_EQ(group.size(), 1u);
  group.unmerge();
  group.add("b", plain());
  EXPECT_EQ(group.size(), 2u);
}

TYPED_TEST(Engine, AnyLinearHasABiasOverflowsAndDelta) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  using Layer = lora::Linear<T, TypeParam::order>;
  Layer layer(this->w0);
  lora::AnyLinear<C> any = Layer(this->w0);
  const auto bias = reference::gaussian<T, lora::column_major>(this->random, this->rows, 1);
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 4);
  lora::LowRank<C> large(lora::Matrix<C>::Constant(this->rows, 1, reference::widen(std::numeric_limits<T>::max())),
                         reference::gaussian<C>(this->random, 1, this->cols, 2), lora::scaling::fixed(1));
  for (const auto& [name, update] :
       {std::pair("a", this->a[0].update), {"large", std::make_shared<const lora::LowRank<C>>(large)}}) {
    EXPECT_FALSE(any.is_attached(name));
    any.attach(name, update);
    layer.attach(name, update);
    EXPECT_TRUE(any.is_attached(name));
    any.activate({{name, 0.7}});
    layer.activate({{name, 0.7}});
    EXPECT_TRUE(reference::same_bits(layer.delta(), any.delta()));
    any.set_bias(bias);
    layer.set_bias(bias);
    EXPECT_TRUE(reference::same_bits(layer.forward(X), any.forward(X)));
    EXPECT_THROW(static_cast<void>(any.overflows()), lora::StateError);
    any.merge();
    layer.merge();
    EXPECT_EQ(any.overflows(), layer.weight().overflows());
    EXPECT_EQ(any.overflows() > 0, name == std::string("large"));
    any.unmerge();
    layer.unmerge();
  }
  EXPECT_NE(message_of<lora::ShapeError>([&] {
              any.set_bias(bias.topRows(3));
            }).find("Linear: bias: expected 53 x 1, found 3 x 1"),
            std::string::npos);
  any.set_bias(Eigen::Matrix<C, Eigen::Dynamic, 1>());
  layer.set_bias(Eigen::Matrix<C, Eigen::Dynamic, 1>());
  EXPECT_TRUE(reference::same_bits(layer.forward(X), any.forward(X)));
}

/// Over memory that nobody may write an AnyLinear does what a Linear can, and refuses the rest.
TYPED_TEST(Engine, AnyLinearMayLookAtReadOnlyMemory) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  const typename TestFixture::Weight& memory = this->w0;
  lora::AnyLinear any = lora::Linear<T>::view(memory);
  static_assert(std::is_same_v<decltype(any), lora::AnyLinear<C>>);
  EXPECT_EQ(any.type(), lora::detail::ScalarTraits<T>::type);
  any.attach("a", this->a[0].update);
  any.activate({{"a", 0.5}});
  const lora::Matrix<C> X = reference::gaussian<C>(this->random, this->cols, 4);
  EXPECT_TRUE(reference::same_bits(lora::forward(this->w0, {{this->a[0].update, 0.5}}, X), any.forward(X)));
  EXPECT_EQ(message_of<lora::StateError>([&] { any.merge(); }),
            "lora: AnyLinear::merge: the layer looks at read-only memory");
  EXPECT_EQ(message_of<lora::StateError>([&] { any.unmerge(); }),
            "lora: AnyLinear::unmerge: the layer looks at read-only memory");
  EXPECT_FALSE(any.merged());

  typename TestFixture::Weight merged = this->w0;
  const lora::UndoRecord record = lora::merge(merged, this->a.set());
  const typename TestFixture::Weight& merged_memory = merged;
  lora::AnyLinear<C> resumed = lora::Linear<T>::view(merged_memory);
  resumed.attach("a", this->a[0].update);
  resumed.resume({{"a", 1.0}}, record);
  EXPECT_TRUE(resumed.merged());
  EXPECT_TRUE(reference::same_bits(lora::forward(merged, {}, X), resumed.forward(X)));
  EXPECT_EQ(resumed.release().serialize(), record.serialize());
}

TEST(LayerGroup, IsIteratedOverByConstReference) {
  lora::LayerGroup<float> group;
  for (const char* path : {"b", "a"}) group.add(path, lora::Linear<float>(lora::Matrix<float>::Identity(3, 4)));
  const lora::LayerGroup<float>& same = group;
  std::string paths;
  for (const auto& [path, layer] : same) paths += path + std::to_string(layer.cols());
  EXPECT_EQ(paths, "a4b4");
}

}  // namespace
