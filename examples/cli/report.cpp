// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora report: how large adapters are beside a model's weights, and how they get in each other's way.

#include "commands.hpp"
#include "table.hpp"
#include "text.hpp"
#include "weights.hpp"

#include <lora/compose/interference.hpp>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
using lora::compose::DeltaPair;
using lora::compose::DeltaSize;
using lora::compose::Interference;

struct Report {
  fs::path base;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    const std::vector<ChosenAdapter> chosen = adapters.load(base);
    const io::Model model = io::Model::open(base);
    std::vector<std::string> warnings;
    const std::vector<Target> targets = changed_weights(model, chosen, adapters, warnings);
    const std::vector<Interference> found = measure(model, targets);
    print(common.json ? json(targets, found) : table(targets, found));
    return 0;
  }

 private:
  using Target = io::MergeTarget;
  using Json = nlohmann::ordered_json;

  std::vector<Interference> measure(const io::Model& model, const std::vector<Target>& targets) const {
    std::vector<Interference> out(targets.size());
    for_each_weight(model, targets, 1, "measuring", common,
                    [&](std::size_t i, std::span<std::byte> weight, const lora::Context& context) {
                      const Target& target = targets[i];
                      io::read_extended(model, target, io::weight_offset(target), weight);
                      with_weight_of(model, target, weight, [&]<class T>(auto W0) {
                        using Compute = lora::compute_t<T>;
                        out[i] = lora::compose::interference<Compute>(io::active_set<Compute>(target.parts), W0, context);
                      });
                    });
    return out;
  }

  static double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }
  static double largest(const std::vector<double>& values) { return values.empty() ? 0 : values.front(); }

  static std::string table(const std::vector<Target>& targets, const std::vector<Interference>& found) {
    Table out({"layer", "adapters", "|delta| / |W0|", "in 2-norm", "stable rank", "intruders", "largest cosine",
               "shared output", "shared input"});
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const Interference& own = found[i];
      double cosine = 0, column = 0, row = 0;
      for (const DeltaPair& pair : own.pairs) {
        if (std::abs(pair.cosine) > std::abs(cosine)) cosine = pair.cosine;
        column = std::max(column, largest(pair.column_cosines));
        row = std::max(row, largest(pair.row_cosines));
      }
      const bool has_pairs = !own.pairs.empty();
      const auto of_pairs = [&](double value) { return has_pairs ? number_text(value, 3) : "-"; };
      out.add({targets[i].module, text(own.updates.size()), percent_text(own.sum.norm, own.weight_norm),
               percent_text(own.sum.spectral_norm, own.weight_spectral_norm), number_text(own.sum.stable_rank, 3),
               text(own.intruders), of_pairs(cosine), of_pairs(column), of_pairs(row)});
    }
    return text(out);
  }

  static Json size_json(const DeltaSize& size, const Interference& own) {
    return {{"rank", size.rank},
            {"norm", size.norm},
            {"relative_norm", ratio(size.norm, own.weight_norm)},
            {"spectral_norm", size.spectral_norm},
            {"relative_spectral_norm", ratio(size.spectral_norm, own.weight_spectral_norm)},
            {"stable_rank", size.stable_rank}};
  }

  static std::string json(const std::vector<Target>& targets, const std::vector<Interference>& found) {
    Json layers = Json::array();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const Interference& own = found[i];
      Json updates = Json::array(), pairs = Json::array();
      const auto name = [&](std::size_t t) { return json_text(targets[i].parts[t].adapter->name); };
      for (std::size_t t = 0; t < own.updates.size(); ++t) {
        Json size = size_json(own.updates[t], own);
        size["adapter"] = name(t);
        updates.push_back(std::move(size));
      }
      for (const DeltaPair& pair : own.pairs)
        pairs.push_back({{"adapters", {name(pair.first), name(pair.second)}},
                         {"inner_product", pair.inner_product},
                         {"cosine", pair.cosine},
                         {"column_cosines", pair.column_cosines},
                         {"row_cosines", pair.row_cosines}});
      layers.push_back({{"name", json_text(targets[i].module)},
                        {"shape", {targets[i].rows, targets[i].cols}},
                        {"weight_norm", own.weight_norm},
                        {"weight_spectral_norm", own.weight_spectral_norm},
                        {"updates", std::move(updates)},
                        {"sum", size_json(own.sum, own)},
                        {"intruders", own.intruders},
                        {"pairs", std::move(pairs)}});
    }
    return Json{{"command", "report"}, {"layers", std::move(layers)}}.dump(2, ' ', true) + '\n';
  }
};

}  // namespace

void add_report(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("report", "Measure adapters beside a model's weights, and beside each other");
  const auto report = std::make_shared<Report>();
  command->add_option("--base", report->base, model_help)->type_name("PATH")->required()->check(not_empty);
  report->adapters.add_to(*command);
  report->common.add_to(*command, false);
  command->footer(
      text("Example:\n"
           "  lora report --base base.safetensors --adapter adapters/games --adapter adapters/science\n\n"
           "For every adapted layer: the sum of the adapters' deltas beside the weight, in Frobenius and in 2-norm; "
           "its stable rank\n"
           "(how many directions carry it); intruders, directions that are stronger in it than in the weight; and of "
           "the pair of\n"
           "adapters that are most alike the cosine of their deltas, and of the smallest angle between what they put "
           "out and between\n"
           "what they read (1: a direction that both have, 0: none). --json has all of it for each adapter and pair. "
           "docs/COMPOSE.md\n"
           "has the formulas.\n\n",
           name_rules, "\n", coefficient_rules));
  command->callback([report, &run] { run = [report] { return report->run(); }; });
}

}  // namespace cli
