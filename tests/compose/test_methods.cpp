// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Methods that are more than sums, against their papers' formulas on whole matrices.

#include "compose/dense.hpp"
#include "reference/expect.hpp"

#include <thread>

namespace {

using namespace dense;
using compose::Method;
using compose::Options;
using compose::Truncation;

/// Bound for results that go through the polar factor or singular vectors: these move by the rounding over the least
/// singular value of what they are of, which is above 1e-3 of the largest in the cases here.
template <class Compute>
void expect_near(const compose::Composition<Compute>& made, const Doubles& expected) {
  EXPECT_LE((delta(made) - expected).norm(), 1e3 * tolerance(made));
}

class Rules : public testing::TestWithParam<std::tuple<compose::MajoritySign, compose::Rules, double>> {
 protected:
  Options options() const {
    const auto& [sign, rules, density] = GetParam();
    return {.truncation = Truncation::none(), .density = density, .majority_sign = sign, .rules = rules};
  }
};

TEST_P(Rules, OfTiesHoldOnDeltas) {
  const Set set = gaussian(1, 17, 23, {2, 5, 3}, {0.7, -0.2, 1.1});
  const auto made = compose::ties_svd<double>(set, options());
  const Doubles expected = ties(deltas(set), set, options());
  expect_near(made, expected);
  Options cut = options();
  cut.truncation = Truncation::rank(4);
  const auto less = compose::ties_svd<double>(set, cut);
  EXPECT_EQ(less.update.rank(), 4);
  expect_near(less, best(expected, 4));
  EXPECT_LE(std::abs(less.error - (expected - best(expected, 4)).norm()), tolerance(less));
  EXPECT_LE(std::abs(less.norm - expected.norm()), tolerance(less));
}

TEST_P(Rules, OfTiesHoldInTheCore) {
  const Set set = gaussian(2, 30, 26, {2, 5, 3}, {0.7, -0.2, 1.1});
  const auto [B, At] = factors(set);
  const Doubles U = oriented(svd(beside(B)).U, beside(B)), V = oriented(svd(beside(At)).U, beside(At));
  std::vector<Doubles> cores;
  for (const Doubles& D : deltas(set)) cores.push_back(U.transpose() * D * V);
  expect_near(compose::core_ties<double>(set, options()), U * ties(cores, set, options()) * V.transpose());
}

TEST_P(Rules, OfTiesHoldInTheBasisOfKnots) {
  const Set set = gaussian(3, 30, 26, {2, 5, 3}, {0.7, -0.2, 1.1});
  const Svd all = svd(beside(deltas(set)));
  const Doubles U = oriented(all.U.leftCols(rank(all.s)), beside(factors(set).first));
  std::vector<Doubles> parts;
  for (const Doubles& D : deltas(set)) parts.push_back(U.transpose() * D);
  expect_near(compose::knots<double>(set, options()), U * ties(parts, set, options()));
}

INSTANTIATE_TEST_SUITE_P(
    All, Rules,
    testing::Combine(testing::Values(compose::MajoritySign::total, compose::MajoritySign::frequency),
                     testing::Values(compose::Rules::peft, compose::Rules::mergekit), testing::Values(0.1, 0.5, 1.0)));

TEST(MagnitudePruning, KeepsTheFirstOfEqualElements) {
  // Deltas of two magnitudes: of 24 elements 11 are kept, the 6 of the larger one and the first 5 others.
  lora::Matrix<double> B(4, 1), A(1, 6);
  B << 1, -1, 2, 1;
  A << 1, -1, 1, 1, -1, 1;
  const lora::LowRank<double> update(B, A, lora::scaling::fixed(0.5));
  const auto made =
      compose::magnitude_prune_svd<double>(update, {.truncation = Truncation::none(), .density = 11.5 / 24});
  expect_near(made, pruned(0.5 * Doubles(B) * Doubles(A), 11.5 / 24));
  EXPECT_NEAR(made.norm, std::sqrt(6.0 + 5 * 0.25), 1e-12);
}

TEST(MagnitudePruning, OfFewerElementsThanOneKeepsNone) {
  const Set set = gaussian(4, 3, 3, {1}, {1.0});
  EXPECT_EQ(compose::magnitude_prune_svd<double>(set, {.density = 0.1}).norm, 0.0);
}

TEST(RandomPruning, KeepsAShareAndDividesByIt) {
  const Index rows = 60, cols = 50;
  const Set set = gaussian(5, rows, cols, {40}, {1.0});
  const Doubles whole = delta(set, 0);
  const auto made =
      compose::dare_linear_svd<double>(set, {.truncation = Truncation::none(), .density = 0.3, .seed = 1});
  const Doubles found = delta(made);
  Index kept = 0;
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) {
      const bool is_kept = std::abs(found(i, j)) > 0.5 * std::abs(whole(i, j));
      kept += is_kept;
      EXPECT_NEAR(found(i, j), is_kept ? whole(i, j) / 0.3 : 0.0, 1e-9);
    }
  // Five standard deviations of the binomial distribution.
  EXPECT_NEAR(static_cast<double>(kept), 0.3 * 3000, 5 * std::sqrt(3000 * 0.3 * 0.7));
}

