// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// DoRA, dense changes, and an update of the user's own: what they do, beside float64 computations.

#include "lora/layer/linear.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <cstring>

namespace {

using lora::Index;
using reference::Random;

template <class T>
class DoRA : public ::testing::Test {};
TYPED_TEST_SUITE(DoRA, reference::Scalars);

/// W' = m / ||W0 + c s B A|| o (W0 + c s B A) by rows, in double and with delta formed. g is rounded to the compute type (u), its
/// product with B, the r steps of the chain and the last fma make r + 4 roundings of numbers whose absolute values sum up to S;
/// the norm itself is as near as double makes it, condition included; W' is rounded to storage once.
TYPED_TEST(DoRA, IsPaperEquationFiveInDouble) {
  using C = lora::compute_t<TypeParam>;
  Random random(210);
  double worst = 0;
  for (const auto& [rows, cols, rank] : {std::array<Index, 3>{1, 1, 1}, {9, 33, 2}, {41, 600, 8}})
    for (const double coefficient : {1.0, -0.4}) {
      const auto w0 = reference::gaussian<TypeParam>(random, rows, cols);
      const lora::DoRA<TypeParam> update(reference::gaussian<TypeParam>(random, rows, rank, 0.2),
                                         reference::gaussian<TypeParam>(random, rank, cols), lora::scaling::alpha(3),
                                         reference::gaussian<TypeParam>(random, rows, 1, 5));
      auto w = w0;
      lora::merge_plain(w, {{update, coefficient}});
      const double c = static_cast<double>(static_cast<C>(update.low_rank().scaling() * coefficient));
      const auto B = reference::wide<double>(update.low_rank().B()), A = reference::wide<double>(update.low_rank().A());
      const auto W0 = reference::wide<double>(w0);
      const lora::Matrix<double> change = c * (B * A), sum = W0 + change;
      const lora::Matrix<double> sizes = W0.cwiseAbs() + std::abs(c) * (B.cwiseAbs() * A.cwiseAbs());
      const double u = static_cast<double>(std::numeric_limits<C>::epsilon()) / 2;
      const double v = std::ldexp(1.0, -reference::Format<TypeParam>::mantissa - 1);
      for (Index i = 0; i < rows; ++i) {
        const double norm = sum.row(i).norm(), m = static_cast<double>(reference::widen(update.magnitude()(i, 0)));
        const double condition = sizes.row(i).squaredNorm() / (norm * norm);
        const double of_norm = 4 * static_cast<double>(cols + rank + 8) * 0x1p-53 * condition;
        for (Index j = 0; j < cols; ++j) {
          const double exact = m / norm * sum(i, j), n = static_cast<double>(rank + 4) * u + of_norm;
          const double bound = n / (1 - n) * std::abs(m / norm) * sizes(i, j) + v * std::abs(exact) * (1 + n) +
                               static_cast<double>(std::numeric_limits<TypeParam>::denorm_min());
          const double error = std::abs(static_cast<double>(reference::widen(w(i, j))) - exact);
          worst = std::max(worst, error / bound);
          ASSERT_LE(error, bound) << rows << " x " << cols << " at (" << i << ", " << j << ")";
        }
      }
    }
  this->RecordProperty("worst_error_of_bound", std::to_string(worst));
}

TYPED_TEST(DoRA, HoldsWhatItWasGiven) {
  Random random(211);
  const auto B = reference::gaussian<TypeParam>(random, 5, 3), A = reference::gaussian<TypeParam>(random, 3, 7);
  const auto m = reference::gaussian<TypeParam>(random, 5, 1);
  const lora::DoRA<TypeParam> update(B, A, lora::scaling::alpha(6), m);
  EXPECT_EQ(update.rows(), 5);
  EXPECT_EQ(update.cols(), 7);
  EXPECT_EQ(update.rank(), 3);
  EXPECT_EQ(update.kind(), "DoRA");
  EXPECT_EQ(update.low_rank().scaling(), 2.0);
  EXPECT_TRUE(reference::same_bits(m, update.magnitude()));
  EXPECT_TRUE(reference::same_bits(B, update.low_rank().B()));
  ASSERT_EQ(update.tensors().size(), 3u);
  EXPECT_EQ(update.tensors()[2].name, "lora_magnitude_vector");
  const auto wide = update.template cast<double>();
  EXPECT_TRUE(reference::same_bits(reference::wide<double>(m), wide.magnitude()));
  const lora::Matrix<TypeParam> short_m = m.topRows(4);
  EXPECT_THROW((lora::DoRA<TypeParam>(B, A, lora::scaling::alpha(6), short_m)), lora::ShapeError);
  auto bad = m;
  bad(2, 0) = std::bit_cast<TypeParam>(reference::quiet_nan<TypeParam>);
  EXPECT_THROW((lora::DoRA<TypeParam>(B, A, lora::scaling::alpha(6), bad)), lora::ValueError);
}

/// The gains of a merged weight's W0 are those of W0, and a layer's are the free functions'.
TYPED_TEST(DoRA, GainsComeFromTheW0UnderAMergedWeight) {
  using C = lora::compute_t<TypeParam>;
  Random random(212);
  const auto w0 = reference::gaussian<TypeParam>(random, 37, 70);
  reference::Updates<C> dora, other;
  dora.add_dora(random, 37, 70, 2, 0.1, 1);
  other.add_dora(random, 37, 70, 3, 0.1, 1);
  lora::Linear<TypeParam> layer(w0);
  layer.attach("dora", dora[0].update);
  layer.attach("other", other[0].update);
  layer.activate({{"other", 1.0}});
  layer.merge();
  const auto expected = lora::for_weight(dora.set(), w0), found = layer.for_weight(dora.set());
  ASSERT_TRUE(found.is_bound());
  for (Index i = 0; i < 37; ++i)
    EXPECT_EQ(reference::bits(expected.form().row_gains()[i]), reference::bits(found.form().row_gains()[i]));
  layer.activate({{"dora", 1.0}});
  EXPECT_TRUE(reference::same_bits(reference::merge<TypeParam, lora::row_major>(w0, dora).weight, layer.weight().matrix()));
  layer.unmerge();
  EXPECT_TRUE(reference::same_bits(w0, layer.weight().matrix()));
  EXPECT_THROW(static_cast<void>(layer.delta()), lora::StateError);
}

TYPED_TEST(DoRA, DenseAddsItsMatrix) {
  using C = lora::compute_t<TypeParam>;
  Random random(213);
  const auto w0 = reference::gaussian<TypeParam>(random, 20, 45);
  const auto M = reference::gaussian<TypeParam>(random, 20, 45);
  const lora::Dense<TypeParam> change(M);
  EXPECT_EQ(change.kind(), "dense");
  EXPECT_TRUE(reference::same_bits(M, change.matrix()));
  auto w = w0;
  const lora::UndoRecord record = lora::merge(w, {{change, 0.3}});
  for (Index i = 0; i < 20; ++i)
    for (Index j = 0; j < 45; ++j) {
      const C d = static_cast<C>(0.3) * reference::widen(M(i, j));
      ASSERT_EQ(reference::bits(reference::merged(w0(i, j), d)), reference::bits(w(i, j)));
      ASSERT_EQ(reference::bits(d), reference::bits(lora::delta(change, 0.3)(i, j)));
    }
  lora::unmerge(w, {{change, 0.3}}, record);
  EXPECT_TRUE(reference::same_bits(w0, w));
  auto bad = M;
  bad(3, 4) = std::bit_cast<TypeParam>(reference::infinity<TypeParam>);
  EXPECT_THROW(lora::Dense<TypeParam>{bad}, lora::ValueError);
}

/// A user's own: W' = diag(1 + c (g - 1)) (W + c D diag(v)), D a sparse matrix that is written out when a set is made.
class OneColumn final : public lora::Update<float> {
 public:
  OneColumn(Index cols, Index column, Eigen::VectorXf values, Eigen::VectorXf g)
      : cols_(cols), column_(column), values_(std::move(values)), g_(std::move(g)) {}

