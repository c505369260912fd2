// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What holds for sets of every kind of update, alone, mixed and several in order, in every type and order, for weights of
// several blocks and threads: the reference's bits of W' and record, every bit of W0 back, any switch a fresh merge, and the
// same function merged and unmerged.

#include "lora/layer/forward.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"
#include "reference/random_kinds.hpp"

#include <thread>

namespace {

using lora::Index;
using reference::Gates;
using reference::Random;
using reference::Updates;

enum class Kind {
  low_rank,
  dora,
  dense,
  gates,
  two_doras,
  mixed,
  columns,
  none,
  loha,
  loha_dense,
  loha_tucker,
  lokr,
  lokr_small,
  lokr_least,
  locon,
  vera,
  ia3_rows,
  ia3_columns,
  many
};
constexpr Kind kinds[] = {Kind::low_rank,  Kind::dora,  Kind::dense,   Kind::gates,
                          Kind::two_doras, Kind::mixed, Kind::columns, Kind::none};
constexpr Kind kinds_of_files[] = {Kind::loha,       Kind::loha_dense,  Kind::loha_tucker, Kind::lokr,
                                   Kind::lokr_small, Kind::lokr_least,  Kind::locon,       Kind::vera,
                                   Kind::ia3_rows,   Kind::ia3_columns, Kind::many};

const char* name(Kind kind) {
  constexpr const char* names[] = {"low rank",    "DoRA",        "dense",          "gates",      "two DoRAs",
                                   "mixed",       "columns",     "none",           "LoHa",       "dense LoHa",
                                   "Tucker LoHa", "LoKr",        "small LoKr",     "least LoKr", "LoCon",
                                   "VeRA",        "IA3 by rows", "IA3 by columns", "many"};
  return names[static_cast<int>(kind)];
}

std::vector<Kind> all_kinds() {
  std::vector<Kind> all(std::begin(kinds), std::end(kinds));
  all.insert(all.end(), std::begin(kinds_of_files), std::end(kinds_of_files));
  return all;
}

template <class Layout>
class UpdateLaws : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Weight = lora::Matrix<Stored, Layout::order>;
  using Set = lora::ActiveSet<Computed>;

  /// Numbers about 1, of both signs.
  static lora::Matrix<Computed> gains(Random& random, Index size) {
    lora::Matrix<Computed> out = reference::gaussian<Computed>(random, size, 1, 0.3);
    for (Index i = 0; i < size; ++i) out(i, 0) += random.below(4) == 0 ? Computed{-1} : Computed{1};
    return out;
  }
  /// The same with 0, -0, denormal, huge, infinite and NaN ones among them.
  static lora::Matrix<Computed> wild_gains(Random& random, Index size) {
    using Limits = std::numeric_limits<Computed>;
    const Computed special[] = {
        Computed{0},         -Computed{0},       Limits::denorm_min(), -Limits::denorm_min() * 77,
        Limits::max(),       -Limits::max() / 3, Limits::infinity(),   -Limits::infinity(),
        Limits::quiet_NaN(), Limits::min(),      Computed{1},          Computed{-1}};
    lora::Matrix<Computed> out = gains(random, size);
    for (Index i = 0; i < size; ++i)
      if (random.below(3) == 0) out(i, 0) = special[random.below(std::size(special))];
    return out;
  }

