// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora report: how large adapters are beside a model's weights, and how they get in each other's way.

#include "commands.hpp"
#include "members.hpp"
#include "report_data.hpp"
#include "table.hpp"
#include "text.hpp"
#include "weights.hpp"

#include <atomic>
#include <cmath>
#include <deque>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
using lora::compose::DeltaPair;
using lora::compose::DeltaSize;
using lora::compose::Interference;

/// Samples of what modules read, out of files of --inputs.
class CalibrationInputs {
 public:
  /// One file for all adapters, or one for each.
  CalibrationInputs(const std::vector<fs::path>& files, std::size_t adapters) {
    if (files.size() > 1 && files.size() != adapters)
      throw UsageError(
          text("--inputs: expected one file, or one for each of ", adapters, " adapters, found ", files.size()));
    for (const fs::path& file : files) files_.emplace_back(io::Safetensors::open(file));
  }
  bool empty() const { return files_.empty(); }

  /// in x n for each of these adapters; nothing where one's file has no tensor of the module's name, or its weight's.
  /// Throws FileError, also for numbers that are not finite.
  std::optional<std::vector<lora::Matrix<float>>> of(const std::vector<std::size_t>& adapters,
                                                     const std::string& module, lora::Index in) {
    std::vector<const io::TensorInfo*> found;
    for (const std::size_t adapter : adapters) {
      File& file = file_of(adapter);
      const io::TensorInfo* tensor = file.tensors.find(module);
      if (tensor == nullptr) tensor = file.tensors.find(module + ".weight");
      (tensor == nullptr ? file.lacking : file.used) = true;
      found.push_back(tensor);
    }
    if (std::find(found.begin(), found.end(), nullptr) != found.end()) return std::nullopt;
    is_used_ = true;
    std::vector<lora::Matrix<float>> out;
    for (std::size_t k = 0; k < found.size(); ++k) out.push_back(read(file_of(adapters[k]).tensors, *found[k], in));
    return out;
  }

  /// Throws FileError when a file has none of its adapters' layers, or no layer has samples for all of its adapters.
  void expect_used(const std::vector<ReportLayer>& layers) const {
    if (files_.empty() || layers.empty()) return;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (files_[i].used || !files_[i].lacking) continue;
      const auto is_asked = [&](const ReportLayer& layer) {
        return !layer.inputs.empty() && (files_.size() == 1 || layer.update_of(i));
      };
      const auto wanted = std::find_if(layers.begin(), layers.end(), is_asked);
      fail(files_[i].tensors.path(), "expected inputs of an adapted module, as ", in_quotes(wanted->inputs),
           ", found none");
    }
    if (!is_used_)
      fail(files_.front().tensors.path(),
           "expected inputs of a module that the files of all its adapters have, found none");
  }

 private:
  struct File {
    explicit File(io::Safetensors opened) : tensors(std::move(opened)) {}
    io::Safetensors tensors;
    std::atomic<bool> used = false, lacking = false;  // asked for a module that it has, that it lacks
  };
  File& file_of(std::size_t adapter) { return files_[files_.size() == 1 ? 0 : adapter]; }

  static lora::Matrix<float> read(const io::Safetensors& file, const io::TensorInfo& found, lora::Index in) {
    const auto wanted = static_cast<std::uint64_t>(in);
    if (found.shape.size() != 2 || (found.shape[0] != wanted && found.shape[1] != wanted) || found.bytes() == 0)
      fail(file.path(), "tensor ", in_quotes(found.name), ": expected n x ", in, " or ", in,
           " x n numbers, found the shape ", shape_text(found.shape));
    const lora::Matrix<float> stored = file.read_matrix<float>(found);
    for (lora::Index i = 0; i < stored.rows(); ++i)
      for (lora::Index j = 0; j < stored.cols(); ++j)
        if (!std::isfinite(stored(i, j)))
          fail(file.path(), "tensor ", in_quotes(found.name), ": expected finite numbers, found ",
               std::isnan(stored(i, j)) ? "NaN" : "infinity", " at (", i, ", ", j, ")");
    return found.shape[1] == wanted ? lora::Matrix<float>(stored.transpose()) : stored;
  }

  std::deque<File> files_;
  std::atomic<bool> is_used_ = false;
};

