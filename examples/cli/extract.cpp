// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora extract: an adapter out of a base and a model that was trained as a whole.

#include "commands.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "table.hpp"
#include "text.hpp"

#include <lora/io/model/extract_adapter.hpp>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;

struct Extract {
  fs::path base, tuned, out;
  lora::Index rank = 0;
  double energy = 0;
  bool keeps_others = false;
  AdapterOptions renames;
  CommonOptions common;
  const CLI::App* command = nullptr;

  int run() {
    using lora::compose::Truncation;
    const bool has_rank = command->count("--rank") != 0, has_energy = command->count("--energy") != 0;
    if (!has_rank && !has_energy) throw UsageError("expected --rank or --energy, found neither");
    if (has_energy && !(energy > 0 && energy <= 1))
      throw UsageError(text("--energy: expected a share in (0, 1], found ", number_text(energy)));
    const Truncation truncation = !has_energy ? Truncation::rank(rank)
                                  : has_rank  ? Truncation::energy(energy, rank)
                                              : Truncation::energy(energy);
    expect_apart({base, tuned}, {out});
    note_signals();
    Eigen::setNbThreads(1);  // Eigen's products have the same bits then, whatever --threads says
    Progress progress("extracting", common.quiet);
    io::ExtractOptions options;
    static_cast<io::TaskOptions&>(options) = common.task_options(progress);
    options.keeps_others = keeps_others;
    options.renames = renames.renames();
    options.base_model = io::is_utf8(base.string()) ? base.string() : "";
    options.before_commit = [&](const io::Extraction& found) {
      progress.clear();
      print_warnings(all_warnings(found));
    };
    const io::Extraction found = io::extract_adapter(base, tuned, out, truncation, options);
    print(common.json ? json(found) : report(found));
    return 0;
  }

 private:
  using Json = nlohmann::ordered_json;

  static Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

  static std::vector<std::string> all_warnings(const io::Extraction& found) {
    std::vector<std::string> out = found.warnings;
    for (const io::OtherChange& other : found.others)
      if (!other.is_kept) out.push_back(text("what changed in ", in_quotes(other.tensor), " is lost: ", other.reason));
    return out;
  }

  std::string report(const io::Extraction& found) const {
    Table table({"module", "shape", "rank", "|change|", "error"});
    lora::Index least = 0, most = 0;
    for (const io::ExtractedModule& module : found.modules) {
      table.add({module.path, shape_text(module.shape), text(module.rank), number_text(module.norm),
                 percent_text(module.error, module.norm)});
      least = least == 0 ? module.rank : std::min(least, module.rank);
      most = std::max(most, module.rank);
    }
    std::size_t kept = 0, lost = 0, unknown = 0;
    for (const io::OtherChange& other : found.others) ++(other.is_kept ? kept : other.norm ? lost : unknown);
    std::string lines = found.modules.empty() ? "" : text(table);
    lines += text("extracted ", count_text(found.modules.size(), "module"),
                found.modules.empty() ? "" : least == most ? text(" of rank ", least) : text(" of ranks ", least, " to ", most),
                kept != 0 ? text(", ", count_text(kept, "whole tensor")) : "", " into ", path_text(out), "; ",
                count_text(found.same, "tensor"), " did not change\n");
    const std::optional<double> share = ratio(found.error(), found.norm());
    if (share)
      lines +=
          text("of the whole change (norm ", number_text(found.norm()), ") the adapter lacks ",
               percent_text(found.error(), found.norm()),
               lost != 0 ? text(", ", count_text(lost, "lost tensor"), " included") : "", " (relative, Frobenius)");
    if (unknown != 0)
      lines +=
          text(share ? "; " : "", unknown, " more ", unknown == 1 ? "tensor" : "tensors", " that cannot be compared");
    return lines + (share || unknown != 0 ? "\n" : "");
  }

  std::string json(const io::Extraction& found) const {
    Json modules = Json::array(), others = Json::array();
    for (const io::ExtractedModule& module : found.modules)
      modules.push_back({{"module", json_text(module.path)},
                         {"tensor", json_text(module.tensor)},
                         {"shape", module.shape},
                         {"rank", module.rank},
                         {"norm", module.norm},
                         {"error", module.error},
                         {"relative_error", number(ratio(module.error, module.norm))}});
    for (const io::OtherChange& other : found.others)
      others.push_back({{"tensor", json_text(other.tensor)},
                        {"kept", other.is_kept},
                        {"reason", other.reason},
                        {"norm", number(other.norm)}});
    return Json{{"command", "extract"},           {"out", json_text(out.string())},
                {"modules", std::move(modules)},  {"others", std::move(others)},
                {"unchanged", found.same},        {"norm", found.norm()},
                {"error", found.error()},         {"relative_error", number(ratio(found.error(), found.norm()))},
                {"warnings", all_warnings(found)}}
               .dump(2, ' ', true) +
           '\n';
  }
};

}  // namespace

void add_extract(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("extract", "Make an adapter out of a base and a model that was trained as a whole");
  const auto extract = std::make_shared<Extract>();
  extract->command = command;
  command->add_option("--base", extract->base, model_help)->type_name("PATH")->required()->check(not_empty);
  command->add_option("--tuned", extract->tuned, "The trained model, as --base")
      ->type_name("PATH")
      ->required()
      ->check(not_empty);
  command->add_option("--rank", extract->rank, "The rank of every module; beside --energy: the largest")
      ->type_name("R")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--energy", extract->energy,
                   "For every module the least rank with this share of the sum of squares of its change, in (0, 1]")
      ->type_name("E");
  command->add_flag("--keep-others", extract->keeps_others,
                    "Keep what changed in layers that have no factors (norms, biases) as whole tensors: PEFT's "
                    "modules_to_save and bias");
  extract->renames.add_renames_to(*command);
  command->add_option("--out", extract->out, "A PEFT folder; its two files are replaced when they exist")
      ->type_name("DIR")
      ->required()
      ->check(not_empty);
  extract->common.add_to(*command, false);
  command->footer(
      "Examples:\n"
      "  lora extract --base models/llama --tuned models/llama-tuned --rank 32 --out adapter\n"
      "  lora extract --base base.safetensors --tuned tuned.safetensors --energy 0.99 --rank 64 --out adapter\n\n"
      "The weights of linear layers, embeddings and convolutions that differ become factors, the best there are of "
      "their "
      "rank\n"
      "(leading singular values; large weights by randomised block Krylov spaces). The error of each module is "
      "computed "
      "from both\n"
      "weights and the factors as they are written, in 64 bits. Tensors may be F16, BF16, F32 or F64 on either side; "
      "equal "
      "ones make\n"
      "no module. What else differs is lost, with a warning that names it, and counted in the whole error where both "
      "sides can be\n"
      "compared. Names in the adapter are those of the base's file: where the model's class has others (transformer. "
      "before\n"
      "GPT-2's), --rename transformer= says so, as it does to lora merge.\n"
      "In memory are the factors and the weights that are being decomposed.");
  command->callback([extract, &run] { run = [extract] { return extract->run(); }; });
}

}  // namespace cli
