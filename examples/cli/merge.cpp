// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora merge: writes W' = round(W0 + sum of coefficient s B A) for every adapted tensor, all others as they are.

#include "commands.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "text.hpp"

namespace cli {
namespace {

namespace io = lora::io;

struct Merge {
  fs::path base, out, undo;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    note_signals();
    const std::vector<ChosenAdapter> chosen = adapters.load(base);
    std::vector<fs::path> inputs = files_of(chosen);
    inputs.push_back(base);
    expect_apart(inputs, {out, undo});
    const Summary summary{"merge", chosen, out, undo};
    Progress progress("merging", common.quiet);
    io::ModelOptions options = model_options(common, progress, [&](const io::ModelChange& change) {
      return common.json ? summary.json(change) : summary.text(change);
    });
    options.renames = adapters.renames();
    io::merge_model(base, active(chosen), out, undo, options);
    return 0;
  }
};

}  // namespace

void add_merge(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("merge", "Merge adapters into a model: W' = W0 + sum of COEFFICIENT s B A, rounded once");
  const auto merge = std::make_shared<Merge>();
  command->add_option("--base", merge->base, model_help)->type_name("PATH")->required()->check(not_empty);
  merge->adapters.add_to(*command);
  command->add_option("--out", merge->out, out_help)->type_name("PATH")->required()->check(not_empty);
  command
      ->add_option("--undo", merge->undo,
                   "Also write what `lora unmerge` and `lora switch` need; replaced when it exists")
      ->type_name("FILE")
      ->check(not_empty);
  merge->common.add_to(*command, true);
  command->footer(text(
      "Examples:\n"
      "  lora merge --base base.safetensors --adapter adapters/games --adapter adapters/science=0.5 \\\n"
      "    --out merged.safetensors --undo merged.undo\n"
      "  lora merge --base models/llama --adapter adapters/games --out models/llama-games --undo llama-games.undo\n\n",
      name_rules, "\n", coefficient_rules, "\n\n", leftover_rules));
  command->callback([merge, &run] { run = [merge] { return merge->run(); }; });
}

}  // namespace cli
