// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora unmerge: gives back the file that was merged, byte for byte.

#include "commands.hpp"
#include "files.hpp"

#include <lora/weight/merge.hpp>

#include <iostream>

namespace cli {
namespace {

namespace io = lora::io;

struct Unmerge {
  fs::path merged, undo, out;
  int threads = 0;

  int run() const {
    use_threads(threads);
    expect_apart({merged, undo}, {out});
    const io::UndoFile record = io::UndoFile::open(undo);
    const io::Safetensors from = io::Safetensors::open(merged);
    record.expect_made_for(from);
    std::unordered_map<const io::TensorInfo*, const io::UndoTensor*> merged_tensors;
    for (const io::UndoTensor& tensor : record.tensors()) merged_tensors[from.find(tensor.name)] = &tensor;

    io::SafetensorsWriter restored(out, from.header());
    const io::RestChecksum rest = copy_tensors(from, restored, [&](const io::TensorInfo& tensor) {
      const auto found = merged_tensors.find(&tensor);
      if (found == merged_tensors.end()) return false;
      restore_tensor(record, from, tensor, *found->second, restored);
      return true;
    });
    record.expect_rest(merged, rest);
    from.file().expect_unchanged();
    record.file().file().expect_unchanged();
    restored.commit();
    std::cout << "restored " << record.tensors().size() << " of " << from.tensors().size()
              << " tensors, every byte of the original file: " << io::printable(out.string()) << '\n';
    return 0;
  }

 private:
  static void restore_tensor(const io::UndoFile& file, const io::Safetensors& from, const io::TensorInfo& info,
                             const io::UndoTensor& tensor, io::SafetensorsWriter& restored) {
    const lora::UndoRecord record = file.record(tensor);
    with_weight(tensor.type, tensor.order, [&]<class T, lora::StorageOrder Order>() {
      using Compute = lora::compute_t<T>;
      lora::Matrix<T, Order> W(tensor.rows, tensor.cols);
      from.read(info, 0, bytes_of(W));
      const std::vector<lora::LowRank<Compute>> updates = file.updates<Compute>(tensor);
      std::vector<lora::Weighted<Compute>> set;
      for (std::size_t i = 0; i < updates.size(); ++i) set.push_back({&updates[i], tensor.updates[i].weight});
      try {
        lora::unmerge(W, set, record);
      } catch (const lora::Error& error) {
        io::detail::fail(from.path(), "tensor ", io::detail::in_quotes(tensor.name), ": ", io::detail::bare(error));
      }
      restored.write_at(info.begin, bytes_of(W));
    });
  }
};

}  // namespace

void add_unmerge(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand("unmerge", "Give back the file that was merged, byte for byte");
  const auto unmerge = std::make_shared<Unmerge>();
  command->add_option("--merged", unmerge->merged, "The merged file, unchanged since")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  command->add_option("--undo", unmerge->undo, "The undo file that `lora merge` wrote with it")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  command->add_option("--out", unmerge->out, "The restored file; replaced when it exists")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  add_threads_option(*command, unmerge->threads);
  command->footer(
      "Example:\n"
      "  lora unmerge --merged merged.safetensors --undo merged.undo --out restored.safetensors\n\n"
      "The adapters and the original file are not needed. Of a merged file that was changed since, or is another "
      "file's,\n"
      "nothing is restored.");
  command->callback([unmerge, &run] { run = [unmerge] { return unmerge->run(); }; });
}

}  // namespace cli
