// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Convolutions beside patches that are cut out one number at a time and the scalar reference's forward pass over each: the same
// bits for every geometry, type, number of threads and set.

#include "lora/layer/conv.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"
#include "reference/patches.hpp"
#include "reference/random_kinds.hpp"

namespace {

using lora::Index;
using reference::by_samples;
using reference::output_of;
using reference::patches;
using reference::product;
using reference::Random;
using reference::Updates;
using Example = reference::ConvExample;
using Sizes = std::vector<Index>;

const std::vector<Example>& examples() {
  static const std::vector<Example> all{
      {{.kernel = {3}, .stride = {2}, .padding = {1}}, 5, 9, {11}},
      {{.kernel = {1}}, 2, 3, {700}},  // several bands
      {{.kernel = {3, 3}, .stride = {2, 1}, .padding = {1, 2}}, 4, 7, {7, 6}},
      {{.kernel = {2, 5}}, 3, 5, {6, 8}},
      {{.kernel = {3, 3}, .padding = {2, 2}, .dilation = {2, 2}}, 3, 17, {7, 5}},
      {{.kernel = {4, 1}, .stride = {3, 2}, .padding = {5, 0}, .dilation = {2, 1}}, 1, 2, {3, 3}},
      {{.kernel = {3, 2, 2}, .stride = {1, 2, 1}, .padding = {1, 0, 1}}, 3, 5, {4, 5, 3}},
      {{.kernel = {3, 3}, .padding = {1, 1}, .groups = 3}, 6, 9, {5, 4}},
      {{.kernel = {3}, .groups = 4}, 4, 4, {6}}};
  return all;
}

template <class Layout>
class Conv : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Set = lora::ActiveSet<Computed>;
  static constexpr lora::StorageOrder order = Layout::order;
  using Weight = lora::Matrix<Stored, order>;

  /// Each group's own rows of W, over its own channels, without a set.
  template <class T, lora::StorageOrder Order>
  static lora::Matrix<Computed> grouped(const Example& example, const lora::Matrix<T, Order>& W,
                                        const std::vector<Computed>& bias, const lora::Matrix<Computed>& X) {
    const Index groups = example.geometry.groups, out = W.rows() / groups, channels = example.in / groups;
    lora::Matrix<Computed> all(W.rows(), X.cols() * product(output_of(example)));
    for (Index g = 0; g < groups; ++g) {
      const lora::Matrix<T, Order> own = W.middleRows(g * out, out);
      const std::vector<Computed> own_bias(bias.begin() + g * out, bias.begin() + (g + 1) * out);
      all.middleRows(g * out, out) =
          reference::forward<T, Order>(own, Set(), own_bias, patches(example, X, g * channels, channels));
    }
    return by_samples(all, X.cols());
  }

  static lora::Matrix<Computed> expected(const Example& example, const Weight& W0, const Set& set,
                                         const std::vector<Computed>& bias, const lora::Matrix<Computed>& X) {
    if (set.empty()) return grouped<Stored, order>(example, W0, bias, X);
    if (example.geometry.groups == 1)
      return by_samples(reference::forward<Stored, order>(W0, set, bias, patches(example, X, 0, example.in)), X.cols());
    const auto form = reference::form_for<Computed>(set, W0);  // W' in the compute type
    lora::Matrix<Computed> changed(W0.rows(), W0.cols());
    for (Index i = 0; i < W0.rows(); ++i)
      for (Index j = 0; j < W0.cols(); ++j)
        changed(i, j) =
            std::fma(form.row_gain(i), Computed(form.column_gain(j) * reference::widen(W0(i, j))), form.acc(i, j));
    return grouped<Computed, lora::row_major>(example, changed, bias, X);
  }

  static std::vector<std::pair<const char*, Set>> sets(Random& random, Index rows, Index cols) {
    Updates<Computed> none, low_rank, dora, mixed;
    low_rank.add_gaussian(random, rows, cols, 3, 0.1, 0.7);
    dora.add_dora(random, rows, cols, 2, 0.1, 1, 0.8);
    mixed.add_dense(random, rows, cols, 0.1, 0.5);
    mixed.add_dora(random, rows, cols, 2, 0.1, 1);
    mixed.add(reference::random_locon<Computed>(random, rows, cols, 2));
    mixed.add(reference::random_kernel_ia3<Computed>(random, rows, cols));
    return {{"none", none}, {"low rank", low_rank}, {"DoRA", dora}, {"mixed", mixed}};
  }
};
TYPED_TEST_SUITE(Conv, reference::Layouts);

