// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora merge: writes W' = round(W0 + sum of weight s B A) for every adapted tensor, all others as they are.

#include "commands.hpp"
#include "merging.hpp"
#include "text.hpp"

namespace cli {
namespace {

namespace io = lora::io;

struct Merge {
  fs::path base, out, undo;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    common.prepare();
    note_signals();
    const std::vector<ChosenAdapter> chosen = adapters.load();
    std::vector<fs::path> inputs = files_of(chosen);
    inputs.push_back(base);
    expect_apart(inputs, {out, undo});
    const io::Model model = io::Model::open(base);
    const std::vector<Target> targets = plan_merge(model, chosen);
    const std::vector<std::string> copies = model.other_files();
    warn_of_other_weights(copies);

    io::ModelWriter merged(model, out, common.sync());
    std::optional<io::UndoFileWriter> record;
    if (!undo.empty()) record.emplace(undo, model, undo_tensors(targets), copies, common.sync());
    Rewrite rewrite(model, merged, copies, record.has_value());
    for (const Target& target : targets)
      rewrite.change(*target.tensor, false, true, [&](std::span<std::byte> bytes) {
        return merge_tensor(model, target, bytes, record ? &*record : nullptr);
      });
    rewrite.run(common, "merging");
    if (record) record->finish(rewrite.rest_after(), rewrite.copies());
    commit(merged, record ? &*record : nullptr, report(model, chosen, targets, record ? record->record_bytes() : 0));
    return 0;
  }

 private:
  std::string report(const io::Model& model, const std::vector<ChosenAdapter>& chosen,
                     const std::vector<Target>& targets, std::uint64_t record_bytes) const {
    Summary summary{"merge", model, chosen, targets, out, undo, record_bytes};
    return common.json ? summary.json() : summary.text();
  }
};

}  // namespace

void add_merge(CLI::App& program, Run& run) {
  CLI::App* command =
      program.add_subcommand("merge", "Merge adapters into a model: W' = W0 + sum of WEIGHT s B A, rounded once");
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
      name_rules, "\n", weight_rules, "\n\n", leftover_rules));
  command->callback([merge, &run] { run = [merge] { return merge->run(); }; });
}

}  // namespace cli
