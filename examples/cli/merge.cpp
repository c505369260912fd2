// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora merge: writes W' = round(W0 + sum of weight s B A) for every adapted tensor, all others as they are.

#include "commands.hpp"
#include "files.hpp"

#include <lora/weight/merge.hpp>

#include <iostream>

namespace cli {
namespace {

namespace io = lora::io;

struct Merge {
  AdapterOptions options;
  fs::path out, undo;
  int threads = 0;

  int run() const {
    use_threads(threads);
    const std::vector<ChosenAdapter> adapters = options.load();
    expect_apart({options.base}, {out, undo});
    for (const ChosenAdapter& chosen : adapters)
      expect_apart({chosen.adapter.folder / "adapter_model.safetensors", chosen.adapter.folder / "adapter_config.json"},
                   {out, undo});
    const io::Safetensors base = io::Safetensors::open(options.base);
    const std::vector<Target> targets = plan_merge(base, adapters);

    io::SafetensorsWriter merged(out, base.header());
    std::optional<io::UndoFileWriter> record;
    if (!undo.empty()) record.emplace(undo, base.header(), undo_tensors(targets));
    auto next = targets.begin();
    const io::RestChecksum rest = copy_tensors(base, merged, [&](const io::TensorInfo& tensor) {
      if (next == targets.end() || next->tensor != &tensor) return false;
      merge_tensor(base, *next++, merged, record);
      return true;
    });
    base.file().expect_unchanged();

    // The undo file first: a merged file without its undo file cannot be taken back.
    merged.flush();
    if (record) {
      record->finish(rest);
      record->commit();
    }
    merged.commit();
    report(base, adapters, targets, record ? record->record_bytes() : 0);
    return 0;
  }

 private:
  static std::vector<io::UndoTensor> undo_tensors(const std::vector<Target>& targets) {
    std::vector<io::UndoTensor> out;
    for (const Target& target : targets) {
      std::vector<io::UndoUpdate> updates;
      for (const Part& part : target.parts)
        updates.push_back({part.chosen->adapter.name,
                           std::visit([](const auto& update) { return update.scaling_rule(); }, part.module->update),
                           part.chosen->weight, part.module->rank()});
      out.push_back({target.tensor->name, target.type, target.rows, target.cols, target.order, std::move(updates)});
    }
    return out;
  }

  static void merge_tensor(const io::Safetensors& base, const Target& target, io::SafetensorsWriter& merged,
                           std::optional<io::UndoFileWriter>& record) {
    with_weight(target.type, target.order, [&]<class T, lora::StorageOrder Order>() {
      using Compute = lora::compute_t<T>;
      lora::Matrix<T, Order> W(target.rows, target.cols);
      base.read(*target.tensor, 0, bytes_of(W));
      try {
        const Updates<Compute> updates(target);
        if (record)
          record->add<Compute>(updates.set, lora::merge(W, updates.set));
        else
          lora::merge_plain(W, updates.set);
      } catch (const lora::ValueError& error) {
        io::detail::fail(base.path(), "module ", io::detail::in_quotes(target.module), ": ", io::detail::bare(error));
      }
      merged.write_at(target.tensor->begin, bytes_of(W));
    });
  }

  void report(const io::Safetensors& base, const std::vector<ChosenAdapter>& adapters,
              const std::vector<Target>& targets, std::uint64_t record_bytes) const {
    std::uint64_t weight_bytes = 0;
    for (const Target& target : targets) weight_bytes += target.tensor->bytes();
    std::cout << "merged ";
    for (const ChosenAdapter& chosen : adapters)
      std::cout << (&chosen == adapters.data() ? "" : ", ") << io::printable(chosen.adapter.name) << " (weight "
                << number_text(chosen.weight, 6) << ")";
    std::cout << " into " << targets.size() << " of " << base.tensors().size() << " tensors, "
              << size_text(weight_bytes) << ": " << io::printable(out.string()) << '\n';
    if (!undo.empty())
      std::cout << "undo records take "
                << percent_text(static_cast<double>(record_bytes), static_cast<double>(weight_bytes))
                << " of these weights, and the factors are kept: " << io::printable(undo.string()) << '\n';
  }
};

}  // namespace

void add_merge(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand(
      "merge", "Merge adapters into a model's file: W' = W0 + sum of WEIGHT s B A, rounded once");
  const auto merge = std::make_shared<Merge>();
  merge->options.add_to(*command);
  command->add_option("--out", merge->out, "The merged file; replaced when it exists")
      ->type_name("FILE")
      ->required()
      ->check(not_empty);
  command
      ->add_option("--undo", merge->undo,
                   "Also write what `lora unmerge` needs to give the original back; replaced when it exists")
      ->type_name("FILE")
      ->check(not_empty);
  add_threads_option(*command, merge->threads);
  command->footer(
      std::string("Example:\n"
                  "  lora merge --base base.safetensors --adapter adapters/games --adapter adapters/science=0.5 \\\n"
                  "    --out merged.safetensors --undo merged.undo\n\n") +
      name_rules);
  command->callback([merge, &run] { run = [merge] { return merge->run(); }; });
}

}  // namespace cli