TYPED_TEST(Conv, IsAForwardPassOverEveryPatch) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(250);
  for (const Example& example : examples()) {
    const Index cols = example.in / example.geometry.groups * product(example.geometry.kernel), batch = 2;
    const Sizes output = output_of(example);
    const auto w0 = reference::gaussian<T, Order>(random, example.out, cols);
    const lora::Matrix<C> bias = reference::gaussian<C>(random, example.out, 1);
    const std::vector<C> numbers(bias.data(), bias.data() + bias.size());
    const lora::Matrix<C> X = reference::gaussian<C>(random, example.in * product(example.size), batch);
    lora::Conv<T, Order> layer(w0, example.geometry, bias);
    ASSERT_EQ(layer.output_size(example.size), output);
    ASSERT_EQ(layer.in(), example.in);
    auto in_place = w0;
    auto view = lora::Conv<T>::view(in_place, example.geometry, bias);
    for (const auto& [name, set] : this->sets(random, example.out, cols)) {
      SCOPED_TRACE(::testing::Message() << name << ", " << example.out << " x " << cols << ", kernel of "
                                        << example.geometry.kernel.size() << " dimensions");
      const auto expected = this->expected(example, w0, set, numbers, X);
      const auto bound = layer.for_weight(set);
      // X and Y with room around them and in both orders.
      lora::Matrix<C> room = lora::Matrix<C>::Constant(expected.rows() + 2, batch + 1, C{7});
      layer.forward_into(X, room.block(1, 0, expected.rows(), batch), example.size, bound);
      ASSERT_TRUE(reference::same_bits(expected, room.block(1, 0, expected.rows(), batch)));
      ASSERT_TRUE((room.row(0).array() == C{7}).all() && (room.bottomRows(1).array() == C{7}).all() &&
                  (room.col(batch).array() == C{7}).all());
      std::vector<lora::ActiveName> active;
      for (const auto& [update, coefficient] : set.updates()) {
        active.push_back({std::to_string(active.size()), coefficient});
        layer.attach(active.back().name, update);
        view.attach(active.back().name, update);
      }
      layer.activate(active);
      view.activate(active);
      lora::Activations<C> Y(expected.rows(), batch), of_view(expected.rows(), batch);
      layer.forward_into(lora::Activations<C>(X), Y, example.size);
      ASSERT_TRUE(reference::same_bits(expected, Y));
      view.forward_into(X, of_view, example.size);
      ASSERT_TRUE(reference::same_bits(expected, of_view));
      // Exactly as much memory as it says.
      lora::DefaultExecutor executor(2);
      std::vector<std::byte> memory(layer.forward_workspace(example.size, bound, {&executor}));
      lora::Workspace workspace{std::span(memory)};
      layer.forward_into(X, Y, example.size, bound, {&executor, &workspace});
      ASSERT_TRUE(reference::same_bits(expected, Y));

      if (!set.empty()) {
        layer.merge();
        view.merge();
        const auto merged = reference::merge<T, Order>(w0, set).weight;
        ASSERT_TRUE(reference::same_bits(merged, layer.weight().matrix()));
        layer.forward_into(X, Y, example.size);
        ASSERT_TRUE(reference::same_bits(this->expected(example, merged, {}, numbers, X), Y));
        EXPECT_THROW(layer.forward_into(X, Y, example.size, bound), lora::StateError);
        layer.unmerge();
        view.unmerge();
      }
      ASSERT_TRUE(reference::same_bits(w0, layer.weight().matrix()));
      ASSERT_TRUE(reference::same_bits(w0, in_place));
      for (const auto& entry : active) {
        layer.detach(entry.name);
        view.detach(entry.name);
      }
    }
  }
}

/// LoRA across groups, as PEFT has it: as if the weight had all connections, with zeros.
TYPED_TEST(Conv, TakesSetsAcrossGroupsUnmerged) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(251);
  const Example example{{.kernel = {3, 3}, .padding = {1, 1}, .groups = 3}, 6, 9, {5, 4}};
  const auto w0 = reference::gaussian<T, Order>(random, 9, 18);
  const lora::Matrix<C> bias = reference::gaussian<C>(random, 9, 1), X = reference::gaussian<C>(random, 6 * 20, 2);
  Updates<C> across;
  across.add_gaussian(random, 9, 54, 6, 0.1, 0.8);
  lora::Conv<T, Order> layer(w0, example.geometry, bias);
  lora::Matrix<T> all(9, 54);
  for (Index i = 0; i < 9; ++i)
    for (Index j = 0; j < 54; ++j) all(i, j) = j / 18 == i / 3 ? w0(i, j % 18) : T(0.0f);
  Example ungrouped = example;
  ungrouped.geometry.groups = 1;
  const std::vector<C> numbers(bias.data(), bias.data() + 9);
  const auto expected =
      by_samples(reference::forward<T, lora::row_major>(all, across.set(), numbers, patches(ungrouped, X, 0, 6)), 2);
  lora::Activations<C> Y(expected.rows(), 2);
  layer.forward_into(X, Y, example.size, across.set());
  EXPECT_TRUE(reference::same_bits(expected, Y));
  EXPECT_EQ(
      reference::message_of<lora::ShapeError>([&] { layer.attach("x", across[0].update); }),
      "lora: Conv: update \"x\": expected 9 x 18, found 9 x 54: it changes connections across the 3 groups, which the "
      "weight does not have, so that it cannot be merged; pass it to forward_into() as a set");
  std::vector<std::byte> memory(layer.forward_workspace(example.size, across.set()));
  lora::Workspace workspace{std::span(memory)};
  layer.forward_into(X, Y, example.size, across.set(), {nullptr, &workspace});
  EXPECT_TRUE(reference::same_bits(expected, Y));
}

