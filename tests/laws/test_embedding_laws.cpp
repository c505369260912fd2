// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Embeddings: lookups have the bits of the scalar reference, merged ones are those rounded to storage, and every bit of W0 comes
// back.

#include "lora/layer/embedding.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "reference/expect.hpp"
#include "reference/random_kinds.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class Embedding : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Set = lora::ActiveSet<Computed>;
  static constexpr lora::StorageOrder order = Layout::order;
  using Weight = lora::Matrix<Stored, order>;

  /// What the formula gives for these tokens, element by element.
  static lora::Matrix<Computed> expected(const Weight& W0, const Set& set, const std::vector<int>& tokens) {
    const lora::Matrix<Stored> transposed = W0.transpose();
    const auto form = reference::form_for<Computed>(set, transposed);
    const bool changes = !form.B.empty() || form.D || !form.steps.empty();
    lora::Matrix<Computed> out(W0.cols(), static_cast<Index>(tokens.size()));
    for (Index c = 0; c < out.cols(); ++c)
      for (Index i = 0; i < out.rows(); ++i) {
        const Index j = tokens[static_cast<std::size_t>(c)];
        const Computed own = form.column_gain(j) * reference::widen(transposed(i, j));
        out(i, c) = reference::narrow<Computed>(changes ? std::fma(form.row_gain(i), own, form.acc(i, j)) : own);
      }
    return out;
  }

  static std::vector<std::pair<const char*, Set>> sets(Random& random, Index dim, Index vocab) {
    Updates<Computed> none, low_rank, dora, mixed, gates, kinds;
    low_rank.add_gaussian(random, dim, vocab, 3, 0.1, 0.7);
    low_rank.add_gaussian(random, dim, vocab, 1, 0.1);
    dora.add_dora(random, dim, vocab, 2, 0.1, 1, 0.8);
    mixed.add_dense(random, dim, vocab, 0.1, 0.5);
    mixed.add_dora(random, dim, vocab, 2, 0.1, 1);
    mixed.add_gaussian(random, dim, vocab, 5, 0.1, -1);
    gates.add(reference::random_ia3<Computed>(random, dim, vocab, false), 0.9);
    gates.add(reference::random_ia3<Computed>(random, dim, vocab, true));
    kinds.add(reference::random_loha<Computed>(random, dim, vocab, 20, 17));
    kinds.add(reference::random_small_lokr<Computed>(random, dim, vocab, 2), 0.3);
    kinds.add(reference::random_ia3<Computed>(random, dim, vocab, false));
    return {{"none", none},   {"low rank", low_rank}, {"DoRA", dora},
            {"mixed", mixed}, {"gates", gates},       {"kinds", kinds}};
  }
};
TYPED_TEST_SUITE(Embedding, reference::Layouts);

TYPED_TEST(Embedding, LooksUpWhatAMergeAddsAndEveryBitComesBack) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(240);
  for (const bool wild : {false, true})
    for (const auto& [vocab, dim] : {std::pair<Index, Index>{70, 37}, {33, 16}, {1, 1}}) {
      const auto w0 = wild ? reference::any_patterns<T, Order>(random, vocab, dim)
                           : reference::gaussian<T, Order>(random, vocab, dim);
      std::vector<int> tokens{0, static_cast<int>(vocab - 1), 0};
      for (int i = 0; i < 20; ++i) tokens.push_back(static_cast<int>(random.below(vocab)));
      lora::Embedding<T, Order> layer(w0);
      auto in_place = w0;
      auto view = lora::Embedding<T>::view(in_place);
      for (const auto& [name, set] : this->sets(random, dim, vocab)) {
        SCOPED_TRACE(::testing::Message() << name << ", " << vocab << " x " << dim << (wild ? ", any bits" : ""));
        const auto bound = layer.for_weight(set);
        const auto expected = this->expected(w0, set, tokens);
        // A set of the call's own, into memory with room around it, which nobody may touch.
        lora::Matrix<C> room = lora::Matrix<C>::Constant(dim + 2, expected.cols() + 1, C{7});
        layer.forward_into(tokens, room.block(1, 0, dim, expected.cols()), bound);
        ASSERT_TRUE(reference::same_bits(expected, room.block(1, 0, dim, expected.cols())));
        ASSERT_TRUE((room.row(0).array() == C{7}).all() && (room.row(dim + 1).array() == C{7}).all());
        // Rounded once to another type.
        lora::Activations<Eigen::bfloat16> narrow(dim, expected.cols());
        layer.forward_into(tokens, narrow, bound);
        for (Index c = 0; c < expected.cols(); ++c)
          for (Index i = 0; i < dim; ++i)
            ASSERT_EQ(reference::bits(lora::detail::convert<Eigen::bfloat16>(expected(i, c))),
                      reference::bits(narrow(i, c)));

        // By name, merged and back.
        std::vector<lora::ActiveName> active;
        for (const auto& [update, coefficient] : set.updates()) {
          active.push_back({std::to_string(active.size()), coefficient});
          layer.attach(active.back().name, update);
          view.attach(active.back().name, update);
        }
        layer.activate(active);
        view.activate(active);
        ASSERT_TRUE(reference::same_bits(expected, layer.forward(tokens)));
        ASSERT_TRUE(reference::same_bits(expected, view.forward(std::span<const int>(tokens))));
        if (!set.empty()) {
          layer.merge();
          view.merge();
          const lora::Matrix<C> merged = layer.forward(tokens);
          for (Index c = 0; c < expected.cols(); ++c)
            for (Index i = 0; i < dim; ++i)
              ASSERT_EQ(reference::bits(reference::narrow<C>(reference::widen(reference::narrow<T>(expected(i, c))))),
                        reference::bits(merged(i, c)))
                  << "(" << i << ", " << c << ")";
          ASSERT_TRUE(reference::same_bits(layer.matrix(), in_place));
          EXPECT_THROW(layer.forward_into(tokens, room.block(1, 0, dim, expected.cols()), bound), lora::StateError);
          layer.unmerge();
          view.unmerge();
        }
        ASSERT_TRUE(reference::same_bits(w0, layer.matrix()));
        ASSERT_TRUE(reference::same_bits(w0, in_place));
        for (const auto& entry : active) {
          layer.detach(entry.name);
          view.detach(entry.name);
        }
      }
    }
}

