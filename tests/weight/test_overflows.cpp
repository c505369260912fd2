// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// overflows(): the finite weights that a merge made infinite or NaN, counted.

#include "lora/weight/frozen_weight.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class Overflows : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Weight = lora::Matrix<Stored, Layout::order>;

  static bool finite(Stored value) {
    return (reference::bits(value) & reference::infinity<Stored>) != reference::infinity<Stored>;
  }

  /// By looking at both, element by element.
  static Index count(const Weight& w0, const Weight& merged) {
    Index out = 0;
    for (Index i = 0; i < w0.rows(); ++i)
      for (Index j = 0; j < w0.cols(); ++j) out += finite(w0(i, j)) && !finite(merged(i, j));
    return out;
  }
};
TYPED_TEST_SUITE(Overflows, reference::Layouts);

/// Sums beyond the largest number, gains that are infinite or NaN, W0 that is not finite before; few and many, in several blocks.
TYPED_TEST(Overflows, AreTheFiniteElementsThatBecameInfinite) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(260);
  const Index rows = 70, cols = 1100;
  const C largest = reference::widen(std::numeric_limits<T>::max());
  std::vector<Updates<C>> sets(6);
  sets[1].add_gaussian(random, rows, cols, 2, 0.1);
  // Row 3 of delta is about as large as the largest number, column 1050 a little less.
  lora::Matrix<C> B = lora::Matrix<C>::Zero(rows, 2), A = lora::Matrix<C>::Zero(2, cols);
  B(3, 0) = largest;
  B.col(1).setConstant(largest / 2);
  A.row(0) = reference::gaussian<C>(random, 1, cols);
  A(1, 1050) = C{1};
  sets[2].add(lora::LowRank<C>(B, A, lora::scaling::fixed(1)));
  sets[3].add_dense(random, rows, cols, 1);
  lora::Matrix<C> g = lora::Matrix<C>::Ones(rows, 1), h = lora::Matrix<C>::Ones(cols, 1);
  g(5, 0) = std::numeric_limits<C>::infinity();
  g(6, 0) = std::numeric_limits<C>::max();
  h(7, 0) = std::numeric_limits<C>::quiet_NaN();
  sets[4].add(reference::Gates<C>(rows, cols, g, h));
  sets[5].add_dora(random, rows, cols, 1, 0.1, 1);
  for (const bool wild : {false, true}) {
    typename TestFixture::Weight w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
    if (wild) w0 = reference::any_patterns<T, TypeParam::order>(random, rows, cols);
    for (std::size_t s = 0; s < sets.size(); ++s) {
      SCOPED_TRACE(::testing::Message() << "set " << s << (wild ? ", any bits" : ""));
      lora::FrozenWeight<T, TypeParam::order> weight(w0);
      EXPECT_THROW(static_cast<void>(weight.overflows()), lora::StateError);
      weight.merge(sets[s].set());
      const auto merged = weight.matrix();
      const Index expected = this->count(w0, merged);
      EXPECT_EQ(expected, weight.overflows());
      EXPECT_EQ(expected, lora::overflows(merged, sets[s].set(), weight.record()));
      if (!wild) {
        EXPECT_EQ(expected != 0, s == 2 || s == 4) << expected;
      }
    }
  }
}

/// A record of other updates, or of another weight.
TYPED_TEST(Overflows, AreOfTheMergeAlone) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(261);
  auto w = reference::gaussian<T, TypeParam::order>(random, 20, 40);
  Updates<C> set, other;
  set.add_gaussian(random, 20, 40, 2, 0.1);
  other.add_gaussian(random, 20, 40, 2, 0.1);
  const lora::UndoRecord record = lora::merge(w, set);
  EXPECT_THROW(static_cast<void>(lora::overflows(w, other, record)), lora::RecordError);
  EXPECT_THROW(static_cast<void>(lora::overflows(w.topRows(19), set, record)), lora::RecordError);
  EXPECT_THROW(static_cast<void>(lora::overflows(w, set, lora::UndoRecord())), lora::RecordError);
  EXPECT_EQ(lora::overflows(w, set, record), 0);
}

}  // namespace
