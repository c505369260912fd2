// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// LoHa, LoKr, LoCon, VeRA, IA3: their deltas beside sums that are written out in float64 from the formulas alone, their
// tensors and rules, and what they refuse. (That they have the reference's bits, merge and come back is in tests/laws.)

#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/random_kinds.hpp"

namespace {

using lora::Index;
using lora::detail::AnyFactor;
using lora::detail::UpdateParts;
using reference::factor;
using reference::message_of;
using reference::Numbers;
using reference::Random;
using reference::short_factor;
namespace scaling = lora::scaling;

/// delta and, for each element, the sum of the absolute values of its terms.
struct Exact {
  Numbers delta, sizes;
};

Exact exact(Index rows, Index cols,
            const std::function<void(Index, Index, const std::function<void(double)>&)>& terms) {
  Exact out{Numbers::Zero(rows, cols), Numbers::Zero(rows, cols)};
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j)
      terms(i, j, [&](double term) {
        out.delta(i, j) += term;
        out.sizes(i, j) += std::abs(term);
      });
  return out;
}

/// Whether delta is within `roundings` roundings of the compute type, of terms whose absolute values sum up to what
/// `expected` says.
template <class C>
::testing::AssertionResult is_near(const Exact& expected, const lora::Update<C>& update, Index roundings,
                                   double coefficient = 1) {
  const auto found = lora::delta(update, coefficient);
  const double u = static_cast<double>(std::numeric_limits<C>::epsilon()) / 2, n = static_cast<double>(roundings) * u;
  if (found.rows() != expected.delta.rows() || found.cols() != expected.delta.cols())
    return ::testing::AssertionFailure() << "found " << found.rows() << " x " << found.cols();
  double largest = 0;
  for (Index i = 0; i < found.rows(); ++i)
    for (Index j = 0; j < found.cols(); ++j) {
      const double size = std::abs(coefficient) * expected.sizes(i, j);
      const double error = std::abs(static_cast<double>(found(i, j)) - coefficient * expected.delta(i, j));
      largest = std::max(largest, std::abs(expected.delta(i, j)));
      if (!(error <= n / (1 - n) * size))
        return ::testing::AssertionFailure()
               << "(" << i << ", " << j << "): expected " << coefficient * expected.delta(i, j) << ", found "
               << found(i, j) << ", which is " << error << " off";
    }
  if (!(largest > 0)) return ::testing::AssertionFailure() << "all is zero";
  return ::testing::AssertionSuccess();
}

/// A stored matrix as doubles.
template <class Object>
Numbers wide(const Object& matrix) {
  return reference::wide<double>(matrix);
}

template <class C>
class Kinds : public ::testing::Test {
 public:
  /// Whether the tensors and the rule are all that there is to keep: what is made of them does the same.
  template <class Kind>
  static void expect_kept(const Kind& update, const std::vector<std::string>& names) {
    UpdateParts parts;
    ASSERT_EQ(update.tensors().size(), names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      EXPECT_EQ(update.tensors()[i].name, names[i]);
      parts.add(names[i], AnyFactor(names[i], update.tensors()[i].view));
    }
    const Kind again(parts, update.scaling_rule());
    EXPECT_TRUE(reference::same_bits(lora::delta(update), lora::delta(again)));
    EXPECT_EQ(lora::ActiveSet<C>(update).fingerprint(), lora::ActiveSet<C>(again).fingerprint());
  }
};
using Computed = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Kinds, Computed);

// Roundings: a factor's numbers are products of two or three, in double, and rounded once (at most 4 in all); c B rounds c
// and the product; a chain of depth d rounds d times.