  Index rows() const override { return values_.size(); }
  Index cols() const override { return cols_; }
  std::string_view kind() const override { return "one column"; }
  std::vector<lora::UpdateTensor> tensors() const override {
    return {{"values", lora::view_of(values_)}, {"g", lora::view_of(g_)}};
  }
  void add_to(lora::FormBuilder<float>& form, double coefficient) const override {
    lora::Matrix<float> unit = lora::Matrix<float>::Zero(1, cols_);
    unit(0, column_) = 1;
    form.add_low_rank(coefficient, values_, unit);
    const auto c = static_cast<float>(coefficient);
    const Eigen::VectorXf gains = (1 + c * (g_.array() - 1)).matrix();
    form.scale_rows(gains);
  }

 private:
  Index cols_, column_;
  Eigen::VectorXf values_, g_;
};

TEST(OwnUpdate, MergesSwitchesRunsAndComesBack) {
  Random random(214);
  const Index rows = 21, cols = 43;
  const auto w0 = reference::gaussian<Eigen::bfloat16>(random, rows, cols);
  const Eigen::VectorXf values = reference::gaussian<float>(random, rows, 1), g = reference::gaussian<float>(random, rows, 1);
  const OneColumn own(cols, 5, values, g);
  auto w = w0;
  const lora::UndoRecord record = lora::merge(w, own);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) {
      const float gain = 1 + (g(i) - 1), acc = j == 5 ? std::fma(gain * values(i), 1.0f, 0.0f) : 0.0f;
      const float exact = std::fma(gain, reference::widen(w0(i, j)), acc);
      ASSERT_EQ(static_cast<float>(reference::narrow<Eigen::bfloat16>(exact)), static_cast<float>(w(i, j)));
    }
  reference::Updates<float> dora;
  dora.add_dora(random, rows, cols, 2, 0.1, 1);
  const lora::UndoRecord next = lora::switch_to(w, own, record, dora);
  EXPECT_TRUE((reference::same_record(reference::merge<Eigen::bfloat16, lora::row_major>(w0, dora).record, next)));
  lora::unmerge(w, dora, next);
  EXPECT_TRUE(reference::same_bits(w0, w));

