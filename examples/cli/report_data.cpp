// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "report_data.hpp"

#include "text.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace cli {

using lora::compose::DeltaPair;

std::optional<std::size_t> ReportLayer::update_of(std::size_t adapter) const {
  const auto at = std::find(adapters.begin(), adapters.end(), adapter);
  if (at == adapters.end()) return std::nullopt;
  return static_cast<std::size_t>(at - adapters.begin());
}

const DeltaPair* ReportLayer::pair_of(std::size_t a, std::size_t b) const {
  const std::optional<std::size_t> i = update_of(a), j = update_of(b);
  if (!i || !j) return nullptr;
  const auto found = std::find_if(measures.pairs.begin(), measures.pairs.end(), [&](const DeltaPair& pair) {
    return pair.first == std::min(*i, *j) && pair.second == std::max(*i, *j);
  });
  return found == measures.pairs.end() ? nullptr : &*found;
}

std::vector<AdapterPair> Report::pairs() const {
  std::vector<AdapterPair> out;
  for (std::size_t a = 0; a < adapter_count(); ++a)
    for (std::size_t b = a + 1; b < adapter_count(); ++b) {
      AdapterPair pair{a, b};
      double product = 0, squares_a = 0, squares_b = 0, outputs = 0, inputs = 0, angles = 0, chance = 0, largest = -1;
      for (std::size_t l = 0; l < layers.size(); ++l) {
        const ReportLayer& layer = layers[l];
        const DeltaPair* const found = layer.pair_of(a, b);
        if (found == nullptr) continue;
        const auto &one = layer.measures.updates[*layer.update_of(a)], &other = layer.measures.updates[*layer.update_of(b)];
        ++pair.layers;
        product += found->inner_product;
        squares_a += one.norm * one.norm;
        squares_b += other.norm * other.norm;
        for (const double cosine : found->column_cosines) outputs += cosine * cosine;
        for (const double cosine : found->row_cosines) inputs += cosine * cosine;
        angles += static_cast<double>(found->column_cosines.size());
        chance += static_cast<double>(one.rank * other.rank) / static_cast<double>(std::min(layer.rows, layer.cols));
        if (std::abs(found->cosine) > largest) {
          largest = std::abs(found->cosine);
          pair.strongest = l;
        }
      }
      const double norms = std::sqrt(squares_a) * std::sqrt(squares_b);
      if (norms > 0) pair.cosine = std::clamp(product / norms, -1.0, 1.0);
      if (angles > 0) {
        pair.output = outputs / angles;
        pair.input = inputs / angles;
        pair.chance = std::min(chance / angles, 1.0);
      }
      out.push_back(pair);
    }
  return out;
}

std::optional<double> Report::relative_norm(std::size_t adapter) const {
  double squares = 0, weights = 0;
  for (const ReportLayer& layer : layers)
    if (const std::optional<std::size_t> at = layer.update_of(adapter)) {
      squares += std::pow(layer.measures.updates[*at].norm, 2);
      weights += std::pow(layer.measures.weight_norm, 2);
    }
  return ratio(std::sqrt(squares), std::sqrt(weights));
}

std::optional<double> Report::relative_norm_of_sum() const {
  double squares = 0, weights = 0;
  for (const ReportLayer& layer : layers) {
    squares += std::pow(layer.measures.sum.norm, 2);
    weights += std::pow(layer.measures.weight_norm, 2);
  }
  return ratio(std::sqrt(squares), std::sqrt(weights));
}

bool Report::has_pairs() const {
  return std::any_of(layers.begin(), layers.end(), [](const ReportLayer& layer) {
    return std::any_of(layer.adapters.begin(), layer.adapters.end(),
                       [&](std::size_t adapter) { return adapter != layer.adapters.front(); });
  });
}

lora::compose::Forecast Report::forecast() const {
  lora::compose::Forecast out(adapter_count());
  for (const ReportLayer& layer : layers) out.add(layer.measures, layer.adapters);
  return out;
}

std::string capacity_text(const Report& report, const lora::compose::Forecast& forecast) {
  if (!report.has_pairs()) return "";
  if (forecast.changing() < 2)
    return text(forecast.changing() == 0 ? "None" : "Only one",
                " of these adapters changes the weights: there is nothing to forecast.");
  const lora::Index most = forecast.capacity(kept_share);
  const std::string share = text(number_text(100 * kept_share, 3), " % of what they do alone on average");
  if (most == lora::compose::Forecast::unlimited) return "These adapters leave each other alone: add up as many as you like.";
  const std::string rest = text("weighted_tsv_m with the coefficient k^(-1/4), or give each request its own adapter");
  std::vector<double> kept;
  for (std::size_t t = 0; t < report.adapter_count(); ++t) kept.push_back(forecast.retained(t));
  const auto least = std::min_element(kept.begin(), kept.end());
  std::string only;
  if (*least < std::max(forecast.retained() / 2, 0.01))
    only = text(" (in the sum of all ", report.adapter_count(), " the weakest, ",
                in_quotes(report.adapters[static_cast<std::size_t>(least - kept.begin())]), ", keeps ",
                std::lround(100 * *least), " %)");
  if (most == 1) return text("No two of these by plain sum, if they are to keep ", share, only, "; use ", rest, ".");
  return text("Up to ", most, " of these by plain sum, if they are to keep ", share, only, "; beyond that use ", rest,
              ".");
}

std::vector<std::string> distinct_names(const std::vector<std::string>& names) {
  std::set<std::string> taken(names.begin(), names.end()), seen;
  std::vector<std::string> out;
  for (const std::string& name : names) {
    std::string one = name;
    if (!seen.insert(name).second)
      for (int count = 2; !taken.insert(one = text(name, " (", count, ")")).second;) ++count;
    out.push_back(std::move(one));
  }
  return out;
}

std::optional<double> Report::output_change(std::size_t i, std::size_t j) const {
  double squares = 0, own = 0;
  for (const ReportLayer& layer : layers) {
    const std::optional<std::size_t> a = layer.update_of(i), b = layer.update_of(j);
    if (!layer.change || !b) continue;
    own += std::pow(layer.change->norm(*b, *b), 2);
    if (a) squares += std::pow(layer.change->norm(*a, *b), 2);
  }
  if (!(own > 0)) return std::nullopt;
  return std::sqrt(squares / own);
}

}  // namespace cli
