// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora switch: from merged adapters to others, in one pass; the files are those of a fresh merge into the original.

#include "commands.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "text.hpp"

namespace cli {
namespace {

namespace io = lora::io;

struct Switch {
  fs::path merged, undo, new_undo;
  Target target;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    target.expect_one(merged);
    note_signals();
    const std::vector<ChosenAdapter> chosen = adapters.load(common, merged, false);
    std::vector<fs::path> inputs = files_of(chosen);
    inputs.insert(inputs.end(), {merged, undo});
    expect_apart(inputs, {target.out, new_undo});
    const Summary summary{"switch", chosen, target.in_place ? merged : target.out, new_undo, target.in_place};
    Progress progress("switching", common.quiet);
    io::ModelOptions options = model_options(common, progress, [&](const io::ModelChange& change) {
      return common.json ? summary.json(change) : summary.text(change);
    });
    options.renames = adapters.renames();
    if (target.in_place)
      io::switch_in_place(merged, undo, active(chosen), new_undo, options);
    else
      io::switch_model(merged, undo, active(chosen), target.out, new_undo, options);
    target.note_finished();
    return 0;
  }
};

}  // namespace

void add_switch(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand(
      "switch", "Go from merged adapters to others in one pass; as a fresh merge, byte for byte");
  const auto change = std::make_shared<Switch>();
  command->add_option("--merged", change->merged, "The merged file or folder, unchanged since")
      ->type_name("PATH")
      ->required()
      ->check(not_empty);
  command->add_option("--undo", change->undo, "The undo file that was written with it")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  change->adapters.add_to(*command);
  change->target.add_to(*command);
  command->add_option("--new-undo,--undo-out", change->new_undo, "The new model's undo file; replaced when it exists (with --in-place: a new file)")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  change->common.add_to(*command, true);
  command->footer(text(
      "Example:\n"
      "  lora switch --merged games.safetensors --undo games.undo --adapter adapters/science \\\n"
      "    --out science.safetensors --new-undo science.undo\n\n"
      "What was merged before is taken out, in the same pass. The original model is not needed; both files written\n"
      "are, byte for byte, those of merging these adapters into it.\n\n",
      name_rules, "\n", coefficient_rules, "\n\n", leftover_rules, "\n\n", in_place_help));
  command->callback([change, &run] { run = [change] { return change->run(); }; });
}

}  // namespace cli