  static Set make(Kind kind, Random& random, Index rows, Index cols) {
    Updates<Computed> set;
    switch (kind) {
      case Kind::low_rank:
        set.add_gaussian(random, rows, cols, 3, 0.03);
        set.add_gaussian(random, rows, cols, 2, 0.1, -0.7);
        break;
      case Kind::dora: set.add_dora(random, rows, cols, 3, 0.03, 1, 0.8); break;
      case Kind::dense: set.add_dense(random, rows, cols, 0.1, -0.6); break;
      case Kind::gates: set.add(Gates<Computed>(rows, cols, gains(random, rows), gains(random, cols))); break;
      case Kind::two_doras:
        set.add_dora(random, rows, cols, 2, 0.03, 1, -0.5);
        set.add_dora(random, rows, cols, 1, 0.3, 1);
        break;
      case Kind::mixed:
        set.add_gaussian(random, rows, cols, 2, 0.1);
        set.add_dense(random, rows, cols, 0.05, 0.3);
        set.add_dora(random, rows, cols, 1, 0.03, 1, 0);  // does nothing
        set.add_dora(random, rows, cols, 2, 0.03, 1, 1.2);
        set.add(Gates<Computed>(rows, cols, {}, gains(random, cols)));
        set.add_dense(random, rows, cols, 0.05);
        set.add_gaussian(random, rows, cols, 1, 0.1);
        break;
      case Kind::columns: set.add(Gates<Computed>(rows, cols, {}, gains(random, cols))); break;
      case Kind::none: break;
      case Kind::loha: set.add(reference::random_loha<Computed>(random, rows, cols, 2, 2), -0.7); break;
      case Kind::loha_dense: set.add(reference::random_loha<Computed>(random, rows, cols, 20, 17)); break;
      case Kind::loha_tucker: set.add(reference::random_tucker_loha<Computed>(random, rows, cols, 2, 1), 0.6); break;
      case Kind::lokr: set.add(reference::random_lokr<Computed>(random, rows, cols), 0.9); break;
      case Kind::lokr_small: set.add(reference::random_small_lokr<Computed>(random, rows, cols, 3)); break;
      case Kind::lokr_least: set.add(reference::random_least_lokr<Computed>(random, rows, cols), -1.1); break;
      case Kind::locon: set.add(reference::random_locon<Computed>(random, rows, cols, 3), 0.4); break;
      case Kind::vera: set.add(reference::random_vera<Computed>(random, rows, cols, 4), 1.3); break;
      case Kind::ia3_rows: set.add(reference::random_ia3<Computed>(random, rows, cols, true), 0.7); break;
      case Kind::ia3_columns: set.add(reference::random_kernel_ia3<Computed>(random, rows, cols)); break;
      case Kind::many:
        set.add(reference::random_vera<Computed>(random, rows, cols, 2));
        set.add(reference::random_loha<Computed>(random, rows, cols, 4, 3), 0.5);
        set.add(reference::random_ia3<Computed>(random, rows, cols, false), -0.3);
        set.add(reference::random_lokr<Computed>(random, rows, cols), 0.2);
        set.add_dora(random, rows, cols, 2, 0.03, 1, 0.8);
        set.add(reference::random_locon<Computed>(random, rows, cols, 1));
        set.add(reference::random_ia3<Computed>(random, rows, cols, true));
        set.add(reference::random_least_lokr<Computed>(random, rows, cols), 0);  // does nothing
        break;
    }
    return set;
  }

  /// The reference's bits, back, plain, over bytes, and on to another set and back.
  static void check(const Weight& w0, const Set& from, const Set& to, const lora::Context& context = {}) {
    const auto expected = reference::merge<Stored, Layout::order>(w0, from);
    Weight w = w0;
    const lora::UndoRecord record = lora::merge(w, from, context);
    ASSERT_TRUE(reference::same_bits(expected.weight, w));
    ASSERT_TRUE(reference::same_record(expected.record, record));
    ASSERT_EQ(record.size_bytes(), expected.record.size());
    Weight plain = w0;
    lora::merge_plain(plain, from, context);
    ASSERT_TRUE(reference::same_bits(expected.weight, plain));
    ASSERT_TRUE(
        reference::same_bits(w0, reference::unmerge<Stored, Layout::order>(expected.weight, from, expected.record)))
        << "the reference itself";
    lora::unmerge(plain, from, lora::UndoRecord::deserialize(record.serialize()), context);
    ASSERT_TRUE(reference::same_bits(w0, plain));

    const auto fresh = reference::merge<Stored, Layout::order>(w0, to);
    const lora::UndoRecord next = lora::switch_to(w, from, record, to, context);
    ASSERT_TRUE(reference::same_bits(fresh.weight, w));
    ASSERT_TRUE(reference::same_record(fresh.record, next));
    const lora::UndoRecord again = lora::switch_to(w, to, next, from, context);
    ASSERT_TRUE(reference::same_bits(expected.weight, w));
    ASSERT_TRUE(reference::same_record(expected.record, again));
    lora::unmerge(w, from, again, context);
    ASSERT_TRUE(reference::same_bits(w0, w));
  }
};
TYPED_TEST_SUITE(UpdateLaws, reference::Layouts);