TYPED_TEST(Embedding, ThreadsAndWorkspacesChangeNothing) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  constexpr lora::StorageOrder Order = TestFixture::order;
  Random random(241);
  const Index vocab = 90, dim = 131;
  const auto w0 = reference::gaussian<T, Order>(random, vocab, dim);
  const lora::Embedding<T, Order> layer(w0);
  std::vector<std::uint32_t> tokens;
  for (int i = 0; i < 700; ++i) tokens.push_back(static_cast<std::uint32_t>(random.below(vocab)));
  for (const auto& [name, set] : this->sets(random, dim, vocab)) {
    SCOPED_TRACE(name);
    const auto bound = layer.for_weight(set);
    lora::Activations<C> one(dim, 700), three(dim, 700);
    lora::DefaultExecutor single(1), executor(3);
    layer.forward_into(tokens, one, bound, {&single});
    std::vector<std::byte> memory(layer.forward_workspace(bound, {&executor}));
    lora::Workspace workspace{std::span(memory)}, small{std::span(memory).first(memory.size() / 4)};
    layer.forward_into(tokens, three, bound, {&executor, &workspace});
    EXPECT_TRUE(reference::same_bits(one, three));
    EXPECT_THROW(layer.forward_into(tokens, three, bound, {&executor, &small}), lora::ValueError);
  }
}

TEST(EmbeddingErrors, NameWhatIsWrong) {
  Random random(242);
  const auto w0 = reference::gaussian<float>(random, 9, 5);
  lora::Embedding<float> layer(w0);
  EXPECT_EQ(layer.vocab(), 9);
  EXPECT_EQ(layer.dim(), 5);
  lora::Activations<float> Y = lora::Activations<float>::Constant(5, 3, 7.0f);
  const auto untouched = Y;
  using reference::message_of;
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.forward_into(std::vector<long>{1, 2, 9}, Y);
            }),
            "lora: Embedding: token 2: expected one below 9, found 9");
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.forward_into(std::vector<std::int8_t>{0, -1, 3}, Y);
            }),
            "lora: Embedding: token 1: expected one below 9, found -1");
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              layer.forward_into(std::array<std::uint64_t, 3>{~std::uint64_t{0}, 0, 0}, Y);
            }),
            "lora: Embedding: token 0: expected one below 9, found 18446744073709551615");
  EXPECT_EQ(message_of<lora::ShapeError>([&] {
              layer.forward_into(std::vector<int>{0, 1}, Y);
            }),
            "lora: Embedding: Y: expected 5 x 2, found 5 x 3");
  EXPECT_TRUE(reference::same_bits(untouched, Y));
  EXPECT_EQ(layer.forward(std::vector<int>()).cols(), 0);
  Updates<float> turned;
  turned.add_gaussian(random, 9, 5, 2, 0.1);
  EXPECT_THROW(layer.attach("turned", turned[0].update), lora::ShapeError);
  EXPECT_THROW(layer.forward_into(std::vector<int>{0, 1, 2}, Y, turned.set()), lora::ShapeError);
  Updates<float> dora;
  dora.add_dora(random, 5, 9, 2, 0.1, 1);
  EXPECT_THROW(layer.forward_into(std::vector<int>{0, 1, 2}, Y, dora.set()), lora::StateError);
}

/// delta is what the merge adds, vocab x dim.
TEST(EmbeddingErrors, DeltaIsVocabTimesDim) {
  Random random(243);
  const auto B = reference::gaussian<float>(random, 5, 2), A = reference::gaussian<float>(random, 2, 9);
  lora::Embedding<float> layer(lora::Matrix<float>::Zero(9, 5));
  layer.attach("a", lora::LowRank<float>(B, A, lora::scaling::alpha(4)));
  layer.activate({{"a", 1.0}});
  const auto delta = layer.delta();
  layer.merge();
  EXPECT_TRUE(reference::same_bits(layer.matrix(), delta));
}

}  // namespace
