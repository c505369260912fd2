// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "merging.hpp"

#include "commands.hpp"
#include "signals.hpp"
#include "table.hpp"
#include "text.hpp"

#include <iostream>

#include <nlohmann/json.hpp>

namespace cli {

namespace io = lora::io;

const char* const model_help =
    "A model: a safetensors or GGUF file, or a folder with model.safetensors, with shards and their index, or with GGUF parts";
const char* const out_help =
    "The new model, of the same kind: a file (replaced when it exists), or a folder (a new or empty one)";

const char* const in_place_help =
    "With --in-place the model's own files are changed, without room for a second copy: the undo file is complete and on\n"
    "disk before. Until a few moments after that an interrupt takes everything back, then the change is finished. When\n"
    "the program is killed or the machine fails meanwhile, `lora recover MODEL` puts the model right.";

void Target::add_to(CLI::App& command) {
  command.add_option("--out", out, out_help)->type_name("PATH")->check(not_empty);
  command.add_flag("--in-place", in_place, "Change the model's own files instead");
}

void Target::expect_one(const fs::path& model) const {
  if (out.empty() && !in_place) throw UsageError("--out is required, or --in-place");
  std::error_code ignored;
  if (!out.empty() && fs::equivalent(out, model, ignored))
    throw UsageError("--out: " + path_text(out) + " is the model itself: give it another name, or change the model's own files with --in-place");
  const bool is_gguf = io::is_gguf_file(model);
  if (!out.empty() && !fs::is_directory(model, ignored) && out.extension() == (is_gguf ? ".safetensors" : ".gguf"))
    throw UsageError(cli::text("--out: expected a name for ", is_gguf ? "a GGUF" : "a safetensors", " file, as the model is, found ",
                               path_text(out), ": files keep their format"));
  if (!out.empty() && in_place) throw UsageError("--in-place: expected no --out beside it, found " + io::utf8_text(out));
}

void Target::note_finished() const {
  if (in_place && noted_signal() != 0) std::cerr << "lora: interrupted too late: the change in place was finished\n";
}

std::string Summary::text(const io::ModelChange& change) const {
  std::string names;
  for (const ChosenAdapter& chosen : adapters)
    names += cli::text(names.empty() ? "" : ", ", io::printable(chosen.adapter.name), " (coefficient ",
                       number_text(chosen.coefficient, 6), ")");
  std::string out_text = cli::text(std::string_view(command) == "merge" ? "merged " : "switched to ", names, " in ",
                                   change.changed_tensors, " of ", count_text(change.tensors, "tensor"), ", ",
                                   size_text(change.changed_bytes), in_place ? ", in place: " : ": ", path_text(out), '\n');
  if (!undo.empty())
    out_text +=
        cli::text("undo records take ",
                  percent_text(static_cast<double>(change.record_bytes), static_cast<double>(change.changed_bytes)),
                  " of these weights, and the factors are kept: ", path_text(undo), '\n');
  return out_text;
}

std::string Summary::json(const io::ModelChange& change) const {
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  for (const ChosenAdapter& chosen : adapters)
    names.push_back({{"name", json_text(chosen.adapter.name)}, {"weight", chosen.coefficient}});
  nlohmann::ordered_json result{{"command", command},
                                {"out", json_text(io::utf8_text(out))},
                                {"undo", nullptr},
                                {"adapters", std::move(names)},
                                {"tensors", change.tensors},
                                {"merged_tensors", change.changed_tensors},
                                {"merged_bytes", change.changed_bytes},
                                {"record_bytes", change.record_bytes},
                                {"warnings", all_warnings(adapters, change.warnings)}};
  if (!undo.empty()) result["undo"] = json_text(io::utf8_text(undo));
  if (in_place) result["in_place"] = true;
  return result.dump(2, ' ', true) + '\n';
}

io::ModelOptions model_options(const CommonOptions& common, Progress& progress,
                               std::function<std::string(const io::ModelChange&)> report) {
  io::ModelOptions out;
  static_cast<io::TaskOptions&>(out) = common.task_options(progress);
  out.sync = common.no_sync ? io::Sync::no : io::Sync::yes;
  out.before_commit = [&progress, report = std::move(report)](const io::ModelChange& change) {
    progress.clear();
    print_warnings(change.warnings);
    print(report(change));
  };
  return out;
}

void print(const std::string& report) {
  std::cout << report;
  if (!std::cout.flush()) throw lora::Error("lora: cannot write to the standard output");
}

std::vector<std::string> all_warnings(const std::vector<ChosenAdapter>& adapters,
                                      const std::vector<std::string>& warnings) {
  std::vector<std::string> out;
  for (const ChosenAdapter& chosen : adapters) out.insert(out.end(), chosen.warnings.begin(), chosen.warnings.end());
  out.insert(out.end(), warnings.begin(), warnings.end());
  return out;
}

void print_warnings(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) std::cerr << "lora: warning: " << warning << '\n';
}

nlohmann::ordered_json replacements_json(const io::Adapter& adapter) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const io::BaseCopy& copy : adapter.base_copies) {
    const io::TensorInfo& info = adapter.file->tensor(copy.name);
    nlohmann::ordered_json row{{"name", json_text(copy.tensor)},
                               {"dtype", io::name(info.dtype)},
                               {"shape", info.shape},
                               {"trained", copy.is_trained}};
    row["rows"] = copy.rows.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(copy.rows);
    out.push_back(std::move(row));
  }
  return out;
}

std::string replacements_table(const io::Adapter& adapter) {
  if (adapter.base_copies.empty()) return "";
  Table table({"whole tensor", "dtype", "shape", "what"});
  for (const io::BaseCopy& copy : adapter.base_copies) {
    const io::TensorInfo& info = adapter.file->tensor(copy.name);
    table.add({copy.tensor, std::string(io::name(info.dtype)), shape_text(info.shape),
               !copy.rows.empty() ? "replaces " + count_text(copy.rows.size(), "row")
               : copy.is_trained  ? std::string("replaces, or is new")
                                  : std::string("copy of the base's")});
  }
  return text(table);
}

}  // namespace cli
