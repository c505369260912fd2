// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/interference.hpp"

#include <span>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace compose {

/// What a plain sum is expected to leave of each of its adapters, and how many adapters such as these a model takes:
/// from the factors alone, before anything is deployed.
///
///     lora::compose::Forecast forecast(adapters);
///     for (const lora::compose::Interference& weight : weights) forecast.add(weight);
///     forecast.retained(0);       // of what adapter 0 does alone, the share that is left
///     forecast.capacity(0.8);     // from one adapter more on, less than 80 % is left
///
/// Adapter t has the signal ||D_t||^2 and, from the sum O_t of the others' D_j, the crosstalk ||O_t||^2, in Frobenius norm
/// and summed over the weights. What of O_t points against D_t takes from the signal itself: along D_t the sum of all is
/// (1 + <D_t, O_t> / ||D_t||^2) D_t. With
///
///     a = 1 + <D_t, O_t> / ||D_t||^2, at least 0 and at most 1,   x = ||O_t||^2 / (a^2 ||D_t||^2),
///     retained = 1 / (1 + (x / half_ratio)^steepness)
///
/// is the share of the accuracy above chance that is left. A weight that t does not change counts as well: what the
/// others do there is crosstalk, since they change what t's layers read. Adapters whose own updates are zero have
/// nothing to lose, and stay out of all means. The two constants were fitted to 16 adapters of a sentence
/// encoder and tested on others (docs/STACKING.md): a forecast says which sets lose more, and about how much adapters
/// that were trained like these lose; it knows nothing of the data, and nothing of what the model does without
/// adapters. Those adapters were nearly orthogonal, a nearly 1.
class Forecast {
 public:
  static constexpr double half_ratio = 9.0;  ///< the x at which half is left
  static constexpr double steepness = 1.3;   ///< the exponent

  /// Of so many adapters. Throws ValueError for none.
  explicit Forecast(std::size_t adapters);

  /// Takes in a weight that all adapters change, in the order of their numbers, or those with these numbers. Updates with the same
  /// number are one adapter's and count as their sum. Throws ValueError unless there is one number for each update, each that of an
  /// adapter, and all pairs are of such updates; nothing is added then.
  void add(const Interference& weight);
  void add(const Interference& weight, std::span<const std::size_t> adapters);

  /// How many there are.
  std::size_t adapters() const { return adapters_; }

  /// Of them, those whose own updates are not zero. Below two there is nothing to forecast.
  std::size_t changing() const;

  /// ||O_t||^2 / ||D_t||^2 of adapter t: the energy of the others' sum in that of its own updates. 0 when these are zero:
  /// there is nothing to lose.
  double crosstalk(std::size_t t) const;

  /// a of adapter t: how much of its own updates the sum of all has along them. 1 unless the others point against them, 0
  /// where they take back all of it.
  double signal(std::size_t t) const;

  /// The share that adapter t keeps in the sum of all, and the mean of all adapters that change something; 1 without any.
  double retained(std::size_t t) const { return retained_at(crosstalk(t), signal(t)); }
  double retained() const;

  /// The mean share that k adapters such as these keep, and the share that adapter t keeps among k such. The crosstalk is
  /// what k - 1 of the others, drawn at random, add on average,
  ///
  ///     (k - 1) mean ||D_j||^2 + (k - 1)(k - 2) max(mean <D_i, D_j>, 0)   in ||D_t||^2,
  ///
  /// with means over the others; of two adapters, the other ones are as alike as the two: cos(D_t, D_j) ||D_j||^2 is their
  /// mean product. The share is the mean over j of those where j is among the k - 1 for sure,
  ///
  ///     a = 1 + q_j + (min(k, n) - 2) min(mean q_i, 0), at least 0 and at most 1,   q_j = <D_t, D_j> / ||D_t||^2,
  ///
  /// with the mean over the others but j and n the number of those that change something: k may be more, but nothing says
  /// that those point against t as well. One adapter alone stands for all, and without any the mean is 1. Throws ValueError
  /// unless k >= 1.
  double retained_by(Index k) const;
  double retained_by(Index k, std::size_t t) const;

  /// The most adapters such as these whose plain sum keeps this share on average, at least 1; `unlimited` where nothing
  /// is lost. Single ones may keep far less: retained(t). Throws ValueError unless 0 < share < 1.
  Index capacity(double share) const;
  static constexpr Index unlimited = Index{1} << 40;  ///< as many as one likes

  /// The curve: of crosstalk beside a whole signal, and beside what is left of one.
  static double retained_at(double crosstalk);
  static double retained_at(double crosstalk, double signal);

 private:
  double product(std::size_t i, std::size_t j) const { return products_[i * adapters_ + j]; }
  double own(std::size_t t) const { return product(t, t); }
  double along(std::size_t t) const;
  double among(Index k, std::size_t t, double energy) const;
  std::vector<double> others() const;
  void expect_adapter(std::size_t t) const;

  std::size_t adapters_;
  std::vector<double> products_;  // <D_i, D_j> summed over the weights
};

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/forecast-inl.hpp"
#endif