  lora::Linear<Eigen::bfloat16> layer(w0);
  layer.attach("own", own);
  layer.activate({{"own", 0.5}});
  const lora::Activations<float> X = reference::gaussian<float, lora::column_major>(random, cols, 3), Y = layer.forward(X);
  EXPECT_TRUE(reference::same_bits(Y, lora::forward(w0, {{own, 0.5}}, X)));
  EXPECT_FALSE(reference::same_bits(Y, lora::forward(w0, {}, X)));
}

/// Classes that may be derived from: a copy of the base would be another update.
class Open : public lora::Update<float> {
 public:
  Index rows() const override { return 3; }
  Index cols() const override { return 4; }
  std::string_view kind() const override { return "open"; }
  std::vector<lora::UpdateTensor> tensors() const override { return {}; }
  void add_to(lora::FormBuilder<float>& form, double coefficient) const override {
    form.add_dense(coefficient * times(), ones_);
  }

 protected:
  virtual double times() const { return 1; }

 private:
  lora::Matrix<float> ones_ = lora::Matrix<float>::Ones(3, 4);
};
class Derived final : public Open {
  double times() const override { return 5; }
};

TEST(OwnUpdate, IsNotCutDownToItsBase) {
  using Set = lora::ActiveSet<float>;
  const Derived derived;
  const Open open;
  const Open &as_base = derived, *const pointer = &derived;
  const auto refused = [](const auto& call) {
    EXPECT_NE(reference::message_of<lora::ValueError>(call).find("an update (open) of a class derived from"),
              std::string::npos);
  };
  refused([&] { Set{as_base}; });
  refused([&] { Set({{as_base, 2.0}}); });
  refused([&] { Set({{pointer, 2.0}}); });
  lora::Linear<float> layer(lora::Matrix<float>::Zero(3, 4));
  refused([&] { layer.attach("a", as_base); });
  EXPECT_TRUE(layer.attached().empty());
  const auto first = [](const Set& set) { return lora::delta<float>(set, 3, 4)(0, 0); };
  EXPECT_EQ(first(open), 1);
  EXPECT_EQ(first(derived), 5);
  EXPECT_EQ(first({{&derived, 2.0}}), 10);
  EXPECT_EQ(first(std::shared_ptr<const Open>(std::make_shared<const Derived>())), 5);
  layer.attach("a", derived);
  layer.activate({{"a", 1.0}});
  EXPECT_EQ(layer.delta()(0, 0), 5);
}

