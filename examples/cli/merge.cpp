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
  fs::path base, undo;
  Target target;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    target.expect_one(base);
    if (target.in_place && undo.empty()) throw UsageError("--in-place: expected --undo as well, found none");
    note_signals();
    const std::vector<ChosenAdapter> chosen = adapters.load(common, base);
    std::vector<fs::path> inputs = files_of(chosen);
    inputs.push_back(base);
    expect_apart(inputs, {target.out, undo});
    const Summary summary{"merge", chosen, target.in_place ? base : target.out, undo, target.in_place};
    Progress progress("merging", common.quiet);
    io::ModelOptions options = model_options(common, progress, [&](const io::ModelChange& change) {
      return common.json ? summary.json(change) : summary.text(change);
    });
    options.renames = adapters.renames();
    if (target.in_place)
      io::merge_in_place(base, active(chosen), undo, options);
    else
      io::merge_model(base, active(chosen), target.out, undo, options);
    target.note_finished();
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
  merge->target.add_to(*command);
  command
      ->add_option("--undo", merge->undo,
                   "Also write what `lora unmerge` and `lora switch` need; replaced when it exists (with --in-place: a new file)")
      ->type_name("FILE")
      ->check(not_empty);
  merge->common.add_to(*command, true);
  command->footer(text(
      "Examples:\n"
      "  lora merge --base base.safetensors --adapter adapters/games --adapter adapters/science=0.5 \\\n"
      "    --out merged.safetensors --undo merged.undo\n"
      "  lora merge --base models/llama --adapter adapters/games --out models/llama-games --undo llama-games.undo\n"
      "  lora merge --base models/llama --adapter adapters/games --in-place --undo llama-games.undo\n\n",
      name_rules, "\n", coefficient_rules, "\n\n", leftover_rules, "\n\n", in_place_help));
  command->callback([merge, &run] { run = [merge] { return merge->run(); }; });
}

}  // namespace cli
