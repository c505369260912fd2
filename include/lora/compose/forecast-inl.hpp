// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/forecast.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

LORA_NAMESPACE_BEGIN
namespace compose {

LORA_FUNC Forecast::Forecast(std::size_t adapters) : adapters_(adapters), products_(adapters * adapters) {
  if (adapters == 0) throw ValueError("lora: Forecast: expected at least one adapter, found none");
}

LORA_FUNC void Forecast::add(const Interference& weight) {
  std::vector<std::size_t> all(adapters_);
  std::iota(all.begin(), all.end(), std::size_t{0});
  add(weight, all);
}

LORA_FUNC void Forecast::add(const Interference& weight, std::span<const std::size_t> adapters) {
  using lora::detail::text;
  if (weight.updates.size() != adapters.size())
    throw ValueError(text("lora: Forecast: expected a weight with an update of each of ", adapters.size(),
                          " adapters, found ", weight.updates.size(), " updates"));
  for (const std::size_t number : adapters)
    if (number >= adapters_)
      throw ValueError(text("lora: Forecast: expected the number of an adapter, below ", adapters_, ", found ", number));
  for (const DeltaPair& pair : weight.pairs)
    if (std::max(pair.first, pair.second) >= adapters.size())
      throw ValueError(text("lora: Forecast: expected pairs of updates below ", adapters.size(), ", found ", pair.first,
                            " and ", pair.second));
  for (std::size_t t = 0; t < adapters.size(); ++t)
    products_[adapters[t] * adapters_ + adapters[t]] += weight.updates[t].norm * weight.updates[t].norm;
  for (const DeltaPair& pair : weight.pairs) {
    const std::size_t i = adapters[pair.first], j = adapters[pair.second];
    // Of two updates of one adapter both go to its own: ||D + E||^2 = ||D||^2 + ||E||^2 + 2 <D, E>.
    products_[i * adapters_ + j] += pair.inner_product;
    products_[j * adapters_ + i] += pair.inner_product;
  }
}

/// ||sum of D_j over j != t||^2 of every t.
LORA_FUNC std::vector<double> Forecast::others() const {
  std::vector<double> out(adapters_);
  double all = 0;
  for (std::size_t t = 0; t < adapters_; ++t) {
    const auto row = products_.begin() + static_cast<std::ptrdiff_t>(t * adapters_);
    const double sum = std::accumulate(row, row + static_cast<std::ptrdiff_t>(adapters_), 0.0);
    all += sum;
    out[t] = own(t) - 2 * sum;
  }
  for (double& energy : out) energy = std::max(energy + all, 0.0);
  return out;
}

/// <D_t, sum of D_j over j != t>.
LORA_FUNC double Forecast::along(std::size_t t) const {
  double sum = 0;
  for (std::size_t j = 0; j < adapters_; ++j)
    if (j != t) sum += product(t, j);
  return sum;
}

LORA_FUNC void Forecast::expect_adapter(std::size_t t) const {
  if (t >= adapters_)
    throw ValueError(lora::detail::text("lora: Forecast: expected an adapter below ", adapters_, ", found ", t));
}

LORA_FUNC double Forecast::crosstalk(std::size_t t) const {
  expect_adapter(t);
  return own(t) > 0 ? others()[t] / own(t) : 0.0;
}

LORA_FUNC double Forecast::signal(std::size_t t) const {
  expect_adapter(t);
  return own(t) > 0 ? std::clamp(1 + along(t) / own(t), 0.0, 1.0) : 1.0;
}

LORA_FUNC std::size_t Forecast::changing() const {
  std::size_t count = 0;
  for (std::size_t t = 0; t < adapters_; ++t)
    if (own(t) > 0) ++count;
  return count;
}

LORA_FUNC double Forecast::retained() const {
  const std::vector<double> energies = others();
  double sum = 0;
  for (std::size_t t = 0; t < adapters_; ++t)
    if (own(t) > 0) sum += retained_at(energies[t] / own(t), signal(t));
  const std::size_t count = changing();
  return count == 0 ? 1.0 : sum / static_cast<double>(count);
}

/// What adapter t, which changes something, keeps among k such; the others' sum has this energy.
LORA_FUNC double Forecast::among(Index k, std::size_t t, double energy) const {
  if (k == 1) return 1.0;
  double trace = 0;
  for (std::size_t j = 0; j < adapters_; ++j) trace += own(j);
  const std::size_t others = changing() - 1;
  const double count = static_cast<double>(others), added = static_cast<double>(k) - 1,
               squares = trace - own(t), sum = along(t);
  double mean_square = own(t), mean_product = 0;
  if (others > 0) mean_square = squares / count;
  if (others == 1) mean_product = std::max(sum * std::sqrt(mean_square / own(t)), 0.0);
  if (others > 1) mean_product = std::max((energy - squares) / (count * (count - 1)), 0.0);
  const double crosstalk = added * (mean_square + (added - 1) * mean_product) / own(t), whole = retained_at(crosstalk);
  const double drawn = std::min(added, count) - 1;
  double lost = 0;  // by what points against it, each of the others once for sure among the k
  for (std::size_t j = 0; j < adapters_; ++j) {
    if (j == t || !(own(j) > 0)) continue;
    const double one = product(t, j), rest = count > 1 ? std::min((sum - one) / (count - 1), 0.0) : 0.0;
    const double left = std::clamp(1 + (one + drawn * rest) / own(t), 0.0, 1.0);
    if (left < 1) lost += whole - retained_at(crosstalk, left);
  }
  return count > 0 ? std::max(whole - lost / count, 0.0) : whole;
}

LORA_FUNC double Forecast::retained_by(Index k, std::size_t t) const {
  if (k < 1) throw ValueError(lora::detail::text("lora: Forecast: expected at least one adapter, found ", k));
  expect_adapter(t);
  return own(t) > 0 ? among(k, t, others()[t]) : 1.0;
}

LORA_FUNC double Forecast::retained_by(Index k) const {
  if (k < 1) throw ValueError(lora::detail::text("lora: Forecast: expected at least one adapter, found ", k));
  const std::size_t all = changing();
  if (all == 0) return 1.0;
  const std::vector<double> energies = others();
  double sum = 0;
  for (std::size_t t = 0; t < adapters_; ++t)
    if (own(t) > 0) sum += among(k, t, energies[t]);
  return sum / static_cast<double>(all);
}

LORA_FUNC Index Forecast::capacity(double share) const {
  if (!(share > 0 && share < 1))
    throw ValueError(lora::detail::text("lora: Forecast: expected a share in (0, 1), found ", share));
  Index enough = 1, beyond = 2;  // more adapters never keep more
  for (; retained_by(beyond) >= share; beyond *= 2) {
    if (beyond >= unlimited) return unlimited;
    enough = beyond;
  }
  while (beyond - enough > 1) {
    const Index middle = enough + (beyond - enough) / 2;
    (retained_by(middle) >= share ? enough : beyond) = middle;
  }
  return enough;
}

LORA_FUNC double Forecast::retained_at(double crosstalk) {
  return 1 / (1 + std::pow(crosstalk / half_ratio, steepness));
}

LORA_FUNC double Forecast::retained_at(double crosstalk, double signal) {
  return signal > 0 ? retained_at(crosstalk / (signal * signal)) : 0.0;
}

}  // namespace compose
LORA_NAMESPACE_END