struct ReportCommand {
  fs::path base, html;
  std::vector<fs::path> inputs;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    const std::vector<ChosenAdapter> chosen = adapters.load(common, base);
    if (!html.empty()) {
      std::vector<fs::path> read = files_of(chosen);
      read.push_back(base);
      read.insert(read.end(), inputs.begin(), inputs.end());
      expect_apart(read, {html});
    }
    CalibrationInputs samples(inputs, chosen.size());
    const io::Model model = io::Model::open(base);
    std::vector<std::string> warnings;
    const std::vector<Target> targets = changed_weights(model, chosen, adapters, warnings);
    const Report report = measure(model, targets, chosen, samples);
    samples.expect_used(report.layers);
    if (!html.empty()) {
      io::OutputFile file(html);
      file.write(report_page(report));
      file.flush();
      file.commit();
    }
    print(common.json ? json(report, all_warnings(chosen, warnings)) : text(table(report.layers), forecast_text(report)));
    return 0;
  }

 private:
  using Target = io::MergeTarget;
  using Json = nlohmann::ordered_json;

  Report measure(const io::Model& model, const std::vector<Target>& targets, const std::vector<ChosenAdapter>& chosen,
                 CalibrationInputs& samples) const {
    Report out{path_text(base), {}, {}, std::vector<ReportLayer>(targets.size())};
    for (const ChosenAdapter& one : chosen) {
      out.adapters.push_back(one.adapter.name);
      out.coefficients.push_back(one.coefficient);
    }
    out.adapters = distinct_names(out.adapters);
    for_each_weight(model, targets, 1, "measuring", common,
                    [&](std::size_t i, std::span<std::byte> weight, const lora::Context& context) {
                      const Target& target = targets[i];
                      ReportLayer& layer = out.layers[i];
                      layer.name = name_of(target);
                      if (parameter_of(target) != "bias") layer.inputs = path_of(target);
                      layer.rows = target.rows;
                      layer.cols = target.cols;
                      for (const io::MergePart& part : target.parts)
                        for (std::size_t k = 0; k < chosen.size(); ++k)
                          if (part.adapter == &chosen[k].adapter) layer.adapters.push_back(k);
                      io::read_extended(model, target, io::weight_offset(target), weight);
                      with_weight_of(model, target, weight, [&]<class T>(auto W0) {
                        using Compute = lora::compute_t<T>;
                        const auto measure_set = [&](const lora::ActiveSet<Compute>& set) {
                          layer.measures = lora::compose::interference<Compute>(set, W0, context);
                          layer.change = output_change<Compute>(set, layer, samples);
                        };
                        with_members<Compute>(target.parts, measure_set, [&](const lora::ActiveSet<Compute>& set) {
                          static_cast<void>(lora::compose::interference<Compute>(set, context));
                        });
                      });
                    });
    return out;
  }

  static const std::string& parameter_of(const Target& target) { return target.parts.front().module->parameter; }

  /// A module's weight has the module's name, its bias is `<module>.bias`.
  static std::string path_of(const Target& target) {
    const std::string& parameter = parameter_of(target);
    return parameter == "weight" ? target.module : text(target.module, ".", parameter);
  }

  /// No two targets have the same.
  static std::string name_of(const Target& target) {
    const bool is_numbered = target.expert >= 0 && parameter_of(target) != "weight";
    return is_numbered ? text(path_of(target), "[", target.expert, "]") : path_of(target);
  }

  template <class Compute>
  static std::optional<lora::compose::OutputChange> output_change(const lora::ActiveSet<Compute>& set,
                                                                  const ReportLayer& layer,
                                                                  CalibrationInputs& samples) {
    if (samples.empty() || layer.inputs.empty()) return std::nullopt;
    const auto memory = samples.of(layer.adapters, layer.inputs, layer.cols);
    if (!memory) return std::nullopt;
    std::vector<lora::MatrixView> views;
    for (const lora::Matrix<float>& X : *memory) views.push_back(lora::view_of(X));
    return lora::compose::output_change<Compute>(set, views);
  }

  static Json ratio_json(double part, double whole) {
    const std::optional<double> found = ratio(part, whole);
    return found ? Json(*found) : Json(nullptr);
  }
  static double largest(const std::vector<double>& values) { return values.empty() ? 0 : values.front(); }

  static std::string table(const std::vector<ReportLayer>& layers) {
    Table out({"layer", "adapters", "|delta| / |W0|", "in 2-norm", "stable rank", "intruders", "largest cosine",
               "shared output", "shared input"});
    for (const ReportLayer& layer : layers) {
      const Interference& own = layer.measures;
      double cosine = 0, column = 0, row = 0;
      for (const DeltaPair& pair : own.pairs) {
        if (std::abs(pair.cosine) > std::abs(cosine)) cosine = pair.cosine;
        column = std::max(column, largest(pair.column_cosines));
        row = std::max(row, largest(pair.row_cosines));
      }
      const bool has_pairs = !own.pairs.empty();
      const auto of_pairs = [&](double value) { return has_pairs ? number_text(value, 3) : "-"; };
      out.add({layer.name, text(own.updates.size()), percent_text(own.sum.norm, own.weight_norm),
               percent_text(own.sum.spectral_norm, own.weight_spectral_norm), number_text(own.sum.stable_rank, 3),
               text(own.intruders), of_pairs(cosine), of_pairs(column), of_pairs(row)});
    }
    return text(out);
  }

  static std::string forecast_text(const Report& report) {
    const std::string sentence = capacity_text(report, report.forecast());
    return sentence.empty() ? "" : text("forecast: ", sentence, '\n');
  }

  /// Of each adapter in the sum of all, and of k such adapters; null where no two of them meet.
  static Json forecast_json(const Report& report) {
    const lora::compose::Forecast forecast = report.forecast();
    if (!report.has_pairs() || forecast.changing() < 2) return nullptr;
    Json retained = Json::array(), curve = Json::array(), capacity;
    for (std::size_t t = 0; t < report.adapter_count(); ++t)
      retained.push_back({{"adapter", json_text(report.adapters[t])},
                          {"crosstalk", forecast.crosstalk(t)},
                          {"signal", forecast.signal(t)},
                          {"retained", forecast.retained(t)}});
    for (lora::Index k = 1; k <= 256; k *= 2) curve.push_back({{"adapters", k}, {"retained", forecast.retained_by(k)}});
    for (const double share : {0.9, kept_share, 0.5}) {
      const lora::Index most = forecast.capacity(share);
      capacity[number_text(share, 2)] = most == lora::compose::Forecast::unlimited ? Json(nullptr) : Json(most);
    }
    return {{"retained", std::move(retained)}, {"curve", std::move(curve)}, {"capacity", std::move(capacity)}};
  }

  static Json size_json(const DeltaSize& size, const Interference& own) {
    return {{"rank", size.rank},
            {"norm", size.norm},
            {"relative_norm", ratio_json(size.norm, own.weight_norm)},
            {"spectral_norm", size.spectral_norm},
            {"relative_spectral_norm", ratio_json(size.spectral_norm, own.weight_spectral_norm)},
            {"stable_rank", size.stable_rank}};
  }

  static std::string json(const Report& report, const std::vector<std::string>& warnings) {
    Json layers = Json::array(), all_pairs = Json::array();
    for (const AdapterPair& pair : report.pairs())
      all_pairs.push_back({{"adapters", {json_text(report.adapters[pair.first]), json_text(report.adapters[pair.second])}},
                           {"layers", pair.layers},
                           {"cosine", pair.cosine},
                           {"shared_output", pair.output},
                           {"shared_input", pair.input},
                           {"shared_by_chance", pair.chance}});
    for (const ReportLayer& layer : report.layers) {
      const Interference& own = layer.measures;
      Json updates = Json::array(), pairs = Json::array();
      const auto name = [&](std::size_t t) { return json_text(report.adapters[layer.adapters[t]]); };
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
      layers.push_back({{"name", json_text(layer.name)},
                        {"shape", {layer.rows, layer.cols}},
                        {"weight_norm", own.weight_norm},
                        {"weight_spectral_norm", own.weight_spectral_norm},
                        {"updates", std::move(updates)},
                        {"sum", size_json(own.sum, own)},
                        {"intruders", own.intruders},
                        {"pairs", std::move(pairs)}});
      if (layer.change) {
        Json rows = Json::array();
        for (std::size_t i = 0; i < own.updates.size(); ++i) {
          Json row = Json::array();
          for (std::size_t j = 0; j < own.updates.size(); ++j) row.push_back(layer.change->relative(i, j));
          rows.push_back(std::move(row));
        }
        layers.back()["output_change"] = std::move(rows);
      }
    }
    return Json{{"command", "report"},
                {"forecast", forecast_json(report)},
                {"pairs", std::move(all_pairs)},
                {"layers", std::move(layers)},
                {"warnings", warnings}}.dump(2, ' ', true) + '\n';
  }
};

}  // namespace

