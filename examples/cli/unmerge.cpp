// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora unmerge: gives back the model that was merged, byte for byte.

#include "commands.hpp"
#include "merging.hpp"
#include "text.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;

struct Unmerge {
  fs::path merged, undo, out;
  CommonOptions common;

  int run() {
    common.prepare();
    note_signals();
    expect_apart({merged, undo}, {out});
    const io::UndoFile record = io::UndoFile::open(undo);
    const io::Model from = io::Model::open(merged);
    record.expect_made_for(from);

    io::ModelWriter restored(from, out, common.sync());
    Rewrite rewrite(from, restored, copies_of(record), true);
    for (const io::UndoTensor& tensor : record.tensors())
      rewrite.change(from.tensor(tensor.name), true, false, [&](std::span<std::byte> bytes) {
        unmerge_tensor(from, record, tensor, bytes);
        return Finish();
      });
    rewrite.run(common, "unmerging");
    record.expect_rest(from, rewrite.rest_before(), rewrite.copies());
    record.file().file().expect_unchanged();
    commit(restored, nullptr, report(from, record));
    return 0;
  }

 private:
  /// The files that were put into the merged folder. As they do not matter, nor does one that cannot be examined.
  static std::size_t count_others(const io::Model& from, const io::UndoFile& record) {
    try {
      const std::vector<std::string> files = from.other_files();
      std::vector<std::string> copies = copies_of(record);
      std::sort(copies.begin(), copies.end());
      return static_cast<std::size_t>(std::count_if(files.begin(), files.end(), [&](const std::string& file) {
        return !std::binary_search(copies.begin(), copies.end(), file);
      }));
    } catch (const io::FileError&) {
      return 0;
    }
  }

  std::string report(const io::Model& from, const io::UndoFile& record) const {
    if (common.json)
      return nlohmann::ordered_json{{"command", "unmerge"},
                                    {"out", json_text(out.string())},
                                    {"tensors", from.tensors().size()},
                                    {"restored_tensors", record.tensors().size()}}
                 .dump(2, ' ', true) +
             '\n';
    std::string said =
        text("restored ", record.tensors().size(), " of ", count_text(from.tensors().size(), "tensor"),
             ", every byte of the original ", from.is_folder() ? "files: " : "file: ", path_text(out), '\n');
    const std::size_t others = count_others(from, record);
    if (others != 0) said += text("left out ", count_text(others, "file"), " that the original folder did not have\n");
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
