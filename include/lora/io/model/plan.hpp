// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which tensors of a model get which updates of which adapters. For bodies (-inl.hpp).

#include "lora/io/model/bind_modules.hpp"
#include "lora/io/peft/linear_factors.hpp"
#include "lora/io/undo/undo_tensor.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What one tensor gets from one adapter.
struct MergePart {
  const Adapter* adapter;
  const AdapterModule* module;
  double coefficient;
};

/// One tensor that is to be merged.
struct MergeTarget {
  const ModelTensor* tensor;
  std::string module;  ///< the path of the module, as in the adapter
  ScalarType type;
  Index rows, cols;  ///< out and in
  StorageOrder order;
  std::vector<MergePart> parts;  ///< in the order of the adapters

  Index rank() const {
    Index sum = 0;
    for (const MergePart& part : parts) sum += part.module->rank();
    return sum;
  }
};

/// Throws ValueError for a rename that no module's path begins with, and for two of one beginning.
inline void expect_used(std::span<const Rename> renames, const std::vector<ActiveAdapter>& adapters) {
  for (const Rename& rename : renames) {
    const auto begins = [&](const AdapterModule& module) { return begins_with(module.path, rename.from); };
    if (std::none_of(adapters.begin(), adapters.end(), [&](const ActiveAdapter& active) {
          return std::any_of(active.adapter.modules.begin(), active.adapter.modules.end(), begins);
        }))
      throw ValueError(text("lora: the rename of ", in_quotes(rename.from), " to ", in_quotes(rename.to),
                            ": expected modules whose paths begin with ", in_quotes(rename.from),
                            ", found none in the adapters"));
    if (std::count_if(renames.begin(), renames.end(), [&](const Rename& other) { return other.from == rename.from; }) !=
        1)
      throw ValueError(text("lora: the rename of ", in_quotes(rename.from), ": expected one, found several"));
  }
}

/// The tensors of `base` that the adapters change, in the order of its tensors; see bind(). `read` gives the bytes of
/// the base's tensors before any merge. Throws FileError, and ValueError for coefficients that are not finite or all
/// 0.
inline std::vector<MergeTarget> plan_merge(const Model& base, const std::vector<ActiveAdapter>& adapters,
                                           std::span<const Rename> renames, std::vector<std::string>* warnings,
                                           ReadBase read) {
  expect_used(renames, adapters);
  std::unordered_map<const ModelTensor*, MergeTarget> targets;
  std::vector<BoundModule> used;
  for (const auto& [adapter, coefficient] : adapters) {
    if (!lora::detail::is_finite(coefficient))
      throw ValueError(
          text("lora: the adapter ", in_quotes(adapter.name), ": expected a finite coefficient, found ", coefficient));
    for (const BoundModule& bound : bind_modules(base, adapter, renames, read)) {
      const MergeTarget wanted{
          &bound.tensor(), bound.module().path, bound.type(), bound.rows(), bound.cols(), bound.order(), {}};
      MergeTarget& target = targets.try_emplace(&bound.tensor(), wanted).first->second;
      if (wanted.rows != target.rows || wanted.cols != target.cols || wanted.order != target.order)
        fail(base.shard_of(bound.tensor()).path(), "tensor ", in_quotes(bound.tensor().info->name),
             ": expected adapters that agree on fan_in_fan_out, found ",
             in_quotes(target.parts.front().adapter->folder.string()), " and ", in_quotes(adapter.folder.string()),
             " with different values");
      target.parts.push_back({&adapter, &bound.module(), coefficient});
      if (!lora::detail::is_zero(coefficient)) used.push_back(bound);
    }
  }
  std::vector<MergeTarget> out;
  for (const ModelTensor& tensor : base.tensors()) {
    const auto at = targets.find(&tensor);
    if (at == targets.end()) continue;
    std::erase_if(at->second.parts, [](const MergePart& part) { return lora::detail::is_zero(part.coefficient); });
    if (!at->second.parts.empty()) out.push_back(std::move(at->second));
  }
  if (out.empty()) throw ValueError("lora: the adapters: expected a coefficient other than 0, found 0 for all");
  expect_untied_head(base, used, warnings);
  return out;
}
/// Of a base that nothing was merged into.
inline std::vector<MergeTarget> plan_merge(const Model& base, const std::vector<ActiveAdapter>& adapters,
                                           std::span<const Rename> renames, std::vector<std::string>* warnings) {
  return plan_merge(base, adapters, renames, warnings,
                    [&](const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) {
                      base.read(tensor, offset, into);
                    });
}

/// An update as an undo file describes it. Throws FileError for one of a kind that it cannot hold.
inline UndoUpdate undo_update(const MergePart& part) {
  try {
    const LinearFactors factors = linear_factors(part.module->update);
    return {part.adapter->name, factors.rule, part.coefficient, factors.rank(),
            factors.is_dora() ? UndoUpdate::Kind::dora : UndoUpdate::Kind::lora};
  } catch (const ValueError& error) {
    fail(part.adapter->folder, "module ", in_quotes(part.module->path), ": ", bare(error));
  }
}

/// The targets as an undo file describes them.
inline std::vector<UndoTensor> undo_tensors(const std::vector<MergeTarget>& targets) {
  std::vector<UndoTensor> out;
  for (const MergeTarget& target : targets) {
    std::vector<UndoUpdate> updates;
    for (const MergePart& part : target.parts)
      updates.push_back(undo_update(part));
    out.push_back({target.tensor->info->name, target.tensor->shard, target.type, target.rows, target.cols, target.order,
                   std::move(updates)});
  }
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