/// Other types of X and Y, and patches that several threads make.
TYPED_TEST(Conv, TypesAndThreadsChangeNothing) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(253);
  const Example example{{.kernel = {3, 3}, .padding = {1, 0}}, 150, 5, {20, 18}};
  const auto w0 = reference::gaussian<T, Order>(random, 5, 1350);
  const auto X = reference::gaussian<Eigen::bfloat16>(random, 150 * 360, 1);
  Updates<C> set;
  set.add_gaussian(random, 5, 1350, 3, 0.1);
  const lora::Conv<T, Order> layer(w0, example.geometry);
  const auto patches_of_X = patches<Eigen::bfloat16>(example, X, 0, 150);
  const auto expected = by_samples(reference::forward<T, Order>(w0, set.set(), {}, patches_of_X), 1);
  for (const int threads : {1, 3}) {
    lora::DefaultExecutor executor(threads);
    lora::Activations<C> Y(expected.rows(), 1);
    layer.forward_into(X, Y, example.size, set.set(), {&executor});
    ASSERT_TRUE(reference::same_bits(expected, Y));
    lora::Activations<Eigen::half> narrow(expected.rows(), 1);
    layer.forward_into(X, narrow, example.size, set.set(), {&executor});
    for (Index i = 0; i < expected.rows(); ++i)
      ASSERT_EQ(reference::bits(lora::detail::convert<Eigen::half>(expected(i, 0))), reference::bits(narrow(i, 0)));
  }
}

TEST(ConvErrors, NameWhatIsWrong) {
  Random random(252);
  using reference::message_of;
  const auto w0 = reference::gaussian<float>(random, 4, 27);
  const auto made = [&](const lora::ConvGeometry& geometry) {
    return [&w0, geometry] { lora::Conv<float>(w0, geometry); };
  };
  EXPECT_EQ(message_of<lora::ValueError>(made({.kernel = {}})),
            "lora: Conv: kernel: expected 1 to 3 dimensions, found 0");
  EXPECT_EQ(message_of<lora::ValueError>(made({.kernel = {3, 3}, .stride = {1}})),
            "lora: Conv: stride: expected 2 numbers, found 1");
  EXPECT_EQ(message_of<lora::ValueError>(made({.kernel = {3, 0}})),
            "lora: Conv: kernel: expected numbers of 1 to 1048576, found 0");
  EXPECT_EQ(message_of<lora::ValueError>(made({.kernel = {3}, .padding = {-1}})),
            "lora: Conv: padding: expected numbers of 0 to 1048576, found -1");
  EXPECT_EQ(message_of<lora::ValueError>(made({.kernel = {3}, .groups = 0})),
            "lora: Conv: groups: expected 1 or more, found 0");
  EXPECT_EQ(message_of<lora::ShapeError>(made({.kernel = {2, 2}})),
            "lora: Conv: the weight: expected a multiple of 1 x a multiple of 4, found 4 x 27");
  EXPECT_THROW(made({.kernel = {3}, .groups = 3})(), lora::ShapeError);
  EXPECT_THROW(made({.kernel = {1048576, 1048576, 1048576}})(), lora::ShapeError);

  const lora::Conv<float> conv(w0, {.kernel = {3, 3}});
  EXPECT_EQ(message_of<lora::ShapeError>([&] { static_cast<void>(conv.output_size({5})); }),
            "lora: Conv: the input's size: expected 2 numbers, found 1");
  EXPECT_EQ(message_of<lora::ShapeError>([&] {
              static_cast<void>(conv.output_size({5, 2}));
            }),
            "lora: Conv: the input's size: expected at least 3 for the kernel, found 2");
  EXPECT_THROW(static_cast<void>(conv.output_size({5, 0})), lora::ShapeError);
  EXPECT_THROW(static_cast<void>(conv.output_size({Index{1} << 50, Index{1} << 50})), lora::ShapeError);
  const lora::Activations<float> X = lora::Activations<float>::Zero(3 * 20, 2);
  EXPECT_THROW(static_cast<void>(conv.forward(X, {4, 6})), lora::ShapeError);
  lora::Activations<float> Y(4 * 6, 1);
  EXPECT_THROW(conv.forward_into(X, Y, Sizes{4, 5}), lora::ShapeError);
  EXPECT_EQ(conv.forward(X, {4, 5}).rows(), 4 * 6);
}

}  // namespace