TEST(RandomPruning, IsTheSeeds) {
  const Set set = gaussian(6, 30, 20, {3, 3});
  for (const Method method : {Method::dare_linear, Method::dare_ties, Method::dare_linear_svd, Method::dare_ties_svd}) {
    const auto with = [&](std::uint64_t seed) {
      return delta(compose::combine<double>(set, method, {.density = 0.5, .seed = seed}));
    };
    EXPECT_EQ(with(1), with(1));
    EXPECT_GT((with(1) - with(2)).norm(), 1e-3) << compose::name(method);
  }
}

TEST(RandomPruning, OfMergekitKeepsTheL1Norm) {
  const Set set = gaussian(7, 40, 30, {5}, {1.0});
  const Options options{.truncation = Truncation::none(), .density = 0.4, .rules = compose::Rules::mergekit, .seed = 3};
  const Doubles found = delta(compose::dare_linear_svd<double>(set, options));
  EXPECT_NEAR(found.lpNorm<1>(), delta(set, 0).lpNorm<1>(), 1e-8 * found.lpNorm<1>());
}

TEST(RandomPruning, OfMergekitIsNotDividedByItsVotes) {
  const Set set = gaussian(8, 20, 20, {3}, {0.5});
  const Options options{.truncation = Truncation::none(), .density = 1, .rules = compose::Rules::mergekit};
  expect_near(compose::dare_ties_svd<double>(set, options), sum(set));
  expect_near(compose::ties_svd<double>(set, options), sum(set) / 0.5);
}

TEST(RandomPruning, OfMergekitRefusesAnL1NormThatOverflows) {
  const lora::Matrix<double> B = lora::Matrix<double>::Constant(20, 3, 1e307);
  const lora::Matrix<double> A = lora::Matrix<double>::Constant(3, 10, 1e-200);
  const Set set({{lora::LowRank<double>(B, A, lora::scaling::fixed(1)), 1.0}});
  for (const Method method : {Method::dare_linear, Method::dare_ties})
    EXPECT_EQ(reference::message_of<lora::ValueError>([&] {
                static_cast<void>(
                    compose::combine<double>(set, method, {.density = 0.5, .rules = compose::Rules::mergekit}));
              }),
              "lora: compose: update 1: expected a finite L1 norm, found inf")
        << compose::name(method);
}

#if !LORA_TEST_SAMPLE
TEST(Pruning, OfLargeDeltasComesNearToTheBestRank) {
  const Index size = 520;  // more than is decomposed whole
  const Set set = gaussian(9, size, size + 10, {4, 4}, {0.5, 0.4});
  const Options options{.truncation = Truncation::rank(6), .density = 0.5};
  const auto made = compose::ties_svd<double>(set, options);
  const lora::Matrix<double> whole = ties(deltas(set), set, options);
  EXPECT_LE(std::abs(made.norm - whole.norm()), 1e-12 * whole.norm());
  EXPECT_LE(std::abs(made.error - (whole - delta(made)).norm()), 1e-10 * whole.norm());
  const lora::LowRank<double> as_factors(whole, lora::Matrix<double>::Identity(size + 10, size + 10),
                                         lora::scaling::fixed(1));
  const auto best = compose::svd<double>(as_factors, Truncation::rank(6));
  EXPECT_GE(made.error, best.error * (1 - 1e-12));
  EXPECT_LE(made.error, best.error * (1 + 1e-4));
  Options by_energy = options;
  by_energy.truncation = Truncation::energy(1 - 0.99 * made.relative_error() * made.relative_error());
  const auto more = compose::ties_svd<double>(set, by_energy);
  EXPECT_LE(more.error, made.error);
  EXPECT_GE(more.update.rank(), 7);
  EXPECT_LE(more.update.rank(), 32);
}
#endif

