// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which tensors of a model get which updates of which adapters. For bodies (-inl.hpp).

#include "lora/io/model/bind_modules.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What one weight gets from one adapter.
struct MergePart {
  const Adapter* adapter;
  const AdapterModule* module;
  AdapterUpdate update;  ///< the module's, for the weight
  double coefficient;
};

/// One weight that is to be merged into, or a tensor that is to be replaced.
struct MergeTarget {
  const ModelTensor* tensor;
  std::string module;  ///< the path of the module, as in the adapter
  ScalarType type;
  Index rows, cols;  ///< out and in
  StorageOrder order;
  Index expert;                  ///< which matrix of the tensor it is, -1: all of it
  std::vector<MergePart> parts;  ///< in the order of the adapters; none for a tensor that is replaced
  const Adapter* replacing = nullptr;
  const BaseCopy* replacement = nullptr;

  Index rank() const {
    Index sum = 0;
    for (const MergePart& part : parts) sum += part.module->rank();
    return sum;
  }
};

/// Throws ValueError for a rename that no module's path begins with, and for two of one beginning.
inline void expect_used(std::span<const Rename> renames, const std::vector<ActiveAdapter>& adapters) {
  for (const Rename& rename : renames) {
    const auto begins = [&](const AdapterModule& module) {
      const FlatPrefix* const prefix = module.is_flat ? find_flat_prefix(module.path) : nullptr;
      return begins_with(module.path, rename.from) ||
             (prefix != nullptr && is_rename_of_prefix(rename, prefix->prefix));
    };
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
  std::map<std::pair<const ModelTensor*, Index>, MergeTarget> targets;  // of a model's tensors in their order
  std::vector<BoundModule> used;
  std::vector<Replacement> replaced;
  bool any_coefficient = false;
  for (const auto& [adapter, coefficient] : adapters) {
    if (!lora::detail::is_finite(coefficient))
      throw ValueError(
          text("lora: the adapter ", in_quotes(adapter.name), ": expected a finite coefficient, found ", coefficient));
    const BoundAdapter all = bind_modules(base, adapter, renames, read);
    if (warnings != nullptr) warnings->insert(warnings->end(), all.warnings.begin(), all.warnings.end());
    if (lora::detail::is_zero(coefficient)) continue;  // it has to fit all the same
    any_coefficient = true;
    for (const Replacement& found : all.replacements) {
      replaced.push_back(found);
      const TensorInfo& info = *found.tensor->info;
      const MergeTarget wanted{found.tensor,
                               found.copy->tensor,
                               scalar_type(info.dtype).value_or(ScalarType::float32),
                               0,
                               0,
                               row_major,
                               -1,
                               {},
                               &adapter,
                               found.copy};
      const auto [place, is_new] = targets.try_emplace({found.tensor, -1}, wanted);
      // PEFT writes a bias twice that both bias and modules_to_save name.
      if (!is_new && place->second.replacing == &adapter &&
          are_equal(*adapter.file, *place->second.replacement, *found.copy))
        continue;
      if (!is_new)
        fail(adapter.folder, "tensor ", in_quotes(found.copy->name), ": expected one adapter to change ",
             in_quotes(info.name), ", since this one replaces it, found another before it");
    }
    for (const BoundModule& bound : all.modules) {
      const MergeTarget wanted{&bound.tensor(), bound.module().path, bound.type(),   bound.rows(),
                               bound.cols(),    bound.order(),       bound.expert(), {}};
      MergeTarget& target = targets.try_emplace({&bound.tensor(), bound.expert()}, wanted).first->second;
      if (target.replacement != nullptr)
        fail(adapter.folder, "module ", in_quotes(bound.module().path), ": expected the base's ",
             in_quotes(bound.tensor().info->name), " to change, found it replaced by ",
             in_quotes(target.replacement->name), " of ", in_quotes(target.replacing->folder.string()));
      if (wanted.rows != target.rows || wanted.cols != target.cols || wanted.order != target.order)
        fail(base.shard_of(bound.tensor()).path(), "tensor ", in_quotes(bound.tensor().info->name),
             ": expected adapters that agree on fan_in_fan_out, found ",
             in_quotes(target.parts.front().adapter->folder.string()), " and ", in_quotes(adapter.folder.string()),
             " with different values");
      target.parts.push_back({&adapter, &bound.module(), bound.update(), coefficient});
      used.push_back(bound);
    }
  }
  std::vector<MergeTarget> out;
  for (auto& [place, target] : targets) {
    if (!out.empty() && out.back().tensor == target.tensor && out.back().expert < 0)
      fail(base.shard_of(*target.tensor).path(), "tensor ", in_quotes(target.tensor->info->name),
           ": expected adapters that change the whole of it or its experts, found both");
    out.push_back(std::move(target));
  }
  if (!any_coefficient) throw ValueError("lora: the adapters: expected a coefficient other than 0, found 0 for all");
  if (out.empty()) throw ValueError("lora: the adapters: expected a change, found only copies of what the base has");
  expect_untied_head(base, used, replaced, warnings);
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

/// The targets as an undo file describes them. Throws FileError for an update of a kind that it cannot hold.
inline std::vector<UndoTensor> undo_tensors(const std::vector<MergeTarget>& targets) {
  std::vector<UndoTensor> out;
  for (const MergeTarget& target : targets) {
    UndoTensor tensor{
        target.tensor->info->name, target.tensor->shard, target.type, target.rows, target.cols, target.order, {}};
    tensor.expert = target.expert;
    tensor.shape = target.tensor->info->shape;
    if (target.replacement != nullptr)
      tensor.replaced = UndoReplacement{target.tensor->info->dtype, target.replacement->rows};
    for (const MergePart& part : target.parts) {
      try {
        tensor.updates.push_back(std::visit(
            [&](const auto& shared) { return undo_update(part.adapter->name, *shared, part.coefficient, target.type); },
            part.update));
      } catch (const ValueError& error) {
        fail(part.adapter->folder, "module ", in_quotes(part.module->path), ": ", bare(error));
      }
    }
    out.push_back(std::move(tensor));
  }
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
