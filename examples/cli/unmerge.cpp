// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora unmerge: gives back the model that was merged, byte for byte.

#include "commands.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "text.hpp"

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;

struct Unmerge {
  fs::path merged, undo, out;
  CommonOptions common;

  int run() {
    note_signals();
    expect_apart({merged, undo}, {out});
    Progress progress("unmerging", common.quiet);
    io::unmerge_model(merged, undo, out,
                      model_options(common, progress, [&](const io::ModelChange& change) { return report(change); }));
    return 0;
  }

 private:
  std::string report(const io::ModelChange& change) const {
    if (common.json)
      return nlohmann::ordered_json{{"command", "unmerge"},
                                    {"out", json_text(out.string())},
                                    {"tensors", change.tensors},
                                    {"restored_tensors", change.changed_tensors}}
                 .dump(2, ' ', true) +
             '\n';
    std::string said =
        text("restored ", change.changed_tensors, " of ", count_text(change.tensors, "tensor"),
             ", every byte of the original ", change.is_folder ? "files: " : "file: ", path_text(out), '\n');
    if (change.left_out_files != 0)
      said += text("left out ", count_text(change.left_out_files, "file"), " that the original folder did not have\n");
    return said;
  }
};

}  // namespace

void add_unmerge(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand("unmerge", "Give back the model that was merged, byte for byte");
  const auto unmerge = std::make_shared<Unmerge>();
  command->add_option("--merged", unmerge->merged, "The merged file or folder, unchanged since")
      ->type_name("PATH")
      ->required()
      ->check(not_empty);
  command->add_option("--undo", unmerge->undo, "The undo file that was written with it")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  command->add_option("--out", unmerge->out, out_help)->type_name("PATH")->required()->check(not_empty);
  unmerge->common.add_to(*command, true);
  command->footer(text(
      "Examples:\n"
      "  lora unmerge --merged merged.safetensors --undo merged.undo --out restored.safetensors\n"
      "  lora unmerge --merged models/llama-games --undo llama-games.undo --out models/llama-again\n\n"
      "The adapters and the original model are not needed. Of a merged model that was changed since, or is another\n"
      "model's, nothing is restored. Files that have been added to a merged folder are left out.\n\n",
      leftover_rules));
  command->callback([unmerge, &run] { run = [unmerge] { return unmerge->run(); }; });
}

}  // namespace cli