TYPED_TEST(UpdateLaws, EverySwitchIsAFreshMergeAndEveryBitComesBack) {
  using T = typename TestFixture::Stored;
  Random random(200);
  const Index rows = 37, cols = 70;
  for (const bool wild : {false, true}) {
    const auto w0 = wild ? reference::any_patterns<T, TypeParam::order>(random, rows, cols)
                         : reference::gaussian<T, TypeParam::order>(random, rows, cols);
    for (const Kind from : kinds)
      for (const Kind to : kinds) {
        SCOPED_TRACE(::testing::Message() << name(from) << " to " << name(to) << (wild ? ", any bits" : ""));
        this->check(w0, this->make(from, random, rows, cols), this->make(to, random, rows, cols));
        if (this->HasFatalFailure()) return;
      }
  }
}

TYPED_TEST(UpdateLaws, KindsOfFilesSwitchInARing) {
  using T = typename TestFixture::Stored;
  Random random(207);
  const Index rows = 37, cols = 70;
  const std::vector<Kind> all = all_kinds();
  for (const bool wild : {false, true}) {
    const auto w0 = wild ? reference::any_patterns<T, TypeParam::order>(random, rows, cols)
                         : reference::gaussian<T, TypeParam::order>(random, rows, cols);
    for (std::size_t i = std::size(kinds); i < all.size(); ++i) {
      const Kind from = all[i], to = all[(i + 1) % all.size()];
      SCOPED_TRACE(::testing::Message() << name(from) << " to " << name(to) << (wild ? ", any bits" : ""));
      this->check(w0, this->make(from, random, rows, cols), this->make(to, random, rows, cols));
      if (this->HasFatalFailure()) return;
    }
  }
}

/// A weight of several blocks, which do not divide evenly, on several threads: from every kind of set to every other. The
/// reference makes each set's W' and record once; switches have to arrive there.
TYPED_TEST(UpdateLaws, HoldForSeveralBlocksAndThreads) {
  using T = typename TestFixture::Stored;
  using Sets = std::vector<typename TestFixture::Set>;
#if LORA_TEST_SAMPLE
  constexpr Kind all[] = {Kind::dora, Kind::mixed};
#else
  constexpr Kind all[] = {Kind::low_rank, Kind::dora, Kind::dense, Kind::gates, Kind::mixed, Kind::loha};
#endif
  struct Shape {
    Index rows, cols;
    int threads;
  };
  std::vector<Shape> shapes = {{129, 1041, 2}, {1041, 127, 5}};
#if LORA_TEST_FULL
  shapes.insert(shapes.end(),
                {{129, 1041, 1}, {320, 1030, 5}, {33, 4100, 2}, {4100, 33, 2}, {20000, 7, 3}, {7, 20000, 3}});
#endif
  Random random(201);
  for (const auto& [rows, cols, threads] : shapes) {
    ASSERT_GE(rows * cols, 2 * reference::elements_per_thread);
    const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
    Sets sets;
    std::vector<decltype(reference::merge<T, TypeParam::order>(w0, {}))> expected;
    for (const Kind kind : all) {
      sets.push_back(this->make(kind, random, rows, cols));
      expected.push_back(reference::merge<T, TypeParam::order>(w0, sets.back()));
    }
    lora::DefaultExecutor executor(threads);
    const lora::Context context{&executor};
    for (std::size_t from = 0; from < sets.size(); ++from) {
      auto w = w0;
      lora::UndoRecord record = lora::merge(w, sets[from], context);
      ASSERT_TRUE(reference::same_bits(expected[from].weight, w)) << name(all[from]);
      ASSERT_TRUE(reference::same_record(expected[from].record, record)) << name(all[from]);
      for (std::size_t to = from; to < sets.size(); ++to)
        for (const auto& [before, after] : {std::pair(from, to), std::pair(to, from)}) {
          SCOPED_TRACE(::testing::Message()
                       << rows << " x " << cols << ", " << name(all[before]) << " to " << name(all[after]));
          record = lora::switch_to(w, sets[before], record, sets[after], context);
          ASSERT_TRUE(reference::same_bits(expected[after].weight, w));
          ASSERT_TRUE(reference::same_record(expected[after].record, record));
        }
      lora::unmerge(w, sets[from], record, context);
      ASSERT_TRUE(reference::same_bits(w0, w)) << name(all[from]);
    }
  }
}