/// Multiplies rows with 1 + what W0's rows begin with, and can fail in the middle of W0.
class Begins final : public lora::Update<float> {
 public:
  Begins(Index rows, Index cols, Index fails_at) : rows_(rows), cols_(cols), fails_at_(fails_at) {}
  Index rows() const override { return rows_; }
  Index cols() const override { return cols_; }
  std::string_view kind() const override { return "begins"; }
  std::vector<lora::UpdateTensor> tensors() const override { return {}; }
  void add_to(lora::FormBuilder<float>& form, double) const override {
    const auto gains = [&](const lora::FrozenRows& W0, float* g) {
      W0.for_bands([&](Index first, Index count, const double* band) {
        if (first <= fails_at_ && fails_at_ < first + count)
          throw std::runtime_error("row " + std::to_string(fails_at_));
        for (Index i = 0; i < count; ++i) g[first + i] = 1 + static_cast<float>(band[i * cols_]);
      });
    };
    form.scale_rows_from_W0(lora::view_of(lora::Matrix<float>()), gains);
  }

 private:
  Index rows_, cols_, fails_at_;
};

/// What an update throws on another thread comes out on the caller's, and nothing has changed.
TEST(OwnUpdate, MayThrowWhileItLooksAtW0) {
  Random random(215);
  const Index rows = 300, cols = 700;
  lora::DefaultExecutor executor(3);
  const lora::Context context{&executor};
  const auto run = [&]<class Weight>(const Weight& w0) {
    lora::FrozenWeight<float, Weight::IsRowMajor ? lora::row_major : lora::column_major> weight(w0);
    for (const Index at : {Index{0}, rows / 2, rows - 1}) {
      const auto fails = [&](const auto& call) {
        EXPECT_EQ(reference::message_of<std::runtime_error>(call), "row " + std::to_string(at));
      };
      const Begins broken(rows, cols, at);
      fails([&] { weight.merge(broken, context); });
      EXPECT_TRUE(reference::same_bits(w0, weight.matrix()));
      weight.merge(Begins(rows, cols, -1), context);
      const Weight merged = weight.matrix();
      EXPECT_EQ(merged(at, 3), (1 + w0(at, 0)) * w0(at, 3));
      fails([&] { weight.switch_to(broken, context); });
      EXPECT_TRUE(reference::same_bits(merged, weight.matrix()));
      weight.unmerge(context);
      EXPECT_TRUE(reference::same_bits(w0, weight.matrix()));
    }
  };
  run(reference::gaussian<float>(random, rows, cols));
  run(reference::gaussian<float, lora::column_major>(random, rows, cols));
}

template <class Layout>
class GainsOfAWeight : public ::testing::Test {};
TYPED_TEST_SUITE(GainsOfAWeight, reference::Layouts);

/// A DoRA set that was made for one weight throws over another one, wherever it came from; a copy of the weight is the weight.
TYPED_TEST(GainsOfAWeight, AreOfNoOther) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  using Weight = lora::Matrix<T, TypeParam::order>;
  Random random(216);
  const std::array<Index, 2> shapes[] = {{1, 1}, {3, 70}, {37, 70}, {70, 3}};
  for (const auto& [rows, cols] : shapes) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
    const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
    const auto other = reference::gaussian<T, TypeParam::order>(random, rows, cols);
    reference::Updates<C> dora, low_rank;
    dora.add_dora(random, rows, cols, 1, 0.1, 1);
    low_rank.add_gaussian(random, rows, cols, 1, 1);
    const auto X = reference::gaussian<C>(random, cols, 2);
    const auto set = lora::for_weight(dora.set(), w0);
    lora::Activations<C> Y = lora::Activations<C>::Constant(rows, 2, C{5});
    const auto refused = [&](const auto& call) {
      EXPECT_NE(reference::message_of<lora::StateError>(call).find("has the gains (DoRA) of another weight"),
                std::string::npos);
      EXPECT_TRUE((Y.array() == C{5}).all());
    };
    refused([&] { lora::forward_into(other, set, X, Y); });
    auto merged = w0;
    lora::merge_plain(merged, low_rank);
    refused([&] { lora::forward_into(merged, set, X, Y); });
    const lora::Linear<T, TypeParam::order> wrong(other), right(w0);
    refused([&] { wrong.forward_into(X, Y, set); });

    const Weight copy = w0;
    const lora::Matrix<T, TypeParam::order == lora::row_major ? lora::column_major : lora::row_major> across = w0;
    const auto expected = lora::forward(w0, set, X);
    EXPECT_TRUE(reference::same_bits(expected, lora::forward(copy, set, X)));
    EXPECT_EQ(lora::forward(across, set, X).rows(), rows);
    right.forward_into(X, Y, set);
    EXPECT_TRUE(reference::same_bits(expected, Y));

    // The same of a W0 that was under a merged weight.
    lora::Linear<T, TypeParam::order> layer(w0);
    layer.attach("a", low_rank[0].update);
    layer.activate({{"a", 1.0}});
    layer.merge();
    const auto found = layer.for_weight(dora.set());
    layer.unmerge();
    layer.forward_into(X, Y, found);
    EXPECT_TRUE(reference::same_bits(expected, Y));
    Y.setConstant(C{5});
    refused([&] { wrong.forward_into(X, Y, found); });
  }
}