/// Tensors are pruned in bands of at most 64 rows: factors B and deltas of 200 rows in four, as many as the core has of the
/// other set, and KnOTS' parts.
TEST(Pruning, HasTheSameBitsForAnyNumberOfThreads) {
  class Threads final : public lora::Executor {
   public:
    explicit Threads(int count) : count_(count) {}
    int concurrency() const override { return count_; }
    void run(int tasks, lora::FunctionRef<void(int)> task) override {
      std::vector<std::thread> others;
      for (int i = 1; i < tasks; ++i) others.emplace_back([&, i] { task(i); });
      task(0);
      most = std::max(most, tasks);
      for (std::thread& other : others) other.join();
    }
    int most = 0;

   private:
    int count_;
  };
  const Set low = gaussian(11, 200, 40, {3, 3, 3}, {0.5, 0.4, -0.3});
  const Set high = gaussian(12, 210, 220, {70, 70, 60}, {0.5, 0.4, -0.3});
  std::vector<int> counts{3};
#if !LORA_TEST_SAMPLE
  counts.insert(counts.end(), {2, 7});
#endif
  for (const Method method :
       {Method::ties, Method::dare_linear, Method::dare_ties, Method::magnitude_prune, Method::ties_svd,
        Method::dare_linear_svd, Method::dare_ties_svd, Method::magnitude_prune_svd, Method::core_ties, Method::knots}) {
    const Set& set = method == Method::core_ties || method == Method::knots ? high : low;
    for (const compose::Rules rules : {compose::Rules::peft, compose::Rules::mergekit}) {
      const Options options{.truncation = Truncation::rank(8), .density = 0.3, .rules = rules, .seed = 5};
      Threads one(1);
      const auto expected = compose::combine<double>(set, method, options, {&one, nullptr});
      for (const int count : counts) {
        Threads threads(count);
        const auto made = compose::combine<double>(set, method, options, {&threads, nullptr});
        SCOPED_TRACE(testing::Message() << compose::name(method) << ", threads: " << count);
        EXPECT_EQ(threads.most, std::min(count, 4));
        EXPECT_TRUE(reference::same_bits(expected.update.B(), made.update.B()));
        EXPECT_TRUE(reference::same_bits(expected.update.A(), made.update.A()));
      }
    }
  }
}

/// Nothing comes out of memory that no task has written.
TEST(Composing, ThrowsWhenTheExecutorLeavesTasksOut) {
  class LeavesOut final : public lora::Executor {
   public:
    explicit LeavesOut(int task) : task_(task) {}
    int concurrency() const override { return 3; }
    void run(int tasks, lora::FunctionRef<void(int)> task) override {
      for (int i = 0; i < tasks; ++i)
        if (i != task_) task(i);
    }

   private:
    int task_;
  };
  const Set set = gaussian(13, 200, 40, {3, 3, 3});
  const auto expect_refused = [&](Method method, int tasks) {
    for (int left_out = 0; left_out < tasks; ++left_out) {
      LeavesOut executor(left_out);
      EXPECT_EQ(reference::message_of<lora::StateError>([&] {
                  static_cast<void>(compose::combine<double>(set, method, {.density = 0.3}, {&executor, nullptr}));
                }),
                "lora: the executor returned before all of its " + std::to_string(tasks) + " tasks had run")
          << compose::name(method) << " without task " << left_out;
    }
  };
  for (const Method method : {Method::ties, Method::dare_linear, Method::dare_ties, Method::magnitude_prune, Method::ties_svd,
                              Method::dare_linear_svd})
    expect_refused(method, 3);
  for (const Method method : {Method::svd, Method::core_ties, Method::knots, Method::tsv_m}) expect_refused(method, 2);
}

TEST(TsvM, IsThePapersAlgorithmAndWeighted) {
  const Set set = gaussian(10, 30, 26, {4, 4, 4});
  for (const Index each : {4, 2}) {
    std::vector<Doubles> U, V;
    Vector s(3 * each);
    double cut = 0;
    for (std::size_t t = 0; t < 3; ++t) {
      const Doubles D = set.updates()[t].coefficient * delta(set, t);
      const Svd own = first(svd(D), each);
      U.push_back(own.U);
      V.push_back(own.V);
      s.segment(static_cast<Index>(t) * each, each) = own.s;
      cut += (D - product(own)).squaredNorm();
    }
    const auto made = compose::tsv_m<double>(set, Truncation::rank(3 * each));
    expect_near(made, polar(beside(U)) * s.asDiagonal() * polar(beside(V)).transpose());
    EXPECT_NEAR(made.error, std::sqrt(cut), tolerance(made) + 1e-12);
    const auto weighted = compose::weighted_tsv_m<double>(set, Truncation::rank(3 * each));
    expect_near(weighted, polar(beside(U)) * s.asDiagonal() * polar(beside(V) * s.asDiagonal()).transpose());
    EXPECT_NEAR(weighted.error, made.error, tolerance(made));
  }
}