/// Threads of a program's own, made for each call.
class Threads final : public lora::Executor {
 public:
  int concurrency() const override { return 3; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    std::vector<std::thread> threads;
    for (int i = 0; i < tasks; ++i) threads.emplace_back([task, i] { task(i); });
    for (std::thread& thread : threads) thread.join();
  }
};

/// Several blocks of a weight of any bits, gains of any size, and the kinds that the law before leaves out.
TYPED_TEST(UpdateLaws, HoldForSeveralBlocksOfAnyBitsOnThreadsOfTheCaller) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  const Index rows = 129, cols = 1041;
  ASSERT_GE(rows * cols, 2 * reference::elements_per_thread);
  Random random(204);
  const auto w0 = reference::any_patterns<T, TypeParam::order>(random, rows, cols);
  Updates<C> wild;
  wild.add(Gates<C>(rows, cols, this->wild_gains(random, rows), this->wild_gains(random, cols)));
  const std::vector<typename TestFixture::Set> sets = {
      this->make(Kind::many, random, rows, cols), wild.set(), this->make(Kind::two_doras, random, rows, cols),
      this->make(Kind::columns, random, rows, cols)};
  Threads executor;
  const lora::Context context{&executor};
  auto w = w0;
  lora::UndoRecord record = lora::merge(w, sets[0], context);
  for (std::size_t i = 0; i < sets.size(); ++i) {
    SCOPED_TRACE(i);
    if (i != 0) record = lora::switch_to(w, sets[i - 1], record, sets[i], context);
    const auto expected = reference::merge<T, TypeParam::order>(w0, sets[i]);
    ASSERT_TRUE(reference::same_bits(expected.weight, w));
    ASSERT_TRUE(reference::same_record(expected.record, record));
  }
  lora::unmerge(w, sets.back(), record, context);
  ASSERT_TRUE(reference::same_bits(w0, w));
}

TYPED_TEST(UpdateLaws, HoldForGainsOfEverySize) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(202);
  for (int round = 0; round < 6; ++round) {
    const Index rows = 20 + random.below(50), cols = 20 + random.below(90);
    const auto w0 = round % 2 == 0 ? reference::gaussian<T, TypeParam::order>(random, rows, cols)
                                   : reference::any_patterns<T, TypeParam::order>(random, rows, cols);
    Updates<C> by_rows, by_both, mixed;
    by_rows.add(Gates<C>(rows, cols, this->wild_gains(random, rows), {}));
    by_both.add(Gates<C>(rows, cols, this->wild_gains(random, rows), this->wild_gains(random, cols)));
    mixed.add_gaussian(random, rows, cols, 2, 0.1);
    mixed.add_dense(random, rows, cols, 0.1);
    mixed.add(Gates<C>(rows, cols, this->wild_gains(random, rows), this->wild_gains(random, cols)));
    this->check(w0, by_rows, by_both);
    this->check(w0, mixed, by_rows);
    if (this->HasFatalFailure()) return;
  }
}