TYPED_TEST(Kinds, LoHaIsAHadamardProductOfProducts) {
  Random random(220);
  for (const auto& shape :
       {std::array<Index, 4>{37, 70, 2, 3}, {37, 70, 5, 9}, {1, 1, 1, 1}, {64, 40, 1, 3}, {9, 600, 20, 2}}) {
    const Index rows = shape[0], cols = shape[1], r1 = shape[2], r2 = shape[3];
    const auto w1_a = factor(random, rows, r1);
    const auto w1_b = short_factor(random, r1, cols);
    const auto w2_a = factor(random, rows, r2), w2_b = factor(random, r2, cols);
    const lora::LoHa<TypeParam> update(w1_a, w1_b, w2_a, w2_b, scaling::alpha(3));
    EXPECT_EQ(update.kind(), "LoHa");
    EXPECT_EQ(update.scaling(), 3.0 / static_cast<double>(r1));
    const Numbers a1 = wide(w1_a), b1 = wide(w1_b), a2 = wide(w2_a), b2 = wide(w2_b);
    const auto expected = exact(rows, cols, [&](Index i, Index j, const auto& add) {
      for (Index k = 0; k < r1; ++k)
        for (Index l = 0; l < r2; ++l) add(3.0 / static_cast<double>(r1) * a1(i, k) * b1(k, j) * a2(i, l) * b2(l, j));
    });
    EXPECT_TRUE(is_near(expected, update, r1 * r2 + 6, -0.3)) << rows << " x " << cols;
    this->expect_kept(update, {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"});
    // The cheaper form.
    const lora::ActiveSet<TypeParam> set(update);
    const bool low_rank = 4 * r1 * r2 * (rows + cols) <= rows * cols;
    EXPECT_EQ(set.form().depth(), low_rank ? r1 * r2 : 0);
    EXPECT_EQ(set.form().dense() == nullptr, low_rank);
  }
}

TYPED_TEST(Kinds, LoHaWithTuckerCores) {
  Random random(221);
  for (const auto& shape : {std::array<Index, 4>{6, 5, 9, 3}, {60, 40, 3, 2}, {7, 4, 1, 3}}) {
    const Index out = shape[0], in = shape[1], kernel = shape[2], r = shape[3];
    const auto t1 = factor(random, r, r * kernel), t2 = factor(random, 2, 2 * kernel);
    const auto w1_a = factor(random, r, out), w1_b = factor(random, r, in), w2_a = factor(random, 2, out);
    const auto w2_b = short_factor(random, 2, in);
    const lora::LoHa<TypeParam> update(t1, w1_a, w1_b, t2, w2_a, w2_b, scaling::rank_stabilized(3));
    const Numbers c1 = wide(t1), c2 = wide(t2), a1 = wide(w1_a), b1 = wide(w1_b), a2 = wide(w2_a), b2 = wide(w2_b);
    const double s = 3 / std::sqrt(static_cast<double>(r));
    const auto expected = exact(out, in * kernel, [&](Index o, Index column, const auto& add) {
      const Index i = column / kernel, k = column % kernel;
      for (Index p = 0; p < r; ++p)
        for (Index q = 0; q < r; ++q)
          for (Index x = 0; x < 2; ++x)
            for (Index y = 0; y < 2; ++y)
              add(s * c1(p, q * kernel + k) * b1(q, i) * a1(p, o) * c2(x, y * kernel + k) * b2(y, i) * a2(x, o));
    });
    EXPECT_TRUE(is_near(expected, update, 4 * r * r + 10)) << out << " x " << in << " x " << kernel;
    this->expect_kept(update, {"hada_w1_a", "hada_w1_b", "hada_t1", "hada_w2_a", "hada_w2_b", "hada_t2"});
  }
}

TYPED_TEST(Kinds, LoKrIsAKroneckerProduct) {
  Random random(222);
  for (const auto& shape :
       {std::array<Index, 5>{5, 4, 5, 6, 1}, {8, 3, 20, 40, 2}, {3, 8, 40, 20, 3}, {1, 1, 7, 9, 2}, {2, 2, 1, 27, 1}}) {
    const Index a = shape[0], b = shape[1], c = shape[2], d = shape[3], r = shape[4];
    const auto w1 = factor(random, a, b), w1_a = factor(random, a, r), w1_b = factor(random, r, b);
    const auto w2 = short_factor(random, c, d), w2_a = short_factor(random, c, r), w2_b = short_factor(random, r, d);
    // Each with its terms: a sum over p of w1's and one over q of w2's.
    const auto check = [&](const lora::LoKr<TypeParam>& update, double s, bool first, bool second,
                           const std::vector<std::string>& names) {
      const Numbers x = wide(w1), xa = wide(w1_a), xb = wide(w1_b), y = wide(w2), ya = wide(w2_a), yb = wide(w2_b);
      const Index rows = c, cols = d, rank = r;
      const auto expected = exact(a * c, b * d, [&](Index i, Index j, const auto& add) {
        const Index i1 = i / rows, i2 = i % rows, j1 = j / cols, j2 = j % cols;
        for (Index p = 0; p < (first ? rank : 1); ++p)
          for (Index q = 0; q < (second ? rank : 1); ++q)
            add(s * (first ? xa(i1, p) * xb(p, j1) : x(i1, j1)) * (second ? ya(i2, q) * yb(q, j2) : y(i2, j2)));
      });
      EXPECT_EQ(update.scaling(), s);
      EXPECT_TRUE(is_near(expected, update, lora::ActiveSet<TypeParam>(update).form().depth() + r + 8, 0.7));
      this->expect_kept(update, names);
    };
    const double s = 3.0 / static_cast<double>(r);
    check({w1, w2, scaling::fixed(0.5)}, 0.5, false, false, {"lokr_w1", "lokr_w2"});
    check({w1, w2_a, w2_b, scaling::alpha(3)}, s, false, true, {"lokr_w1", "lokr_w2_a", "lokr_w2_b"});
    check({w1_a, w1_b, w2_a, w2_b, scaling::alpha(3)}, s, true, true,
          {"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"});
    const UpdateParts parts{{"lokr_w1_a", {"w1_a", w1_a}}, {"lokr_w1_b", {"w1_b", w1_b}}, {"lokr_w2", {"w2", w2}}};
    check({parts, scaling::alpha(3)}, s, true, false, {"lokr_w1_a", "lokr_w1_b", "lokr_w2"});
  }
}

TYPED_TEST(Kinds, LoKrWithATuckerCore) {
  Random random(223);
  const Index c = 5, d = 3, kernel = 9, r = 2;
  const auto w1 = factor(random, 2, 4), t2 = factor(random, r, r * kernel), w2_a = factor(random, r, c),
             w2_b = factor(random, r, d);
  const lora::LoKr<TypeParam> update(
      UpdateParts{
          {"lokr_w1", {"w1", w1}}, {"lokr_t2", {"t2", t2}}, {"lokr_w2_a", {"a", w2_a}}, {"lokr_w2_b", {"b", w2_b}}},
      scaling::alpha(3));
  // The kernel's positions stay innermost: column ((j1 d + j2) K + k) of kron(w1, w2).
  const auto expected = exact(2 * c, 4 * d * kernel, [&](Index i, Index column, const auto& add) {
    const Index k = column % kernel, input = column / kernel, j1 = input / d, j2 = input % d;
    for (Index p = 0; p < r; ++p)
      for (Index q = 0; q < r; ++q)
        add(1.5 * static_cast<double>(w1(i / c, j1)) * static_cast<double>(t2(p, q * kernel + k)) *
            static_cast<double>(w2_b(q, j2)) * static_cast<double>(w2_a(p, i % c)));
  });
  EXPECT_TRUE(is_near(expected, update, 20));
  this->expect_kept(update, {"lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"});
}

TYPED_TEST(Kinds, LoConGoesThroughItsCore) {
  Random random(224);
  for (const auto& shape : {std::array<Index, 5>{6, 5, 9, 3, 3}, {7, 4, 1, 2, 5}, {1, 1, 1, 1, 1}}) {
    const Index out = shape[0], in = shape[1], kernel = shape[2], r1 = shape[3], r2 = shape[4];
    const auto up = factor(random, out, r1), mid = factor(random, r1, r2 * kernel), down = factor(random, r2, in);
    const lora::LoCon<TypeParam> update(up, mid, down, scaling::alpha(3));
    const double s = 3.0 / static_cast<double>(r2);
    const auto expected = exact(out, in * kernel, [&](Index o, Index column, const auto& add) {
      for (Index p = 0; p < r1; ++p)
        for (Index q = 0; q < r2; ++q)
          add(s * static_cast<double>(up(o, p)) * static_cast<double>(mid(p, q * kernel + column % kernel)) *
              static_cast<double>(down(q, column / kernel)));
    });
    EXPECT_TRUE(is_near(expected, update, r1 + r2 + 6));
    EXPECT_EQ(lora::ActiveSet<TypeParam>(update).form().depth(), r1);
    this->expect_kept(update, {"lora_up", "lora_mid", "lora_down"});
  }
}

TYPED_TEST(Kinds, VeRACutsWhatItShares) {
  Random random(225);
  const auto B = factor(random, 20, 6), A = factor(random, 5, 30);
  const lora::VeRAMatrices shared(B, A);
  for (const auto& shape : {std::array<Index, 3>{20, 12, 5}, {6, 30, 2}, {1, 1, 1}}) {
    const Index out = shape[0], in = shape[1], r = shape[2];
    const auto b = factor(random, out, 1), d = factor(random, r, 1);
    const lora::VeRA<TypeParam> update(shared, b, d, in);
    const auto expected = exact(out, in, [&](Index i, Index j, const auto& add) {
      for (Index k = 0; k < r; ++k)
        add(static_cast<double>(b(i, 0)) * static_cast<double>(B(i, k)) * static_cast<double>(d(k, 0)) *
            static_cast<double>(A(k, j)));
    });
    EXPECT_TRUE(is_near(expected, update, r + 6, 0.3));
    EXPECT_EQ(update.scaling(), 1.0);
    // B and A are not copied; the columns of a file's are open.
    const auto tensors = update.tensors();
    ASSERT_EQ(tensors.size(), 4u);
    EXPECT_EQ(tensors[2].view.data, shared.B().data);
    EXPECT_EQ(tensors[3].view.data, shared.A().data);
    const lora::VeRA<TypeParam> open(
        UpdateParts{
            {"vera_B", {"B", B}}, {"vera_A", {"A", A}}, {"vera_lambda_b", {"b", b}}, {"vera_lambda_d", {"d", d}}},
        scaling::fixed(1));
    EXPECT_EQ(open.rows(), out);
    EXPECT_EQ(open.cols(), -1);
    EXPECT_TRUE(reference::same_bits(lora::delta(update), lora::delta(open.sized(out, in))));
    EXPECT_THROW(static_cast<void>(lora::ActiveSet<TypeParam>(open)), lora::ShapeError);
    EXPECT_THROW(static_cast<void>(open.sized(out + 1, in)), lora::ShapeError);
    EXPECT_THROW(static_cast<void>(open.sized(out, 31)), lora::ShapeError);
    EXPECT_THROW(static_cast<void>(open.sized(out, -1)), lora::ShapeError);
    EXPECT_THROW(static_cast<void>(update.sized(out, in - 1)), lora::ShapeError);
  }
  EXPECT_EQ(message_of<lora::ShapeError>(
                [&] { lora::VeRA<TypeParam>(shared, factor(random, 21, 1), factor(random, 5, 1), 3); }),
            "lora: VeRA: vera_B: expected at least 21 x 5, found 20 x 6");
  EXPECT_EQ(message_of<lora::ShapeError>(
                [&] { lora::VeRA<TypeParam>(shared, factor(random, 20, 1), factor(random, 6, 1), 3); }),
            "lora: VeRA: vera_A: expected at least 6 x 3, found 5 x 30");
  EXPECT_THROW((lora::VeRA<TypeParam>(shared, factor(random, 2, 2), factor(random, 5, 1), 3)), lora::ShapeError);
  EXPECT_THROW((lora::VeRA<TypeParam>(shared, factor(random, 2, 1), factor(random, 1, 5), 3)), lora::ShapeError);
  EXPECT_THROW((lora::VeRA<TypeParam>(shared, factor(random, 2, 1), factor(random, 0, 1), 3)), lora::ValueError);
}

/// W' is the weight times l, rounded once to the compute type (l is float) and once to storage (here the same).
TYPED_TEST(Kinds, IA3MultipliesRowsOrColumns) {
  Random random(226);
  const auto w0 = reference::gaussian<TypeParam>(random, 6, 12);
  for (const bool by_rows : {true, false})
    for (const double c : {1.0, 0.25, -2.0}) {
      const lora::Matrix<float> l = factor(random, by_rows ? 6 : 1, by_rows ? 1 : 12);
      const lora::IA3<TypeParam> open(l);
      EXPECT_EQ(open.rows(), by_rows ? 6 : -1);
      EXPECT_EQ(open.cols(), by_rows ? -1 : 12);
      auto w = w0;
      lora::merge_plain(w, {{open.sized(6, 12), c}});
      for (Index i = 0; i < 6; ++i)
        for (Index j = 0; j < 12; ++j) {
          const double gain = std::fma(c, static_cast<double>(by_rows ? l(i, 0) : l(0, j)), 1 - c);
          ASSERT_EQ(w(i, j), static_cast<TypeParam>(gain) * w0(i, j)) << "(" << i << ", " << j << "), c = " << c;
        }
      EXPECT_THROW(static_cast<void>(lora::ActiveSet<TypeParam>(open)), lora::ShapeError);
      EXPECT_THROW(static_cast<void>(open.sized(by_rows ? 7 : 6, by_rows ? 12 : 13)), lora::ShapeError);
      EXPECT_THROW(static_cast<void>(open.sized(6, 12).sized(by_rows ? 6 : 7, by_rows ? 13 : 12)), lora::ShapeError);
    }
  // A convolution's inputs: 4 of 3 positions each.
  const auto l = factor(random, 1, 4);
  const auto inner = lora::IA3<TypeParam>(l).sized(6, 12, 3);
  auto w = w0;
  lora::merge_plain(w, inner);
  for (Index i = 0; i < 6; ++i)
    for (Index j = 0; j < 12; ++j) ASSERT_EQ(w(i, j), static_cast<TypeParam>(l(0, j / 3)) * w0(i, j));
  EXPECT_THROW(static_cast<void>(lora::IA3<TypeParam>(l).sized(6, 12)), lora::ShapeError);
  EXPECT_THROW(static_cast<void>(lora::IA3<TypeParam>(l).sized(6, 12, 0)), lora::ShapeError);
  // One number is for the one row, or the one input.
  const lora::Matrix<float> one = factor(random, 1, 1);
  for (const auto& shape : {std::array<Index, 3>{1, 7, 1}, {7, 1, 1}, {5, 9, 9}, {1, 1, 1}}) {
    const Index rows = shape[0], cols = shape[1], kernel = shape[2];
    const auto v0 = reference::gaussian<TypeParam>(random, rows, cols);
    auto v = v0;
    lora::merge_plain(v, lora::IA3<TypeParam>(one).sized(rows, cols, kernel));
    for (Index i = 0; i < v.size(); ++i) ASSERT_EQ(v.data()[i], static_cast<TypeParam>(one(0, 0)) * v0.data()[i]);
  }
  EXPECT_THROW(static_cast<void>(lora::IA3<TypeParam>(one).sized(2, 2)), lora::ShapeError);
  EXPECT_EQ(message_of<lora::ShapeError>([&] { lora::IA3<TypeParam>(factor(random, 2, 3)); }),
            "lora: IA3: ia3_l: expected out x 1 or 1 x in, found 2 x 3");
  EXPECT_THROW(lora::IA3<TypeParam>(l, scaling::alpha(2)), lora::ValueError);
  lora::Matrix<double> huge(6, 1);
  huge.setConstant(std::numeric_limits<double>::max());
  EXPECT_THROW((lora::ActiveSet<TypeParam>({{lora::IA3<TypeParam>(huge).sized(6, 12), 2.0}})), lora::ValueError);
}

TEST(KindsOfFiles, NameTheTensorThatIsWrong) {
  Random random(227);
  const auto named = [&](const char* name, Index rows, Index cols) {
    return UpdateParts::Part{name, AnyFactor(name, factor(random, rows, cols))};
  };
  const auto loha = [&](const UpdateParts& parts) { return [parts] { lora::LoHa<float>(parts, scaling::alpha(1)); }; };
  const auto lokr = [&](const UpdateParts& parts, lora::Scaling rule = scaling::alpha(1)) {
    return [parts, rule] { lora::LoKr<float>(parts, rule); };
  };
  const auto locon = [&](const UpdateParts& parts) {
    return [parts] { lora::LoCon<float>(parts, scaling::alpha(1)); };
  };
  const auto a1 = named("hada_w1_a", 6, 2), b1 = named("hada_w1_b", 2, 8), a2 = named("hada_w2_a", 6, 3),
             b2 = named("hada_w2_b", 3, 8);
  EXPECT_EQ(message_of<lora::ValueError>(loha({a1, b1, a2})),
            "lora: an update: expected a tensor hada_w2_b, found none");
  EXPECT_EQ(message_of<lora::ValueError>(loha({a1, b1, a2, b2, named("diff", 1, 1)})),
            "lora: LoHa: expected no tensor diff beside its others, found one");
  EXPECT_EQ(message_of<lora::ShapeError>(loha({a1, named("hada_w1_b", 3, 8), a2, b2})),
            "lora: LoHa: hada_w1_b: expected 2 x 8, found 3 x 8");
  EXPECT_EQ(message_of<lora::ShapeError>(loha({a1, b1, a2, named("hada_w2_b", 3, 9)})),
            "lora: LoHa: the product of hada_w2_a and hada_w2_b: expected 6 x 8, found 6 x 9");
  EXPECT_EQ(message_of<lora::ShapeError>(loha({a1, b1, a2, b2, named("hada_t1", 2, 6)})),
            "lora: LoHa: hada_t1: expected 6 x a multiple of 2, found 2 x 6");
  EXPECT_EQ(message_of<lora::ValueError>(loha({named("hada_w1_a", 6, 0), named("hada_w1_b", 0, 8), a2, b2})),
            "lora: LoHa: hada_w1_b: expected a rank of at least 1, found 0");
  EXPECT_EQ(message_of<lora::ValueError>([&] {
              UpdateParts({a1, a1});
            }),
            "lora: an update: expected one tensor hada_w1_a, found two");

  const auto w1 = named("lokr_w1", 2, 2), w2 = named("lokr_w2", 3, 4), w2_a = named("lokr_w2_a", 3, 1),
             w2_b = named("lokr_w2_b", 1, 4);
  EXPECT_EQ(message_of<lora::ValueError>(lokr({w1})),
            "lora: LoKr: expected a tensor lokr_w2, or lokr_w2_a and lokr_w2_b, found none");
  EXPECT_EQ(message_of<lora::ValueError>(lokr({w1, w2_a})), "lora: an update: expected a tensor lokr_w2_b, found none");
  EXPECT_EQ(message_of<lora::ValueError>(lokr({w1, w2, w2_a, w2_b}, scaling::fixed(1))),
            "lora: LoKr: expected no tensor lokr_w2_a beside its others, found one");
  EXPECT_EQ(message_of<lora::ValueError>(lokr({w1, w2})),
            "lora: LoKr: lokr_w1 and lokr_w2 are whole and have no rank: expected a fixed scaling, found a rule");
  EXPECT_EQ(message_of<lora::ShapeError>(lokr({w1, w2_a, named("lokr_w2_b", 2, 4)})),
            "lora: LoKr: lokr_w2_b: expected 1 x 4, found 2 x 4");
  const Index most = Index{1} << 40;
  const auto tall = [&](const char* name) {
    return UpdateParts::Part{name,
                             AnyFactor(name, lora::MatrixView{nullptr, lora::ScalarType::float32, most, 0, 0, 1})};
  };
  EXPECT_EQ(
      message_of<lora::ShapeError>(lokr({tall("lokr_w1"), tall("lokr_w2")}, scaling::fixed(1))),
      "lora: LoKr: the rows of lokr_w1 and lokr_w2: expected sizes whose product is an index, found 1099511627776 and "
      "1099511627776");

  const auto up = named("lora_up", 6, 3), down = named("lora_down", 2, 5);
  EXPECT_EQ(message_of<lora::ShapeError>(locon({up, named("lora_mid", 3, 7), down})),
            "lora: LoCon: lora_mid: expected 3 x a multiple of 2, found 3 x 7");
  EXPECT_EQ(message_of<lora::ShapeError>(locon({up, named("lora_mid", 4, 8), down})),
            "lora: LoCon: lora_up: expected 6 x 4, found 6 x 3");
  EXPECT_EQ(message_of<lora::ValueError>(locon({up, down})), "lora: an update: expected a tensor lora_mid, found none");

  lora::Matrix<Eigen::half> bad = lora::Matrix<Eigen::half>::Constant(2, 3, Eigen::half(1.0f));
  bad(1, 2) = std::numeric_limits<Eigen::half>::quiet_NaN();
  EXPECT_EQ(message_of<lora::ValueError>([&] { AnyFactor("hada_t1", bad); }),
            "lora: hada_t1: expected finite numbers, found NaN at (1, 2)");
}

TEST(KindsOfFiles, FactorsKeepTheirTypeAndBits) {
  Random random(228);
  const auto check = [&]<class T>(T) {
    const auto matrix = reference::gaussian<T>(random, 4, 7);
    const lora::Matrix<T, lora::column_major> other = matrix;
    for (const AnyFactor& own : {AnyFactor("x", matrix), AnyFactor("x", other), AnyFactor("x", lora::view_of(other))}) {
      EXPECT_EQ(own.type(), lora::detail::ScalarTraits<T>::type);
      const lora::MatrixMap<const T> found(static_cast<const T*>(own.view().data), own.rows(), own.cols(),
                                           Eigen::OuterStride<>(own.cols()));
      EXPECT_TRUE(reference::same_bits(matrix, found));
      EXPECT_EQ(AnyFactor(own).view().data, own.view().data);
    }
  };
  check(Eigen::half());
  check(Eigen::bfloat16());
  check(float());
  check(double());
}

/// Layers take them by name, as any other.
TEST(KindsOfFiles, ActInLayers) {
  Random random(229);
  const auto w0 = reference::gaussian<Eigen::bfloat16>(random, 20, 30);
  lora::Linear<Eigen::bfloat16> layer(w0);
  layer.attach("hadamard", reference::random_loha<float>(random, 20, 30, 4, 4));
  layer.attach("shared", reference::random_vera<float>(random, 20, 30, 4));
  layer.attach("gates", reference::random_ia3<float>(random, 20, 30, true));
  EXPECT_THROW(layer.attach("open", lora::IA3<float>(factor(random, 20, 1))), lora::ShapeError);
  layer.activate({{"hadamard", 0.5}, {"gates", 1.0}, {"shared", 1.0}});
  layer.merge();
  layer.activate({{"shared", 1.0}});
  layer.unmerge();
  EXPECT_TRUE(reference::same_bits(w0, layer.weight().matrix()));
}

}  // namespace