/// Of two directions that both updates read, the strong one moves less: here s = 10 and 1, 60 degrees apart.
TEST(TsvM, WeightsKeepStrongInputs) {
  lora::Matrix<double> B(2, 1), B2(2, 1), A(1, 2), A2(1, 2);
  B << 10, 0;
  B2 << 0, 1;
  A << 1, 0;
  A2 << 0.5, std::sqrt(0.75);
  const Set set({{lora::LowRank<double>(B, A, lora::scaling::fixed(1)), 1.0},
                 {lora::LowRank<double>(B2, A2, lora::scaling::fixed(1)), 1.0}});
  const auto moved = [&](const auto& made) {  // the cosine of what the strong update reads before and after
    const lora::Matrix<double> D = delta(made);
    return D(0, 0) / D.row(0).norm();
  };
  // Evenly: both turn by 15 degrees.
  EXPECT_NEAR(moved(compose::tsv_m<double>(set)), std::cos(std::acos(-1.0) / 12), 1e-12);
  // Turned by t they have 10 cos t + cos(30 degrees - t), the most where tan t = sin 30 / (10 + cos 30).
  EXPECT_NEAR(moved(compose::weighted_tsv_m<double>(set)), std::cos(std::atan(0.5 / (10 + std::sqrt(0.75)))), 1e-12);
}

TEST(TsvM, OfOrthogonalUpdatesIsTheirSum) {
  lora::Matrix<double> B = lora::Matrix<double>::Zero(8, 2), A = lora::Matrix<double>::Zero(2, 8), B2 = B, A2 = A;
  B(0, 0) = B(1, 1) = A(0, 0) = A(1, 1) = B2(2, 0) = B2(3, 1) = A2(0, 2) = A2(1, 3) = 1.5;
  const Set set({{lora::LowRank<double>(B, A, lora::scaling::fixed(1)), 0.5},
                 {lora::LowRank<double>(B2, A2, lora::scaling::fixed(2)), -1.0}});
  expect_near(compose::tsv_m<double>(set), sum(set));
  expect_near(compose::weighted_tsv_m<double>(set), sum(set));
  expect_near(compose::orthogonal<double>(set), sum(set));
}

TEST(TsvM, OfEqualUpdatesHasNoDirectionsThatTheyLack) {
  const Set one = gaussian(11, 20, 16, {3}, {1.0});
  const auto made = compose::tsv_m<double>({one.updates()[0], one.updates()[0]});
  const Svd own = svd(delta(one, 0));
  const Doubles outside = delta(made) - own.U.leftCols(3) * (own.U.leftCols(3).transpose() * delta(made));
  EXPECT_LE(outside.norm(), 1e3 * tolerance(made));
}

TEST(IsoC, FlattensTheSpectrumOfTheSum) {
  const Set set = gaussian(12, 30, 26, {4, 3});
  const Svd all = first(svd(sum(set)), 7);
  expect_near(compose::iso_c<double>(set), all.s.mean() * all.U * all.V.transpose());
  const Svd cut = first(all, 4);
  const auto made = compose::iso_c<double>(set, Truncation::rank(4));
  expect_near(made, cut.s.mean() * cut.U * cut.V.transpose());
  EXPECT_NEAR(made.error, all.s.tail(3).norm(), tolerance(made));
}

TEST(IsoCts, IsThePapersAlgorithm) {
  const Set set = gaussian(13, 40, 36, {5, 5, 5});
  for (const double fraction : {0.8, 0.4, 1.0, 0.0}) {
    const auto each = static_cast<Index>(std::nearbyint(15 * (1 - fraction) / 3));
    const Index common = 15 - 3 * each;
    const Svd shared = first(svd(sum(set)), common);
    std::vector<Doubles> U, V;
    std::vector<double> s;
    for (std::size_t t = 0; t < 3; ++t) {
      const Doubles D = set.updates()[t].coefficient * delta(set, t);
      const Svd own = first(svd(D - shared.U * shared.U.transpose() * D), each);
      U.push_back(own.U);
      V.push_back(own.V);
      s.insert(s.end(), own.s.begin(), own.s.end());
    }
    U.push_back(shared.U);
    V.push_back(shared.V);
    s.insert(s.end(), shared.s.begin(), shared.s.end());
    const double mean = std::accumulate(s.begin(), s.end(), 0.0) / 15;
    SCOPED_TRACE(fraction);
    expect_near(compose::iso_cts<double>(set, fraction), mean * polar(beside(U)) * polar(beside(V)).transpose());
  }
}