/// Norms of 0, infinite and NaN ones, magnitudes of 0 and negative ones.
TYPED_TEST(UpdateLaws, HoldForDoRAOfStrangeRows) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(203);
  const Index rows = 40, cols = 75;
  auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  for (Index j = 0; j < cols; ++j) {
    w0(3, j) = T(0.0f);
    w0(7, j) = std::bit_cast<T>(static_cast<reference::Bits<T>>(j + 1));  // denormal
    w0(8, j) = std::numeric_limits<T>::max();
  }
  w0(11, 5) = std::bit_cast<T>(reference::infinity<T>);
  w0(12, 74) = std::bit_cast<T>(static_cast<reference::Bits<T>>(reference::infinity<T> + 3));
  lora::Matrix<C> B = reference::gaussian<C>(random, rows, 2, 0.1), m = reference::gaussian<C>(random, rows, 1);
  B.row(3).setZero();
  B.row(7).setZero();
  m(20, 0) = 0;
  m(21, 0) = -C{0};
  m(22, 0) = std::numeric_limits<C>::max();
  m(23, 0) = std::numeric_limits<C>::denorm_min();
  Updates<C> dora, other;
  dora.add(lora::DoRA<C>(B, reference::gaussian<C>(random, 2, cols), lora::scaling::alpha(4), m));
  other.add_dora(random, rows, cols, 1, 0.1, 1);
  this->check(w0, dora, other);
  this->check(w0, other, dora);
  this->check(reference::any_patterns<T, TypeParam::order>(random, rows, cols), dora, other);
}

TYPED_TEST(UpdateLaws, DeltaIsWhatSetsWithoutGainsAdd) {
  using C = typename TestFixture::Computed;
  Random random(204);
  Updates<C> set;
  set.add_gaussian(random, 37, 70, 3, 0.1, 0.4);
  set.add_dense(random, 37, 70, 0.1, -0.3);
  set.add_dense(random, 37, 70, 0.2);
  EXPECT_TRUE(reference::same_bits(reference::delta<C>(set, 37, 70), lora::delta<C>(set, 37, 70)));
  EXPECT_THROW(static_cast<void>(lora::delta<C>(this->make(Kind::dora, random, 37, 70), 37, 70)), lora::StateError);
  EXPECT_THROW(static_cast<void>(lora::delta<C>(this->make(Kind::columns, random, 37, 70), 37, 70)), lora::StateError);
}

/// Wrong sets, wrong records and edited weights are refused, and nothing changes.
TYPED_TEST(UpdateLaws, WhatDoesNotBelongTogetherIsRefused) {
  using T = typename TestFixture::Stored;
  Random random(205);
  const Index rows = 37, cols = 70;
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  for (const Kind kind : all_kinds()) {
    if (kind == Kind::none) continue;
    SCOPED_TRACE(name(kind));
    const auto set = this->make(kind, random, rows, cols), wrong = this->make(kind, random, rows, cols);
    auto w = w0, other = w0;
    const lora::UndoRecord record = lora::merge(w, set), wrong_record = lora::merge(other, wrong);
    const auto merged = w;
    const auto refused = [&](const auto& some_set, const lora::UndoRecord& some_record) {
      const auto before = w;
      EXPECT_THROW(lora::unmerge(w, some_set, some_record), lora::RecordError);
      EXPECT_TRUE(reference::same_bits(before, w));
      EXPECT_THROW(static_cast<void>(lora::switch_to(w, some_set, some_record, wrong)), lora::RecordError);
      EXPECT_TRUE(reference::same_bits(before, w));
    };
    refused(wrong, record);
    refused(set, wrong_record);
    refused(set, lora::UndoRecord());
    w(36, 69) = std::bit_cast<T>(static_cast<reference::Bits<T>>(reference::bits(w(36, 69)) ^ 1));
    refused(set, record);
    w(36, 69) = merged(36, 69);
    lora::unmerge(w, set, record);
    EXPECT_TRUE(reference::same_bits(w0, w));
  }
}

