// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What commands share that go through the weights that adapters change and leave the model as it is.

#include "merging.hpp"
#include "text.hpp"

#include <lora/io/model/merge_plan.hpp>

namespace cli {

/// The weights that something is computed for: those that adapters only replace or bring are left out. Prints the warnings that it
/// appends to `warnings`.
inline std::vector<lora::io::MergeTarget> changed_weights(const lora::io::Model& model, const std::vector<ChosenAdapter>& chosen,
                                                          const AdapterOptions& adapters, std::vector<std::string>& warnings) {
  warnings = model.warnings();
  auto targets = lora::io::plan_merge(model, active(chosen), adapters.renames(), &warnings).targets;
  std::erase_if(targets, [](const lora::io::MergeTarget& target) { return target.parts.empty(); });
  print_warnings(warnings);
  return targets;
}

/// Calls work(i, memory, context) for every weight, on the threads that the options say, beside a progress bar; the memory is as large
/// as `copies` of the weight. Throws FileError when the model has changed meanwhile.
template <class Work>
void for_each_weight(const lora::io::Model& model, const std::vector<lora::io::MergeTarget>& targets, std::uint64_t copies,
                     const char* verb, const CommonOptions& common, const Work& work) {
  std::vector<lora::io::Task> tasks;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::uint64_t bytes = copies * lora::io::weight_size(targets[i]);
    tasks.push_back({bytes, [&work, i, bytes](lora::io::Buffer& buffer, const lora::Context& context) -> lora::io::Finish {
                       work(i, buffer.get(static_cast<std::size_t>(bytes)), context);
                       return {};
                     }});
  }
  Progress progress(verb, common.quiet);
  lora::io::run_tasks(tasks, common.task_options(progress));
  model.expect_unchanged();
}

/// Calls run.operator()<T>(W) with the bytes of a weight as an Eigen::Map of its elements; errors name the file and the module.
template <class Run>
void with_weight_of(const lora::io::Model& model, const lora::io::MergeTarget& target, std::span<std::byte> bytes, const Run& run) {
  naming(model.shard_of(*target.tensor).path(), target.module, [&] {
    lora::io::visit_type(target.type, [&]<class T>(std::type_identity<T>) {
      lora::io::with_weight<T>(bytes, target.rows, target.cols, target.order, [&](auto W) { run.template operator()<T>(W); });
    });
  });
}

}  // namespace cli
