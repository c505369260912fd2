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
/// Adapter t has the signal ||D_t||^2 and, from the others, crosstalk ||sum of D_j over j != t||^2, in Frobenius norm
/// and summed over the weights. With x the ratio of the two
///
///     retained = 1 / (1 + (x / half_ratio)^steepness)
///
/// is the share of the accuracy above chance that is left. A weight that t does not change counts as well: what the
/// others do there is crosstalk, since they change what t's layers read. Adapters whose own updates are zero have
/// nothing to lose, and stay out of all means. The two constants were fitted to 16 adapters of a sentence
/// encoder and tested on others (docs/STACKING.md): a forecast says which sets lose more, and about how much adapters
/// that were trained like these lose; it knows nothing of the data, and nothing of what the model does without
/// adapters.
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

  /// x of adapter t: the energy of the others' sum in that of its own updates. 0 when these are zero: there is nothing
  /// to lose.
  double crosstalk(std::size_t t) const;

  /// The share that adapter t keeps in the sum of all, and the mean of all adapters that change something; 1 without any.
  double retained(std::size_t t) const { return retained_at(crosstalk(t)); }
  double retained() const;

  /// The mean share that k adapters such as these keep: x is then what k - 1 of the others, drawn at random, add on
  /// average,
  ///
  ///     (k - 1) mean ||D_j||^2 + (k - 1)(k - 2) max(mean <D_i, D_j>, 0)   in ||D_t||^2,
  ///
  /// with means over the others. k may be more than there are; one adapter alone stands for all, and without any the
  /// mean is 1. Throws ValueError unless k >= 1.
  double retained_by(Index k) const;

  /// The most adapters such as these whose plain sum keeps this share on average, at least 1; `unlimited` where nothing
  /// is lost. Throws ValueError unless 0 < share < 1.
  Index capacity(double share) const;
  static constexpr Index unlimited = Index{1} << 40;  ///< as many as one likes

  /// The curve.
  static double retained_at(double crosstalk);

 private:
  double own(std::size_t t) const { return products_[t * adapters_ + t]; }
  std::vector<double> others() const;

  std::size_t adapters_;
  std::vector<double> products_;  // <D_i, D_j> summed over the weights
};

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/forecast-inl.hpp"
#endif
