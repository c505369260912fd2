// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora switch: from merged adapters to others, in one pass; the files are those of a fresh merge into the original.

#include "commands.hpp"
#include "merging.hpp"
#include "text.hpp"

#include <map>

namespace cli {
namespace {

namespace io = lora::io;

struct Switch {
  fs::path merged, undo, out, new_undo;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    common.prepare();
    note_signals();
    const std::vector<ChosenAdapter> chosen = adapters.load();
    std::vector<fs::path> inputs = files_of(chosen);
    inputs.insert(inputs.end(), {merged, undo});
    expect_apart(inputs, {out, new_undo});
    const io::UndoFile old = io::UndoFile::open(undo);
    const io::Model from = io::Model::open(merged);
    old.expect_made_for(from);
    const std::vector<Target> targets = plan_merge(from, chosen);
    const std::vector<std::string> copies = copies_of(old);
    warn_of_other_weights(copies);

    io::ModelWriter to(from, out, common.sync());
    io::UndoFileWriter record(new_undo, from, undo_tensors(targets), copies, common.sync());
    Rewrite rewrite(from, to, copies, true);
    std::map<const io::ModelTensor*, const io::UndoTensor*> merged_before;
    for (const io::UndoTensor& tensor : old.tensors()) {
      merged_before[&from.tensor(tensor.name)] = &tensor;
      rewrite.change(from.tensor(tensor.name), true, false, [&](std::span<std::byte> bytes) {
        unmerge_tensor(from, old, tensor, bytes);
        return Finish();
      });
    }
    for (const Target& target : targets) {
      const auto found = merged_before.find(target.tensor);
      const io::UndoTensor* const before = found == merged_before.end() ? nullptr : found->second;
      rewrite.change(*target.tensor, before != nullptr, true, [&, before](std::span<std::byte> bytes) {
        if (before == nullptr) return merge_tensor(from, target, bytes, &record);
        return switch_tensor(from, old, *before, target, bytes, record);
      });
    }
    rewrite.run(common, "switching");
    old.expect_rest(from, rewrite.rest_before(), rewrite.copies());
    old.file().file().expect_unchanged();
    record.finish(rewrite.rest_after(), rewrite.copies());
    const Summary summary{"switch", from, chosen, targets, out, new_undo, record.record_bytes()};
    commit(to, &record, common.json ? summary.json() : summary.text());
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
  command->add_option("--out", change->out, out_help)->type_name("PATH")->required()->check(not_empty);
  command->add_option("--new-undo,--undo-out", change->new_undo, "The new model's undo file; replaced when it exists")
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
      name_rules, "\n", weight_rules, "\n\n", leftover_rules));
  command->callback([change, &run] { run = [change] { return change->run(); }; });
}

}  // namespace cli