/// The forward pass has the reference's bits for few and for many columns, and the merged one is as near as its rounding:
/// both are sums of n = in + 2 ranks + 6 rounded steps of numbers whose absolute values sum up to S, and W' is rounded once.
TYPED_TEST(UpdateLaws, ForwardPassesEqualTheReferenceAndTheMergedOnes) {
  using T = typename TestFixture::Stored;
  using C = typename TestFixture::Computed;
  Random random(206);
  for (const auto& [rows, cols] : {std::pair<Index, Index>{37, 70}, {17, 530}})
    for (const Kind kind : all_kinds()) {
      const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
      const auto set = this->make(kind, random, rows, cols);
      const auto bound = lora::for_weight(set, w0);
      auto merged = w0;
      lora::merge_plain(merged, set);
      const auto bias = reference::gaussian<C>(random, rows, 1);
      const std::vector<C> numbers(bias.data(), bias.data() + rows);
      const auto form = reference::form_for<C>(set, w0);
      if (set.depends_on_W0()) {
        EXPECT_FALSE(set.is_bound());
        EXPECT_THROW(static_cast<void>(lora::forward(w0, set, reference::gaussian<C>(random, cols, 1))),
                     lora::StateError);
      }
      for (const Index batch : {1, 7, 45}) {
        SCOPED_TRACE(::testing::Message() << name(kind) << ", " << rows << " x " << cols << ", batch " << batch);
        const lora::Matrix<C> X = reference::gaussian<C>(random, cols, batch);
        lora::Activations<C> Y(rows, batch);
        lora::forward_into(w0, bound, X, Y, Eigen::Map<const Eigen::Matrix<C, -1, 1>>(bias.data(), rows));
        ASSERT_TRUE(reference::same_bits(reference::forward<T, TypeParam::order>(w0, set, numbers, X), Y));

        const lora::Activations<C> unmerged = lora::forward(w0, bound, X), plain = lora::forward(merged, {}, X);
        Index depth = 0;
        for (const auto& A : form.A) depth += A.rows();
        const double u = static_cast<double>(std::numeric_limits<C>::epsilon()) / 2;
        const double v = std::ldexp(1.0, -reference::Format<T>::mantissa - 1);
        const double n = static_cast<double>(cols + 2 * depth + 6) * u;
        for (Index i = 0; i < rows; ++i) {
          std::vector<double> sizes;  // |g h W0| + |D| + |B| |A|
          for (Index j = 0; j < cols; ++j) {
            double size = std::abs(static_cast<double>(form.row_gain(i)) * static_cast<double>(form.column_gain(j)) *
                                   static_cast<double>(reference::widen(w0(i, j))));
            if (form.D) size += std::abs(static_cast<double>((*form.D)(i, j)));
            for (std::size_t p = 0; p < form.B.size(); ++p)
              for (Index k = 0; k < form.A[p].rows(); ++k)
                size += std::abs(static_cast<double>(form.B[p](i, k)) * static_cast<double>(form.A[p](k, j)));
            sizes.push_back(size);
          }
          for (Index c = 0; c < batch; ++c) {
            double S = 0;
            for (Index j = 0; j < cols; ++j)
              S += sizes[static_cast<std::size_t>(j)] * std::abs(static_cast<double>(X(j, c)));
            ASSERT_LE(std::abs(static_cast<double>(unmerged(i, c)) - static_cast<double>(plain(i, c))),
                      (2 * n / (1 - n) + v) * S)
                << "at (" << i << ", " << c << "): " << unmerged(i, c) << " unmerged, " << plain(i, c) << " merged";
          }
        }
      }
    }
}

}  // namespace
