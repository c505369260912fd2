// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Sums and their truncation: exact, the best there is, and the errors that are told.

#include "compose/dense.hpp"
#include "reference/expect.hpp"

#include <lora/update/dense.hpp>
#include <lora/update/dora.hpp>
#include <lora/update/ia3.hpp>
#include <lora/update/locon.hpp>
#include <lora/update/loha.hpp>
#include <lora/update/vera.hpp>
#include <lora/weight/merge.hpp>

namespace {

using namespace dense;
using compose::Method;
using compose::Truncation;
using lora::Matrix;
using reference::message_of;

template <class Compute>
void expect_delta(const compose::Composition<Compute>& made, const Doubles& expected) {
  EXPECT_LE((delta(made) - expected).norm(), tolerance(made));
}

/// The sum without truncation, concatenated and compressed; cut to every rank it is the dense SVD's, and the error its
/// tail.
void expect_sums(const Set& set) {
  const Doubles whole = sum(set);
  const Svd all = svd(whole);
  const auto side_by_side = compose::cat<double>(set), compressed = compose::svd<double>(set, Truncation::none());
  expect_delta(side_by_side, whole);
  expect_delta(compressed, whole);
  EXPECT_LE(compressed.error, tolerance(compressed));
  EXPECT_LE(std::abs(side_by_side.norm - whole.norm()), 1e-7 * whole.norm() + tolerance(side_by_side));
  EXPECT_LE(compressed.update.rank(), std::max<Index>(rank(all.s), 1));
  for (Index R = 1; R <= std::min<Index>(all.s.size(), 6); ++R) {
    const auto cut = compose::svd<double>(set, Truncation::rank(R));
    EXPECT_LE(cut.update.rank(), R);
    const double tail = all.s.tail(all.s.size() - R).norm();
    EXPECT_LE(std::abs((whole - delta(cut)).norm() - tail), tolerance(cut)) << "rank " << R;
    EXPECT_LE(std::abs(cut.error - tail), tolerance(cut)) << "rank " << R;
    EXPECT_LE(std::abs(cut.norm - whole.norm()), tolerance(cut));
    // The subspaces are the dense ones where the spectrum has a gap behind R.
    const double gap = R < all.s.size() ? all.s(R - 1) - all.s(R) : all.s(R - 1);
    if (gap > 1e-3 * all.s(0)) {
      EXPECT_LE((delta(cut) - best(whole, R)).norm(), 1e4 * tolerance(cut)) << "rank " << R;
    }
  }
}

TEST(Sums, AreExactAndCutInTheBestWay) {
  reference::Random random(7);
  for (int repeat = 0; repeat < 24; ++repeat) {
    SCOPED_TRACE(repeat);
    const Index rows = 1 + random.below(40), cols = 1 + random.below(40);
    std::vector<Index> ranks(static_cast<std::size_t>(1 + random.below(5)));
    for (Index& r : ranks) r = 1 + random.below(9);
    expect_sums(gaussian(static_cast<std::uint64_t>(repeat), rows, cols, ranks));
  }
}

TEST(Sums, OfOneUpdate) { expect_sums(gaussian(1, 20, 30, {4}, {-0.5})); }

TEST(Sums, OfMoreRanksThanTheWeightHas) { expect_sums(gaussian(2, 5, 9, {4, 8, 3})); }

TEST(Sums, OfEqualUpdates) {
  const Set one = gaussian(3, 20, 30, {4}, {1.0});
  const auto& update = one.updates()[0].update;
  const Set set({{update, 0.25}, {update, 0.5}, {update, 1.0}});
  expect_sums(set);
  EXPECT_EQ(compose::svd<double>(set, Truncation::none()).update.rank(), 4);
  const Set nothing({{update, 1.0}, {update, -1.0}});  // an update taken away from itself
  const auto made = compose::svd<double>(nothing, Truncation::rank(4));
  EXPECT_LE(made.norm, tolerance(made));
  EXPECT_LE(delta(made).norm(), tolerance(made));
}

TEST(Sums, OfZerosAndFactorsWithoutFullRank) {
  const Matrix<double> B = Matrix<double>::Zero(12, 3), A = Matrix<double>::Zero(3, 10);
  const lora::LowRank<double> zero(B, A, lora::scaling::alpha(3));
  const Set set = gaussian(4, 12, 10, {2}, {1.0});
  expect_sums(Set({{zero, 1.0}, set.updates()[0], {zero, -2.0}}));
  const auto nothing = compose::svd<double>(zero);
  EXPECT_EQ(nothing.norm, 0.0);
  EXPECT_EQ(nothing.relative_error(), 0.0);
  EXPECT_EQ(delta(nothing).norm(), 0.0);
  const auto& low_rank = dynamic_cast<const lora::LowRank<double>&>(*set.updates()[0].update);
  Matrix<double> twice_B(12, 4), twice_A(4, 10);
  twice_B << low_rank.B(), low_rank.B();
  twice_A << low_rank.A(), low_rank.A();
  expect_sums(lora::LowRank<double>(twice_B, twice_A, lora::scaling::alpha(4)));
}

TEST(Sums, InAnotherOrderAreTheSameWithinTheBound) {
  const Set set = gaussian(5, 33, 27, {3, 5, 1, 7});
  std::vector<lora::ActiveUpdate<double>> updates(set.updates().begin(), set.updates().end());
  std::reverse(updates.begin(), updates.end());
  const Set reversed(updates);
  for (const Method method : {Method::cat, Method::svd, Method::tsv_m, Method::iso_c}) {
    const auto a = compose::combine<double>(set, method, {.truncation = Truncation::none()}),
               b = compose::combine<double>(reversed, method, {.truncation = Truncation::none()});
    EXPECT_LE((delta(a) - delta(b)).norm(), 1e2 * (a.rounding + b.rounding)) << compose::name(method);
  }
}

TEST(Sums, KeepTheShareOfTheEnergyThatIsAskedFor) {
  const Set set = gaussian(6, 30, 40, {6, 6});
  const Svd all = svd(sum(set));
  for (const double share : {0.1, 0.5, 0.9, 0.999}) {
    const auto made = compose::svd<double>(set, Truncation::energy(share));
    Index expected = 1;
    while (all.s.head(expected).squaredNorm() < share * all.s.squaredNorm()) ++expected;
    EXPECT_EQ(made.update.rank(), expected) << share;
    EXPECT_LE(made.relative_error(), std::sqrt(1 - share) * (1 + 1e-12)) << share;
  }
  EXPECT_EQ(compose::svd<double>(set, Truncation::energy(1)).update.rank(), 12);
}

TEST(Sums, WithoutATruncationHaveTheLargestRankAsInPeft) {
  EXPECT_EQ(compose::svd<double>(gaussian(8, 30, 40, {2, 5, 3})).update.rank(), 5);
}

TEST(Sums, AreOfTheFactorsOwnTypes) {
  reference::Random random(9);
  const Matrix<float> B = reference::gaussian<float>(random, 20, 4), A = reference::gaussian<float>(random, 4, 24);
  const lora::LowRank<float> style(B, A, lora::scaling::rank_stabilized(2));
  const lora::LowRank<Eigen::bfloat16> small = style.cast<Eigen::bfloat16>();
  const auto made = compose::svd<float>({{style, 0.5}, {small, -0.25}}, Truncation::none());
  const Doubles expected =
      0.5 * style.scaling() * style.B().cast<double>() * style.A().cast<double>() -
      0.25 * small.scaling() * small.B().cast<float>().cast<double>() * small.A().cast<float>().cast<double>();
  EXPECT_LE((delta(made) - expected).norm(), made.rounding);
  EXPECT_GT(made.rounding, 1e-8 * expected.norm());  // factors rounded to float
  EXPECT_EQ(made.update.scaling(), 1.0);
  EXPECT_EQ(made.update.scaling_rule().value(), static_cast<double>(made.update.rank()));
}

TEST(Sums, TakeOtherKindsOfLowRankByTheirForm) {
  reference::Random random(10);
  const Matrix<double> shared_B = reference::gaussian<double>(random, 40, 3),
                       shared_A = reference::gaussian<double>(random, 3, 50),
                       b = reference::gaussian<double>(random, 40, 1), d = reference::gaussian<double>(random, 3, 1);
  const lora::VeRA<double> vera(lora::VeRAMatrices(shared_B, shared_A), b, d, 50);
  const Set set = gaussian(11, 40, 50, {2}, {0.5});
  const auto made = compose::svd<double>({{vera, 2.0}, set.updates()[0]}, Truncation::none());
  const Doubles expected = 2.0 * Doubles(lora::delta(vera)) + sum(set);
  EXPECT_LE((delta(made) - expected).norm(), tolerance(made));
  EXPECT_EQ(made.update.rank(), 5);
}

TEST(Sums, MergeAndUnmergeExactly) {
  reference::Random random(12);
  Matrix<float> W = reference::gaussian<float>(random, 48, 40, 0.02);
  const Matrix<float> W0 = W;
  const Matrix<float> B = reference::gaussian<float>(random, 48, 4),
                      A = reference::gaussian<float>(random, 4, 40, 1e-3);
  const lora::LowRank<float> style(B, A, lora::scaling::alpha(4)), formal(B * 2, A * -3, lora::scaling::alpha(2));
  for (const Method method : compose::methods()) {
    const auto made = compose::combine<float>({{style, 0.6}, {formal, 0.4}}, method, {.density = 0.5, .seed = 3});
    const lora::UndoRecord record = lora::merge(W, made.update);
    EXPECT_FALSE(reference::same_bits(W0, W)) << compose::name(method);
    lora::unmerge(W, made.update, record);
    EXPECT_TRUE(reference::same_bits(W0, W)) << compose::name(method);
  }
}

TEST(Sums, HaveTheSameBitsInEveryRunAndOnAnyExecutor) {
  class Backwards final : public lora::Executor {
   public:
    int concurrency() const override { return 1; }
    void run(int tasks, lora::FunctionRef<void(int)> task) override {
      for (int i = tasks; i-- > 0;) task(i);
    }
  } backwards;
  const reference::Threads one(1);
  const Set set = gaussian(13, 60, 50, {4, 4, 4});
  for (const Method method : compose::methods()) {
    const compose::Options options{.density = 0.5, .seed = 5};
    const auto a = compose::combine<double>(set, method, options),
               b = compose::combine<double>(set, method, options, {&backwards});
    EXPECT_TRUE(reference::same_bits(a.update.B(), b.update.B())) << compose::name(method);
    EXPECT_TRUE(reference::same_bits(a.update.A(), b.update.A())) << compose::name(method);
  }
}

// ---- Errors

void expect_pieces(const std::string& message, std::initializer_list<const char*> pieces) {
  for (const char* piece : pieces)
    EXPECT_NE(message.find(piece), std::string::npos) << message << "\nwithout " << piece;
}

TEST(ComposeErrors, NameTheUpdateThatIsNotOfLowRank) {
  const Set set = gaussian(14, 12, 10, {2}, {1.0});
  const auto refused = [&](const lora::ActiveUpdate<double>& other) {
    return message_of<lora::ValueError>([&] { (void)compose::svd<double>({set.updates()[0], other}); });
  };
  const auto& low_rank = dynamic_cast<const lora::LowRank<double>&>(*set.updates()[0].update);
  expect_pieces(refused(lora::DoRA<double>(low_rank, Matrix<double>::Ones(12, 1))), {"update 2", "DoRA", "W0"});
  expect_pieces(refused(lora::Dense<double>(Matrix<double>::Ones(12, 10))), {"update 2", "dense", "low rank"});
  const Matrix<double> l = Matrix<double>::Ones(12, 1);
  expect_pieces(refused(lora::IA3<double>({{"ia3_l", {"l", l}}}, lora::scaling::fixed(1)).sized(12, 10)),
                {"update 2", "IA3", "W0"});
}

TEST(ComposeErrors, SayWhichUpdateAsANumber) {
  const Set set = gaussian(14, 12, 10, {2}, {1.0});
  const lora::Dense<double> dense(Matrix<double>::Ones(12, 10));
  try {
    (void)compose::svd<double>({set.updates()[0], dense});
    FAIL();
  } catch (const compose::UpdateError& error) {
    EXPECT_EQ(error.update(), 1u);
    EXPECT_TRUE(error.reason().starts_with("expected an update of low rank, found dense")) << error.reason();
    EXPECT_EQ(error.what(), "lora: compose: update 2: " + std::string(error.reason()));
  }
}

TEST(ComposeErrors, NameWhatDoesNotFit) {
  const Set set = gaussian(15, 12, 10, {2, 3});
  expect_pieces(message_of<lora::ValueError>([] { (void)compose::svd<double>(Set()); }),
                {"at least one update", "none"});
  expect_pieces(message_of<lora::ValueError>([] { (void)compose::method_named("slerp"); }),
                {"cat, linear, svd", "found slerp"});
  for (const Method method :
       {Method::linear, Method::ties, Method::dare_linear, Method::dare_ties, Method::magnitude_prune})
    expect_pieces(message_of<lora::ValueError>([&] { (void)compose::combine<double>(set, method); }),
                  {std::string(compose::name(method)).c_str(), "one rank", "2 and 3"});
  for (const double density : {0.0, -0.5, 1.5, std::numeric_limits<double>::quiet_NaN()})
    for (const Method method : {Method::ties_svd, Method::dare_linear_svd, Method::core_ties, Method::knots})
      expect_pieces(
          message_of<lora::ValueError>([&] { (void)compose::combine<double>(set, method, {.density = density}); }),
          {"density in (0, 1]"});
  expect_pieces(message_of<lora::ValueError>([&] { (void)Truncation::rank(0); }), {"rank", "found 0"});
  for (const double share : {0.0, 1.5, std::numeric_limits<double>::quiet_NaN()})
    expect_pieces(message_of<lora::ValueError>([&] { (void)Truncation::energy(share); }), {"energy in (0, 1]"});
  expect_pieces(message_of<lora::ValueError>([&] { (void)compose::iso_cts<double>(set, 1.5); }), {"[0, 1]", "1.5"});
  EXPECT_THROW((void)compose::svd<double>({{set.updates()[0].update, std::numeric_limits<double>::infinity()}}),
               lora::ValueError);
  const Set other = gaussian(16, 12, 11, {2});
  EXPECT_THROW((void)compose::svd<double>({set.updates()[0], other.updates()[0]}), lora::ShapeError);
}

TEST(ComposeErrors, NameFactorsThatOverflow) {
  const Matrix<float> B = Matrix<float>::Constant(4, 1, 1e30f), A = Matrix<float>::Constant(1, 4, 1e30f);
  const lora::LowRank<float> large(B, A, lora::scaling::alpha(1));
  EXPECT_THROW((void)compose::svd<float>(large), lora::ValueError);
  const lora::LowRank<double> larger(Matrix<double>::Constant(4, 1, 1e200), Matrix<double>::Constant(1, 4, 1e200),
                                     lora::scaling::alpha(1));
  EXPECT_THROW((void)compose::svd<double>(larger), lora::ValueError);
}

TEST(Methods, HaveNames) {
  EXPECT_EQ(compose::methods().size(), 18u);
  for (const Method method : compose::methods()) EXPECT_EQ(compose::method_named(compose::name(method)), method);
}

TEST(Methods, SayWhatTheyHeed) {
  using compose::methods;
  EXPECT_EQ(std::count_if(methods().begin(), methods().end(), compose::prunes), 10);
  EXPECT_EQ(std::count_if(methods().begin(), methods().end(), compose::prunes_at_random), 4);
  EXPECT_EQ(std::count_if(methods().begin(), methods().end(), compose::elects_sign), 6);
  EXPECT_FALSE(compose::elects_sign(Method::magnitude_prune_svd));
  EXPECT_EQ(std::count_if(methods().begin(), methods().end(), compose::truncates), 12);
  EXPECT_FALSE(compose::prunes(Method::iso_cts));
  EXPECT_FALSE(compose::truncates(Method::cat));
}

}  // namespace
