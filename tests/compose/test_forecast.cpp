// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// The forecast's ratios against those of whole matrices, and what its curve says of adapters for which they are known.

#include "compose/dense.hpp"

#include <algorithm>

namespace {

using namespace dense;
using compose::Forecast;

/// Updates with nothing in common: update t has the norm norms[t], in a row and a column of its own.
Set apart(const std::vector<double>& norms) {
  std::vector<lora::ActiveUpdate<double>> updates;
  const auto size = static_cast<Index>(norms.size());
  for (Index t = 0; t < size; ++t) {
    lora::Matrix<double> B = lora::Matrix<double>::Zero(size, 1), A = lora::Matrix<double>::Zero(1, size);
    B(t, 0) = 1;
    A(0, t) = norms[static_cast<std::size_t>(t)];
    updates.emplace_back(lora::LowRank<double>(B, A, lora::scaling::fixed(1)));
  }
  return Set(updates);
}

Forecast forecast_of(const Set& set) {
  Forecast out(set.updates().size());
  out.add(compose::interference<double>(set));
  return out;
}

TEST(Forecast, ComparesTheOthersSumWithTheOwnUpdateOverAllWeights) {
  const Set first = gaussian(1, 30, 26, {4, 2, 5}, {0.7, -0.4, 1.5}), second = gaussian(2, 12, 40, {1, 3}, {1.0, 2.0});
  Forecast forecast(3);
  forecast.add(compose::interference<double>(first));
  forecast.add(compose::interference<double>(second), std::vector<std::size_t>{2, 0});
  std::vector<Doubles> D, E{Doubles::Zero(12, 40), Doubles::Zero(12, 40), Doubles::Zero(12, 40)};
  for (std::size_t t = 0; t < 3; ++t) D.push_back(first.updates()[t].coefficient * delta(first, t));
  E[2] = second.updates()[0].coefficient * delta(second, 0);
  E[0] = second.updates()[1].coefficient * delta(second, 1);
  double mean = 0;
  for (std::size_t t = 0; t < 3; ++t) {
    const double others = (D[0] + D[1] + D[2] - D[t]).squaredNorm() + (E[0] + E[1] + E[2] - E[t]).squaredNorm(),
                 ratio = others / (D[t].squaredNorm() + E[t].squaredNorm());
    EXPECT_NEAR(forecast.crosstalk(t), ratio, 1e-12 * ratio);
    const Doubles rest = D[0] + D[1] + D[2] - D[t], rest_there = E[0] + E[1] + E[2] - E[t];
    const double own = D[t].squaredNorm() + E[t].squaredNorm(),
                 along = (D[t].cwiseProduct(rest).sum() + E[t].cwiseProduct(rest_there).sum()) / own,
                 left = std::clamp(1 + along, 0.0, 1.0);
    EXPECT_NEAR(forecast.signal(t), left, 1e-12);
    const double share = 1 / (1 + std::pow(ratio / (left * left) / Forecast::half_ratio, Forecast::steepness));
    EXPECT_NEAR(forecast.retained(t), share, 1e-12);
    mean += share / 3;
  }
  EXPECT_NEAR(forecast.retained(), mean, 1e-12);
}

TEST(Forecast, HalfIsLeftAtTheHalfRatio) {
  const Forecast forecast = forecast_of(apart({2, 6, 0}));  // 36 to 4
  EXPECT_NEAR(forecast.crosstalk(0), Forecast::half_ratio, 1e-12);
  EXPECT_NEAR(forecast.retained(0), 0.5, 1e-12);
  EXPECT_NEAR(forecast.crosstalk(1), 1.0 / 9.0, 1e-12);
  EXPECT_EQ(forecast.crosstalk(2), 0.0);  // nothing to lose
  EXPECT_EQ(forecast.retained(2), 1.0);
}

TEST(Forecast, OfAllAdaptersIsThatOfAsManySuchAdapters) {
  for (const Forecast& forecast : {forecast_of(apart({1, 2, 3, 1.5})), forecast_of(apart({1, 1}))})
    EXPECT_NEAR(forecast.retained_by(static_cast<Index>(forecast.adapters())), forecast.retained(), 1e-12);
  EXPECT_EQ(forecast_of(apart({1, 2})).retained_by(1), 1.0);
}

TEST(Forecast, FewerAdaptersAreTheMeanOfAllChoices) {
  const Forecast forecast = forecast_of(apart({1, 2, 3}));
  double mean = 0;
  for (const double ratio : {(4 + 9) / 2.0 / 1, (1 + 9) / 2.0 / 4, (1 + 4) / 2.0 / 9})
    mean += Forecast::retained_at(ratio) / 3;
  EXPECT_NEAR(forecast.retained_by(2), mean, 1e-12);
}

// k adapters of one size that have nothing in common: x = k - 1. retained >= share means x <= 9 (1 / share - 1)^(1 /
// 1.3).
TEST(Forecast, CapacityOfAdaptersWithNothingInCommon) {
  for (const std::size_t count : std::vector<std::size_t>{1, 2, 5}) {
    const Forecast forecast = forecast_of(apart(std::vector<double>(count, 1.0)));
    for (const double share : {0.95, 0.8, 0.3, 0.01}) {
      const double most = Forecast::half_ratio * std::pow(1 / share - 1, 1 / Forecast::steepness);
      EXPECT_EQ(forecast.capacity(share), 1 + static_cast<Index>(most)) << share;
    }
    EXPECT_EQ(forecast.capacity(0.9999), 1);
  }
}

// k copies of an adapter: x = (k - 1)^2.
TEST(Forecast, CapacityOfAdaptersThatAreAlike) {
  const Set one = gaussian(3, 12, 10, {3}, {1.0});
  const Forecast forecast = forecast_of({one.updates()[0], one.updates()[0], one.updates()[0]});
  EXPECT_NEAR(forecast.crosstalk(1), 4, 1e-12);
  EXPECT_EQ(forecast.capacity(0.49), 4);  // 9 and 16 on either side of where 0.49 is left
  EXPECT_EQ(forecast_of(apart({0, 0})).capacity(0.5), Forecast::unlimited);
}

// As many copies as one likes say the same of k copies; two of them as well, though there is no pair of others.
TEST(Forecast, TwoThatAreAlikeForetellWhatMoreDo) {
  const Set one = gaussian(3, 12, 10, {3}, {1.0});
  for (const std::size_t count : std::vector<std::size_t>{2, 3, 6}) {
    const Forecast forecast = forecast_of(Set(std::vector<lora::ActiveUpdate<double>>(count, one.updates()[0])));
    for (const Index k : {2, 3, 5})
      EXPECT_NEAR(forecast.retained_by(k), Forecast::retained_at(static_cast<double>((k - 1) * (k - 1))), 1e-12);
    EXPECT_EQ(forecast.capacity(0.8), 2) << count;
  }
  // The other one three times as large: k - 1 of that size are 9 (k - 1)^2 times as much as the small one.
  const Forecast sizes = forecast_of({one.updates()[0], {one.updates()[0].update, 3.0}});
  EXPECT_NEAR(sizes.retained_by(4, 0), Forecast::retained_at(81), 1e-12);
  EXPECT_NEAR(sizes.retained_by(4, 1), Forecast::retained_at(1), 1e-12);
}

TEST(Forecast, NothingIsLeftOfWhatTheOthersTakeBack) {
  const Set one = gaussian(3, 30, 26, {3}, {1.0}), two = gaussian(5, 30, 26, {3}, {1.0});
  const auto times = [](const Set& set, double coefficient) {
    return lora::ActiveUpdate<double>{set.updates()[0].update, coefficient};
  };
  using Updates = std::vector<lora::ActiveUpdate<double>>;
  for (const Updates& updates : {Updates{times(one, 1), times(one, -1)},
                                 Updates{times(one, 1), times(one, -1), times(two, 1), times(two, -1)}}) {
    const Forecast forecast = forecast_of(Set(updates));
    for (std::size_t t = 0; t < updates.size(); ++t) {
      EXPECT_LE(forecast.signal(t), 1e-12);
      EXPECT_LE(forecast.retained(t), 1e-12);
      EXPECT_LE(forecast.retained_by(static_cast<Index>(updates.size()), t), 1e-12);
    }
    EXPECT_LE(forecast.retained(), 1e-12);
    EXPECT_EQ(forecast.capacity(0.8), 1);
  }
  // Of 2 out of D, -D, E, -E one third are an adapter and its opposite.
  const Forecast pairs = forecast_of({times(one, 1), times(one, -1), times(two, 1), times(two, -1)});
  EXPECT_LE(pairs.retained_by(2), 0.7);
  EXPECT_GE(pairs.retained_by(2), 0.5);
  // Half of it taken back: a quarter of the energy faces a quarter. More than all: nothing either.
  const Forecast half = forecast_of({times(one, 1), times(one, -0.5)});
  EXPECT_NEAR(half.signal(0), 0.5, 1e-12);
  EXPECT_NEAR(half.retained(0), Forecast::retained_at(1), 1e-12);
  EXPECT_NEAR(half.retained_by(5, 0), Forecast::retained_at(4), 1e-12);  // no more of those that point against it
  EXPECT_EQ(half.signal(1), 0.0);
  EXPECT_EQ(half.retained(1), 0.0);
}

TEST(Forecast, OneOppositePairAmongOthersLosesAlone) {
  std::vector<lora::ActiveUpdate<double>> updates;
  const auto axis = [&](Index t, double size) {
    lora::Matrix<double> B = lora::Matrix<double>::Zero(9, 1), A = lora::Matrix<double>::Zero(1, 9);
    B(t, 0) = size;
    A(0, t) = 1;
    updates.emplace_back(lora::LowRank<double>(B, A, lora::scaling::fixed(1)));
  };
  for (Index t = 0; t < 9; ++t) axis(t, 1);
  axis(0, -1);
  const Forecast forecast = forecast_of(Set(updates));
  const double others = Forecast::retained_at(7);  // the pair is not there for them
  for (std::size_t t = 0; t < 10; ++t) {
    const bool is_opposed = t == 0 || t == 9;
    EXPECT_NEAR(forecast.retained(t), is_opposed ? 0.0 : others, 1e-12) << t;
    if (is_opposed) {
      EXPECT_NEAR(forecast.retained_by(10, t), 0.0, 1e-12);
    }
  }
  // A pair of ten is the opposite one in one of nine cases for two of ten.
  EXPECT_NEAR(forecast.retained_by(2), Forecast::retained_at(1) * (1 - 0.2 / 9), 1e-12);
  for (Index k = 1; k < 40; ++k) EXPECT_LE(forecast.retained_by(k + 1), forecast.retained_by(k) + 1e-12);
}

TEST(Forecast, TwoUpdatesOfOneAdapterAreTheirSum) {
  const Set set = gaussian(4, 20, 18, {2, 3, 4});
  Forecast forecast(2);
  forecast.add(compose::interference<double>(set), std::vector<std::size_t>{0, 1, 0});
  const Doubles own = set.updates()[0].coefficient * delta(set, 0) + set.updates()[2].coefficient * delta(set, 2),
                other = set.updates()[1].coefficient * delta(set, 1);
  EXPECT_NEAR(forecast.crosstalk(0), other.squaredNorm() / own.squaredNorm(), 1e-12);
  EXPECT_NEAR(forecast.crosstalk(1), own.squaredNorm() / other.squaredNorm(), 1e-12);
}

TEST(Forecast, AdaptersThatChangeNothingStayOutOfTheMeans) {
  const Forecast with = forecast_of(apart({1, 0, 2, 0, 3})), without = forecast_of(apart({1, 2, 3}));
  EXPECT_EQ(with.changing(), 3u);
  EXPECT_EQ(with.retained(1), 1.0);
  EXPECT_NEAR(with.retained(), without.retained(), 1e-12);
  for (const Index k : {2, 3, 7}) EXPECT_NEAR(with.retained_by(k), without.retained_by(k), 1e-12);
  EXPECT_EQ(with.capacity(0.8), without.capacity(0.8));
  EXPECT_EQ(with.signal(1), 1.0);
  EXPECT_EQ(with.retained_by(5, 1), 1.0);
  const Forecast nothing = forecast_of(apart({0, 0}));
  EXPECT_EQ(nothing.changing(), 0u);
  EXPECT_EQ(nothing.retained(), 1.0);
}

TEST(Forecast, RefusesPairsOfNoUpdates) {
  auto weight = compose::interference<double>(apart({1, 2}));
  Forecast forecast(2);
  weight.pairs.front().second = 2;
  EXPECT_THROW(forecast.add(weight), lora::ValueError);
  EXPECT_EQ(forecast.changing(), 0u);
}

TEST(Forecast, NamesWhatIsWrong) {
  EXPECT_THROW((void)Forecast(0), lora::ValueError);
  const auto two = compose::interference<double>(apart({1, 2}));
  Forecast forecast(3);
  EXPECT_THROW(forecast.add(two), lora::ValueError);
  EXPECT_THROW(forecast.add(two, std::vector<std::size_t>{0, 3}), lora::ValueError);
  EXPECT_EQ(forecast.crosstalk(0), 0.0);  // nothing was added
  EXPECT_THROW((void)forecast.crosstalk(3), lora::ValueError);
  EXPECT_THROW((void)forecast.signal(3), lora::ValueError);
  EXPECT_THROW((void)forecast.retained_by(0), lora::ValueError);
  EXPECT_THROW((void)forecast.retained_by(0, 1), lora::ValueError);
  EXPECT_THROW((void)forecast.retained_by(2, 3), lora::ValueError);
  for (const double share : {0.0, 1.0, -0.5, std::nan("")})
    EXPECT_THROW((void)forecast.capacity(share), lora::ValueError);
}

}  // namespace
