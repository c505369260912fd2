// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What `lora report` found: for text, JSON and the page.

#include <lora/compose/forecast.hpp>

#include <optional>
#include <string>
#include <vector>

namespace cli {

/// One weight, and what adapters do to it.
struct ReportLayer {
  std::string name;    ///< each one's own: the module's, or `<module>.<parameter>`, with an expert's number: `[3]`
  std::string inputs;  ///< whose inputs it reads: the module's name, or a parameter's; a bias reads none
  lora::Index rows = 0, cols = 0;
  std::vector<std::size_t> adapters;  ///< of the updates in `measures`
  lora::compose::Interference measures;
  std::optional<lora::compose::OutputChange> change;  ///< where there are inputs

  /// The place of an adapter's update among the layer's, if it has one.
  std::optional<std::size_t> update_of(std::size_t adapter) const;
  /// The measures of two adapters' pair, or null.
  const lora::compose::DeltaPair* pair_of(std::size_t a, std::size_t b) const;
};

/// Two adapters over all layers that both change.
struct AdapterPair {
  std::size_t first = 0, second = 0;
  std::size_t layers = 0;        ///< that both change; 0: nothing else is known
  double cosine = 0;             ///< of their deltas, all layers as one vector
  double output = 0, input = 0;  ///< mean squared cosine of the principal angles of what they put out, and read
  double chance = 0;             ///< what `output` and `input` would be of random spaces, the larger one
  std::size_t strongest = 0;     ///< the layer with the largest cosine, in absolute value
};

struct Report {
  std::string base;
  std::vector<std::string> adapters;  ///< names, each one of its own
  std::vector<double> coefficients;
  std::vector<ReportLayer> layers;

  std::size_t adapter_count() const { return adapters.size(); }

  /// Of all pairs i < j, in this order.
  std::vector<AdapterPair> pairs() const;

  /// ||delta||_F / ||W0||_F over all layers: of one adapter, of the sum; nothing where W0 is 0.
  std::optional<double> relative_norm(std::size_t adapter) const;
  std::optional<double> relative_norm_of_sum() const;

  /// Whether a layer is changed by two adapters. Without one there is nothing to say of their sum.
  bool has_pairs() const;

  /// What a plain sum is expected to leave of each adapter's task; of at least one adapter.
  lora::compose::Forecast forecast() const;

  /// sqrt(sum ||D_i X_j||^2 / sum ||D_j X_j||^2) over the layers with inputs; nothing where there are none.
  std::optional<double> output_change(std::size_t i, std::size_t j) const;
};

/// The share of their tasks that adapters should keep on average, and the sentence about how many such as these a model takes
/// then, with the weakest in the sum of all where it keeps less than half of their mean, or 1 %; nothing where no two of them
/// meet. `forecast` is the report's.
constexpr double kept_share = 0.8;
std::string capacity_text(const Report& report, const lora::compose::Forecast& forecast);

/// The names, and numbers behind those that are there already: "ad", "ad (2)" ... No two are alike.
std::vector<std::string> distinct_names(const std::vector<std::string>& names);

/// A page of its own: no script, nothing from a network.
std::string report_page(const Report& report);

}  // namespace cli