/// Whatever bits W0 has (NaN with payloads, signalling ones, denormals), it is itself.
TYPED_TEST(GainsOfAWeight, KnowTheirOwn) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(219);
  for (int round = 0; round < 50; ++round) {
    const Index rows = 1 + random.below(9), cols = 1 + random.below(9);
    const auto w0 = reference::any_patterns<T, TypeParam::order>(random, rows, cols);
    reference::Updates<C> dora;
    dora.add_dora(random, rows, cols, 1, 0.1, 1);
    const auto set = lora::for_weight(dora.set(), w0);
    EXPECT_NO_THROW(static_cast<void>(lora::forward(w0, set, lora::Matrix<C>::Ones(cols, 1).eval()))) << round;
  }
}

/// A column-major weight's rows are taken in bands that its blocks are cut by: the same gains.
TYPED_TEST(GainsOfAWeight, AreTheSameForWideMergedOnes) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(217);
  const Index rows = 1100, cols = 2100;
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  reference::Updates<C> dora, low_rank;
  dora.add_dora(random, rows, cols, 1, 0.1, 1);
  low_rank.add_gaussian(random, rows, cols, 1, 0.1);
  lora::FrozenWeight<T, TypeParam::order> weight(w0);
  const auto expected = lora::for_weight(dora.set(), w0);
  weight.merge(low_rank.set());
  for (const int threads : {1, 3}) {
    lora::DefaultExecutor executor(threads);
    const auto found = weight.for_weight(dora.set(), {&executor});
    ASSERT_EQ(
        std::memcmp(expected.form().row_gains(), found.form().row_gains(), static_cast<std::size_t>(rows) * sizeof(C)),
        0);
  }
}

/// Gains are not made of a merged weight that somebody has edited.
TYPED_TEST(GainsOfAWeight, AreNotOfAnEditedMergedOne) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(218);
  auto w = reference::gaussian<T, TypeParam::order>(random, 70, 1100);
  reference::Updates<C> dora, low_rank;
  dora.add_dora(random, 70, 1100, 1, 0.1, 1);
  low_rank.add_gaussian(random, 70, 1100, 1, 0.1);
  auto layer = lora::Linear<T>::view(w);
  layer.attach("a", low_rank[0].update);
  layer.activate({{"a", 1.0}});
  layer.merge();
  EXPECT_NO_THROW(static_cast<void>(layer.for_weight(dora.set())));
  EXPECT_EQ(layer.weight().overflows(), 0);
  for (const auto& [i, j] : {std::pair<Index, Index>{0, 0}, {69, 1099}, {41, 1024}}) {
    const T kept = w(i, j);
    w(i, j) = std::bit_cast<T>(static_cast<reference::Bits<T>>(reference::bits(kept) ^ 1));
    for (const auto& message :
         {reference::message_of<lora::RecordError>([&] { static_cast<void>(layer.for_weight(dora.set())); }),
          reference::message_of<lora::RecordError>([&] { static_cast<void>(layer.weight().overflows()); })})
      EXPECT_NE(message.find("the merged weight is not the one this record was made for, or was changed"),
                std::string::npos);
    w(i, j) = kept;
  }
  layer.unmerge();
}

}  // namespace
