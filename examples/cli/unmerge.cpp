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
  fs::path merged, undo;
  Target target;
  CommonOptions common;

  int run() {
    target.expect_one(merged);
    note_signals();
    expect_apart({merged, undo}, {target.out});
    Progress progress("unmerging", common.quiet);
    const io::ModelOptions options =
        model_options(common, progress, [&](const io::ModelChange& change) { return report(change); });
    if (target.in_place)
      io::unmerge_in_place(merged, undo, options);
    else
      io::unmerge_model(merged, undo, target.out, options);
    target.note_finished();
    return 0;
  }

 private:
  std::string report(const io::ModelChange& change) const {
    const fs::path& out = target.in_place ? merged : target.out;
    if (common.json) {
      nlohmann::ordered_json result{{"command", "unmerge"},
                                    {"out", json_text(io::utf8_text(out))},
                                    {"tensors", change.tensors},
                                    {"restored_tensors", change.changed_tensors}};
      if (target.in_place) result["in_place"] = true;
      result["warnings"] = change.warnings;
      return result.dump(2, ' ', true) + '\n';
    }
    std::string said =
        text("restored ", change.changed_tensors, " of ", count_text(change.tensors, "tensor"),
             ", every byte of the original ", change.is_folder ? "files" : "file", target.in_place ? ", in place: " : ": ",
             path_text(out), '\n');
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
  unmerge->target.add_to(*command);
  unmerge->common.add_to(*command, true);
  command->footer(text(
      "Examples:\n"
      "  lora unmerge --merged merged.safetensors --undo merged.undo --out restored.safetensors\n"
      "  lora unmerge --merged models/llama-games --undo llama-games.undo --out models/llama-again\n\n"
      "The adapters and the original model are not needed. Of a merged model that was changed since, or is another\n"
      "model's, nothing is restored. Files that have been added to a merged folder are left out.\n\n",
      leftover_rules, "\n\n", in_place_help));
  command->callback([unmerge, &run] { run = [unmerge] { return unmerge->run(); }; });
}

}  // namespace cli