void add_report(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("report", "Measure adapters beside a model's weights, and beside each other");
  const auto report = std::make_shared<ReportCommand>();
  command->add_option("--base", report->base, model_help)->type_name("PATH")->required()->check(not_empty);
  report->adapters.add_to(*command);
  command->add_option("--html", report->html, "Write a page for a browser as well: one file, without scripts, that loads nothing")
      ->type_name("FILE")
      ->check(not_empty);
  command
      ->add_option("--inputs", report->inputs,
                   "A safetensors file with samples of what modules read: one for all adapters, or given once for each, in their order")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->check(not_empty);
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
           "has the formulas. --html draws which adapters fight, in which layers, and how large they are.\n"
           "The last line is a forecast from the factors alone: how many adapters such as these a plain sum takes if "
           "they are to keep\n"
           "80 % of what they do alone on average (docs/STACKING.md).\n\n"
           "Files of --inputs have one tensor per module, of the module's name or its weight's (a parameter's of "
           "target_parameters has\n"
           "its own): n x in, as PyTorch has activations, or in x n where only that fits. With them --json has, per "
           "layer,\n"
           "output_change: of adapter i (row) on the inputs of j (column), ||D_i X_j|| / ||D_j X_j||. Layers that a "
           "file lacks are\n"
           "passed over, and biases, which read nothing.\n\n",
           name_rules, "\n", coefficient_rules));
  command->callback([report, &run] { run = [report] { return report->run(); }; });
}

}  // namespace cli