TEST(Isotropic, GivesDirectionsThatNoUpdateHasNoWeight) {
  const Set set = gaussian(16, 30, 26, {4, 3});
  const lora::LowRank<double> zero(lora::Matrix<double>::Zero(30, 3), lora::Matrix<double>::Zero(3, 26),
                                   lora::scaling::fixed(1));
  const Set more({set.updates()[0], {zero, 1.0}, set.updates()[1], {set.updates()[0].update, 0.0}});
  const auto flat = compose::iso_c<double>(set);
  expect_near(compose::iso_c<double>(more, Truncation::rank(20)), delta(flat));
  EXPECT_EQ(compose::iso_c<double>(more, Truncation::rank(20)).update.rank(), 7);
  expect_near(compose::tsv_m<double>(more), delta(compose::tsv_m<double>(set)));
  expect_near(compose::weighted_tsv_m<double>(more), delta(compose::weighted_tsv_m<double>(set)));
  // Updates that lie in the common directions have none of their own.
  const Set same({set.updates()[0], {set.updates()[0].update, 0.5}});
  const Svd all = first(svd(sum(same)), 4);
  const auto made = compose::iso_cts<double>(same, 0.5);
  const Doubles outside = delta(made) - all.U * (all.U.transpose() * delta(made));
  EXPECT_LE(outside.norm(), 1e3 * tolerance(made));
  for (const Method method :
       {Method::tsv_m, Method::weighted_tsv_m, Method::iso_c, Method::iso_cts, Method::orthogonal, Method::knots,
        Method::core_ties})
    EXPECT_EQ(compose::combine<double>({{zero, 1.0}, {zero, -1.0}}, method).norm, 0.0) << compose::name(method);
}

TEST(Isotropic, MakesNothingOutOfTheRoundingOfUpdatesThatCancel) {
  const Set set = gaussian(18, 30, 26, {6, 3});
  const auto& update = set.updates()[0].update;
  for (const Method method : {Method::iso_c, Method::iso_cts}) {
    const auto made = compose::combine<double>({{update, 1.0}, {update, -1.0}}, method);
    EXPECT_LE(delta(made).norm(), tolerance(made)) << compose::name(method);
    // What is left of more than rounding has its own directions alone.
    const auto rest =
        compose::combine<double>({{update, 1.0}, {update, -1.0}, {set.updates()[1].update, 1e-8}}, method);
    EXPECT_LE(rest.update.rank(), 3) << compose::name(method);
  }
}

TEST(Orthogonal, LeavesEarlierUpdatesAlone) {
  const Set set = gaussian(14, 30, 26, {4, 3, 5}, {1.0, -0.5, 2.0});
  const auto made = compose::orthogonal<double>(set);
  const Doubles others = delta(made) - delta(set, 0);
  const auto& first_update = dynamic_cast<const lora::LowRank<double>&>(*set.updates()[0].update);
  EXPECT_LE((Doubles(first_update.B()).transpose() * others).norm(), 1e2 * tolerance(made));
  EXPECT_LE((others * Doubles(first_update.A()).transpose()).norm(), 1e2 * tolerance(made));
  EXPECT_EQ(made.update.rank(), 12);
  // An update in the space of those before it gives way altogether.
  const auto again = compose::orthogonal<double>({set.updates()[0], {set.updates()[0].update, 3.0}});
  EXPECT_LE((delta(again) - delta(set, 0)).norm(), 1e2 * tolerance(again));
}

TEST(Orthogonal, AnUpdateThatDoesNothingTakesNoSpace) {
  const Set set = gaussian(17, 30, 26, {4, 3}, {0.0, 1.0});
  const auto made = compose::orthogonal<double>(set);
  EXPECT_LE((delta(made) - delta(set, 1)).norm(), 1e2 * tolerance(made));
}

TEST(Methods, RefuseUpdatesWithoutElements) {
  const lora::LowRank<double> none(lora::Matrix<double>::Ones(3, 2), lora::Matrix<double>(2, 0), lora::scaling::fixed(1));
  for (const Method method : {Method::svd, Method::ties, Method::ties_svd, Method::orthogonal})
    EXPECT_THROW(static_cast<void>(compose::combine<double>({{none, 1.0}}, method)), lora::ShapeError)
        << compose::name(method);
}

TEST(Linear, OfOneUpdateIsIt) {
  for (const double coefficient : {0.7, -0.7}) {
    const Set set = gaussian(15, 12, 10, {3}, {coefficient});
    for (const Method method : {Method::linear, Method::ties, Method::magnitude_prune, Method::dare_ties})
      EXPECT_LE((delta(compose::combine<double>(set, method)) - sum(set)).norm(), 1e-13) << compose::name(method);
  }
}

}  // namespace
