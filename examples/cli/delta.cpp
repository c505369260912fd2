// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora delta: the numbers a merge adds, as a file.

#include "commands.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <lora/io/model/merge_plan.hpp>

#include <map>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;

struct Delta {
  AdapterOptions adapters;
  fs::path out;
  std::string dtype = "f32";
  CommonOptions common;

  int run() {
    note_signals();
    const std::vector<ChosenAdapter> chosen = adapters.load(common);
    expect_apart(files_of(chosen), {out});
    const std::vector<Module> modules = collect(chosen);
    if (dtype == "f64")
      write<double>(chosen, modules);
    else
      write<float>(chosen, modules);
    return 0;
  }

 private:
  struct Module {
    std::string path, tensor;  // an expert's tensor has [EXPERT] in its name
    lora::Index rows, cols;
    std::vector<io::MergePart> parts;
  };

  /// The adapters' modules, in the order in which they come first.
  static std::vector<Module> collect(const std::vector<ChosenAdapter>& chosen) {
    std::vector<Module> out;
    std::map<std::string, std::size_t> places;
    for (const ChosenAdapter& one : chosen)
      for (const io::AdapterModule& module : one.adapter.modules) {
        if (io::has_gains(module.update) || module.rows() < 0 || module.cols() < 0)
          fail(one.adapter.folder, "module ", in_quotes(module.path), ": expected an update with a delta of its own, found ",
               module.update.kind(),
               io::has_gains(module.update) ? ": what it changes depends on the base's weight"
                                            : ", which has no shape without the base's weight");
        const std::string name = module.expert < 0 ? module.tensor_name() : text(module.tensor_name(), "[", module.expert, "]");
        const auto [place, is_new] = places.try_emplace(name, out.size());
        if (is_new) out.push_back({module.path, name, module.rows(), module.cols(), {}});
        Module& known = out[place->second];
        if (known.rows != module.rows() || known.cols != module.cols())
          fail(one.adapter.folder, "module ", in_quotes(module.path), ": expected an update of ",
               shape_text(known.rows, known.cols), ", as in ", in_quotes(io::utf8_text(known.parts.front().adapter->folder)),
               ", found ", shape_text(module.rows(), module.cols()));
        known.parts.push_back({&one.adapter, &module, module.update, one.coefficient});
      }
    return out;
  }

  template <class Compute>
  void write(const std::vector<ChosenAdapter>& chosen, const std::vector<Module>& modules) const {
    std::vector<io::TensorInfo> tensors;
    for (const Module& module : modules)
      tensors.push_back({module.tensor,
                         std::is_same_v<Compute, double> ? io::DType::F64 : io::DType::F32,
                         {static_cast<std::uint64_t>(module.rows), static_cast<std::uint64_t>(module.cols)}});
    io::SafetensorsWriter file(out, tensors, {{"format", "lora-delta"}}, common.sync());
    std::vector<io::Task> tasks;
    for (std::size_t i = 0; i < modules.size(); ++i)
      tasks.push_back({file.header().tensors()[i].bytes(), [&, i](io::Buffer&, const lora::Context& context) -> io::Finish {
                         const Module& module = modules[i];
                         naming(module.parts.front().adapter->folder, module.path, [&] {
                           const auto set = io::active_set<Compute>(module.parts);
                           const auto D = lora::delta<Compute>(set, module.rows, module.cols, context);
                           file.write_at(file.header().tensors()[i].begin,
                                         std::as_bytes(std::span(D.data(), static_cast<std::size_t>(D.size()))));
                         });
                         return {};
                       }});
    Progress progress("delta", common.quiet);
    const io::TaskOptions options = common.task_options(progress);
    io::run_tasks(tasks, options);
    progress.clear();
    file.flush();
    io::expect_not_cancelled(options);
    print(report(chosen, modules.size(), file.header().data_bytes()));
    file.commit();
  }

  /// Whole tensors are none of the deltas: what they change depends on the base.
  std::string report(const std::vector<ChosenAdapter>& chosen, std::size_t modules, std::uint64_t bytes) const {
    using Json = nlohmann::ordered_json;
    Json replacements = Json::array();
    std::string tables;
    std::vector<std::string> warnings;
    for (const ChosenAdapter& one : chosen) {
      for (Json& row : replacements_json(one.adapter)) replacements.push_back(std::move(row));
      tables += replacements_table(one.adapter);
      const auto& copies = one.adapter.base_copies;
      const auto count =
          std::count_if(copies.begin(), copies.end(), [](const io::BaseCopy& copy) { return copy.is_trained; });
      if (count != 0)
        warnings.push_back(text("the adapter ", in_quotes(one.adapter.name), " also replaces ",
                                count_text(static_cast<std::uint64_t>(count), "tensor"),
                                ", which have no delta of their own"));
    }
    print_warnings(warnings);
    if (common.json)
      return Json{{"command", "delta"},
                  {"out", json_text(io::utf8_text(out))},
                  {"modules", modules},
                  {"bytes", bytes},
                  {"replacements", std::move(replacements)},
                  {"warnings", all_warnings(chosen, warnings)}}
                 .dump(2, ' ', true) +
             '\n';
    return text("deltas of ", count_text(modules, "module"), ", ", size_text(bytes), ": ", path_text(out), '\n',
                tables);
  }
};

}  // namespace

void add_delta(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("delta", "Write what a merge adds: sum of COEFFICIENT s B A for every module");
  const auto delta = std::make_shared<Delta>();
  delta->adapters.add_to(*command, false);
  command->add_option("--out", delta->out, "A safetensors file; replaced when it exists")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  command->add_option("--dtype", delta->dtype, "f32 or f64: what is computed in, and written (default f32)")
      ->type_name("TYPE")
      ->check(CLI::IsMember({"f32", "f64"}));
  delta->common.add_to(*command, true);
  command->footer(text(
      "Example:\n"
      "  lora delta --adapter adapters/games --adapter adapters/science=0.5 --out delta.safetensors\n\n"
      "The tensor M.weight is the delta of the adapters' module M: always (out, in), also where the base stores the\n"
      "transpose (fan_in_fan_out); a convolution's is out x (in * kernel), an expert's has the name M.PARAMETER[EXPERT]. f32 are the very numbers that a merge adds to F16, BF16 and F32 weights, f64 those\n"
      "it adds to F64 ones.\n",
      coefficient_rules));
  command->callback([delta, &run] { run = [delta] { return delta->run(); }; });
}

}  // namespace cli
