// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/layer/forward.hpp"
#include "lora/update/dense.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;

class ActiveSet : public ::testing::Test {
 public:
  using Set = lora::ActiveSet<float>;

  lora::LowRank<float> update(Index rows, Index cols) {
    return {reference::gaussian<float>(random, rows, 2), reference::gaussian<float>(random, 2, cols),
            lora::scaling::alpha(4)};
  }
  template <class Error, class Work>
  static void expect_error(const Work& work, const char* word) {
    try {
      work();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }

  Random random{220};
  lora::LowRank<float> style = update(9, 12), formal = update(9, 12);
};

TEST_F(ActiveSet, ThatIsEmptyFitsEveryWeightAndDoesNothing) {
  const Set empty;
  EXPECT_TRUE(empty.empty());
  EXPECT_TRUE(empty.updates().empty());
  EXPECT_TRUE(empty.is_bound());
  EXPECT_FALSE(empty.depends_on_W0());
  EXPECT_EQ(empty.rows(), -1);
  const auto w0 = reference::gaussian<float>(random, 5, 7);
  auto w = w0;
  const lora::UndoRecord record = lora::merge(w, empty);
  EXPECT_TRUE(reference::same_bits(w0, w));
  lora::unmerge(w, {}, record);
  EXPECT_TRUE(reference::same_bits(w0, w));
}

TEST_F(ActiveSet, RefusesWhatIsNull) {
  const lora::LowRank<float>* none = nullptr;
  expect_error<lora::ValueError>([&] { Set({{style, 1.0}, {none, 1.0}}); }, "update 1");
  expect_error<lora::ValueError>([&] { Set({{std::shared_ptr<const lora::Update<float>>(), 0.0}}); }, "null");
}

TEST_F(ActiveSet, RefusesDifferentShapes) {
  expect_error<lora::ShapeError>([&] { Set({{style, 1.0}, {update(9, 13), 1.0}}); }, "expected 9 x 12, found 9 x 13");
  expect_error<lora::ShapeError>([&] { Set({{style, 1.0}, {lora::Dense<float>(lora::Matrix<float>::Ones(8, 12)), 0.0}}); },
                                 "expected 9 x 12, found 8 x 12");
  auto w = reference::gaussian<float>(random, 9, 13);
  const auto before = w;
  expect_error<lora::ShapeError>([&] { lora::merge_plain(w, style); }, "expected 9 x 13, found 9 x 12");
  EXPECT_TRUE(reference::same_bits(before, w));
}

TEST_F(ActiveSet, RefusesCoefficientsThatAreNotFinite) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    expect_error<lora::ValueError>([&] { Set({{style, 1.0}, {formal, bad}}); }, "coefficient of update 1");
  expect_error<lora::ValueError>([&] { Set({style, 1e300}); }, "finite");  // its product with the scaling, in float
}

TEST_F(ActiveSet, CoefficientZeroIsNotInTheSet) {
  const Set with({{formal, 0.0}, {style, 0.7}, {formal, -0.0}}), without({style, 0.7});
  EXPECT_EQ(with.updates().size(), 3u);
  EXPECT_EQ(with.fingerprint(), without.fingerprint());
  EXPECT_EQ(with.form().depth(), 2);
  auto w = reference::gaussian<float>(random, 9, 12);
  const auto w0 = w;
  lora::unmerge(w, without, lora::merge(w, with));
  EXPECT_TRUE(reference::same_bits(w0, w));
  EXPECT_EQ(Set({style, 0.0}).fingerprint(), Set().fingerprint());
}

TEST_F(ActiveSet, CopiesShareWhatWasStacked) {
  const Set one({{style, 0.7}, {formal, 0.3}});
  Set copy = one;
  EXPECT_EQ(copy.form().A(), one.form().A());
  const Set moved = std::move(copy);
  EXPECT_EQ(moved.form().A(), one.form().A());
  EXPECT_EQ(copy.form().A(), one.form().A()) << "a set is never without its state";  // NOLINT(bugprone-use-after-move)
}

TEST_F(ActiveSet, KindsShareTheirFactorsAndSharedPointersTheirObject) {
  const Set by_value({style, 1.0});
  EXPECT_EQ(dynamic_cast<const lora::LowRank<float>&>(*by_value.updates()[0].update).B().data(), style.B().data());
  const auto shared = std::make_shared<const lora::LowRank<float>>(style);
  const Set by_pointer({shared, 1.0});
  EXPECT_EQ(by_pointer.updates()[0].update.get(), shared.get());
  EXPECT_EQ(Set({&style, 1.0}).fingerprint(), by_value.fingerprint());
}

TEST_F(ActiveSet, OutlivesItsUpdates) {
  const auto w0 = reference::gaussian<float>(random, 9, 12);
  const Set set = [&] {
    const lora::LowRank<float> gone = update(9, 12);
    return Set({{gone, 1.0}, {&gone, 0.5}});
  }();
  auto w = w0;
  lora::unmerge(w, set, lora::merge(w, set));
  EXPECT_TRUE(reference::same_bits(w0, w));
}

TEST_F(ActiveSet, AllWaysToNameOneAreTheSame) {
  const auto w0 = reference::gaussian<float>(random, 9, 12);
  const lora::Matrix<float> X = reference::gaussian<float>(random, 12, 2);
  auto a = w0, b = w0, c = w0;
  lora::merge_plain(a, style);
  lora::merge_plain(b, {{style, 1.0}});
  lora::merge_plain(c, {{&style, 1.0}});
  EXPECT_TRUE(reference::same_bits(a, b));
  EXPECT_TRUE(reference::same_bits(a, c));
  EXPECT_TRUE(reference::same_bits(lora::forward(w0, style, X), lora::forward(w0, {{&style, 1.0}}, X)));
}

TEST_F(ActiveSet, FingerprintsTellKindsOrdersAndCoefficientsApart) {
  const lora::Matrix<float> ones = lora::Matrix<float>::Ones(9, 12);
  const std::uint64_t all[] = {Set().fingerprint(),
                               Set({style, 1.0}).fingerprint(),
                               Set({style, 0.5}).fingerprint(),
                               Set({{style, 1.0}, {formal, 1.0}}).fingerprint(),
                               Set({{formal, 1.0}, {style, 1.0}}).fingerprint(),
                               Set(lora::DoRA<float>(style, lora::Matrix<float>::Ones(9, 1))).fingerprint(),
                               Set(lora::DoRA<float>(style, lora::Matrix<float>::Constant(9, 1, 2.0f))).fingerprint(),
                               Set(lora::Dense<float>(ones)).fingerprint(),
                               Set({lora::Dense<float>(ones), 2.0}).fingerprint()};
  for (std::size_t i = 0; i < std::size(all); ++i)
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all[i], all[j]) << i << " and " << j;
}

}  // namespace
