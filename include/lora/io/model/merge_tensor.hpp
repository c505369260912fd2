// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What merge, unmerge and switch do to one tensor of a model. For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/model/plan.hpp"
#include "lora/io/model/tasks.hpp"
#include "lora/io/safetensors/visit_type.hpp"
#include "lora/io/undo/undo_file.hpp"
#include "lora/weight/merge.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Updates in the compute type and their coefficients. Those of adapters are used where they lie, unless they have another
/// type: factors of 64 bits are rounded once where the weight computes in float.
template <class Compute>
class UpdateSet {
 public:
  explicit UpdateSet(const std::vector<MergePart>& parts) {
    for (const MergePart& part : parts)
      std::visit([&](const auto& update) { add(update, part.coefficient); }, part.module->update);
  }
  UpdateSet(const UndoFile& file, const UndoTensor& tensor) {
    std::vector<LowRank<Compute>> updates = file.updates<Compute>(tensor);
    for (std::size_t i = 0; i < updates.size(); ++i) keep(std::move(updates[i]), tensor.updates[i].coefficient);
  }

  ActiveSet<Compute> set() const { return set_; }

 private:
  template <class Scalar>
  void add(const LowRank<Scalar>& update, double coefficient) {
    if constexpr (std::is_same_v<Scalar, Compute>)
      set_.push_back({&update, coefficient});
    else
      keep(update.template cast<Compute>(), coefficient);
  }
  void keep(LowRank<Compute> update, double coefficient) {
    kept_.push_back(std::make_unique<const LowRank<Compute>>(std::move(update)));
    set_.push_back({kept_.back().get(), coefficient});
  }

  std::vector<std::unique_ptr<const LowRank<Compute>>> kept_;
  std::vector<Weighted<Compute>> set_;
};

/// Calls run(weight) with the bytes of a tensor as the rows x cols weight they are: an Eigen::Map of T in their order.
template <class T, class Run>
auto with_weight(std::span<std::byte> bytes, Index rows, Index cols, StorageOrder order, const Run& run) {
  T* const data = reinterpret_cast<T*>(bytes.data());
  if (order == row_major) return run(Eigen::Map<Matrix<T, row_major>>(data, rows, cols));
  return run(Eigen::Map<Matrix<T, column_major>>(data, rows, cols));
}

/// Calls run(); what the library throws about a layer becomes a FileError that names the file and the layer (`kind` is
/// "module" or "tensor").
template <class Run>
auto named(const std::filesystem::path& file, std::string_view kind, std::string_view name, const Run& run) {
  try {
    return run();
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    fail(file, kind, " ", in_quotes(name), ": ", bare(error));
  }
}

/// The record goes into the undo file with its factors, when the tensors before it have theirs there.
template <class Compute>
Finish add_record(UndoFileWriter& undo, std::shared_ptr<const UpdateSet<Compute>> updates, UndoRecord record) {
  return [&undo, updates = std::move(updates), record = std::make_shared<UndoRecord>(std::move(record))] {
    undo.add<Compute>(updates->set(), *record);
  };
}

/// Merges a target's updates into its bytes; what it returns adds the record to `undo`, unless that is null. Throws
/// FileError, naming the module.
LORA_ON_CALL_DECLARED inline Finish merge_tensor(const Model& model, const MergeTarget& target,
                                                 std::span<std::byte> bytes, UndoFileWriter* undo) {
  return named(model.shard_of(*target.tensor).path(), "module", target.module, [&] {
    return visit_type(target.type, [&]<class T>(std::type_identity<T>) -> Finish {
      using Compute = compute_t<T>;
      const auto updates = std::make_shared<const UpdateSet<Compute>>(target.parts);
      return with_weight<T>(bytes, target.rows, target.cols, target.order, [&](auto weight) -> Finish {
        if (undo != nullptr) return add_record<Compute>(*undo, updates, lora::merge(weight, updates->set()));
        lora::merge_plain(weight, updates->set());
        return {};
      });
    });
  });
}

/// Undoes the merge of a tensor in its bytes. Throws FileError, naming the tensor.
LORA_ON_CALL_DECLARED inline void unmerge_tensor(const Model& model, const UndoFile& undo, const UndoTensor& tensor,
                                                 std::span<std::byte> bytes) {
  const UndoRecord record = undo.record(tensor);
  named(model.shards()[tensor.shard].path(), "tensor", tensor.name, [&] {
    visit_type(tensor.type, [&]<class T>(std::type_identity<T>) {
      const UpdateSet<compute_t<T>> updates(undo, tensor);
      with_weight<T>(bytes, tensor.rows, tensor.cols, tensor.order,
                     [&](auto weight) { lora::unmerge(weight, updates.set(), record); });
    });
  });
}

/// Both in one pass: from what `undo` has recorded to a target's updates.
LORA_ON_CALL_DECLARED inline Finish switch_tensor(const Model& model, const UndoFile& undo, const UndoTensor& tensor,
                                                  const MergeTarget& target, std::span<std::byte> bytes,
                                                  UndoFileWriter& new_undo) {
  // A square weight may have been taken for the transpose by the other adapters: two passes then.
  if (tensor.order != target.order) {
    unmerge_tensor(model, undo, tensor, bytes);
    return merge_tensor(model, target, bytes, &new_undo);
  }
  const UndoRecord record = undo.record(tensor);
  return named(model.shards()[tensor.shard].path(), "tensor", tensor.name, [&] {
    return visit_type(tensor.type, [&]<class T>(std::type_identity<T>) -> Finish {
      using Compute = compute_t<T>;
      const UpdateSet<Compute> old_updates(undo, tensor);
      const auto updates = std::make_shared<const UpdateSet<Compute>>(target.parts);
      return with_weight<T>(bytes, target.rows, target.cols, target.order, [&](auto weight) -> Finish {
        return add_record<Compute>(new_undo, updates,
                                   lora::switch_to(weight, old_updates.set(), record, updates->set()));
      });
    });
  });
}

}  // namespace io::detail
LORA_NAMESPACE_END
