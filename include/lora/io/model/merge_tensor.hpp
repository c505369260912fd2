// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What merge, unmerge and switch do to one tensor of a model. For bodies (-inl.hpp).

#include "lora/io/model/merge_effect.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/replace_tensor.hpp"
#include "lora/io/peft/kinds.hpp"
#include "lora/io/safetensors/visit_type.hpp"
#include "lora/io/undo/undo_file.hpp"
#include "lora/weight/merge.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Updates of adapters with their coefficients, for a weight that computes in `Compute`. They are used as they are, unless they
/// have another type: factors of 64 bits are rounded once where the weight computes in float.
template <class Compute>
ActiveSet<Compute> active_set(const std::vector<MergePart>& parts) {
  std::vector<ActiveUpdate<Compute>> updates;
  for (const MergePart& part : parts) updates.emplace_back(update_in<Compute>(part.update), part.coefficient);
  return ActiveSet<Compute>(std::move(updates));
}

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

/// The record goes into the undo file with its updates, when the tensors before it have theirs there.
template <class Compute>
Finish add_record(UndoFileWriter& undo, ActiveSet<Compute> set, UndoRecord record) {
  return [&undo, set = std::move(set), record = std::make_shared<UndoRecord>(std::move(record))] {
    undo.add<Compute>(set, *record);
  };
}

/// Merges a target's updates into its bytes, which are those of the model, and says what that did. What it returns adds the
/// record to `undo`, unless that is null. Throws FileError, naming the module.
LORA_ON_CALL_DECLARED inline Finish merge_tensor(const Model& model, const MergeTarget& target,
                                                 std::span<std::byte> bytes, UndoFileWriter* undo,
                                                 const Context& context, MergeEffect& effect) {
  effect.narrowed = add_rows(target, bytes);
  if (target.parts.empty()) return replace_tensor(model, target, bytes, undo, true, effect.narrowed);
  Finish finish = named(model.shard_of(*target.tensor).path(), "module", target.module, [&] {
    return visit_type(target.type, [&]<class T>(std::type_identity<T>) -> Finish {
      using Compute = compute_t<T>;
      const ActiveSet<Compute> set = active_set<Compute>(target.parts);
      return with_weight<T>(weight_bytes(target, bytes), target.rows, target.cols, target.order, [&](auto weight) -> Finish {
        if (undo != nullptr) return add_record<Compute>(*undo, set, lora::merge(weight, set, context));
        lora::merge_plain(weight, set, context);
        return {};
      });
    });
  });
  effect = effect_of(
      target.type, weight_bytes(target, bytes),
      [&](std::uint64_t offset, std::span<std::byte> into) {
        read_extended(model, target, weight_offset(target) + offset, into);
      },
      effect.narrowed);
  return finish;
}

/// The same for bytes that are no longer those of the model.
LORA_ON_CALL_DECLARED inline Finish merge_unmerged(const Model& model, const MergeTarget& target,
                                                   std::span<std::byte> bytes, UndoFileWriter* undo,
                                                   const Context& context, MergeEffect& effect) {
  effect.narrowed = add_rows(target, bytes);
  if (target.parts.empty()) return replace_tensor(model, target, bytes, undo, false, effect.narrowed);
  const std::span<std::byte> weight = weight_bytes(target, bytes);
  const std::vector<std::byte> before(weight.begin(), weight.end());
  Finish finish = merge_tensor(model, target, bytes, undo, context, effect);
  effect = effect_of(
      target.type, weight,
      [&](std::uint64_t offset, std::span<std::byte> into) {
        std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
      },
      effect.narrowed);
  return finish;
}

/// Whether a weight is the one that was merged into: merged again it is what the record was made for.
template <class T>
bool is_original(const UndoTensor& tensor, std::span<const std::byte> bytes, const ActiveSet<compute_t<T>>& set,
                 const UndoRecord& record, const Context& context) {
  try {
    std::vector<std::byte> again(bytes.begin(), bytes.end());
    with_weight<T>(weight_bytes(tensor, std::span(again)), tensor.rows, tensor.cols, tensor.order, [&](auto weight) {
      lora::merge_plain(weight, set, context);
      lora::unmerge(weight, set, record, context);
    });
    return true;
  } catch (const Error&) {
    return false;
  } catch (const std::bad_alloc&) {  // what is explained matters more
    return false;
  }
}

/// Calls run(), which takes a set out of a tensor by its record, and leaves the bytes alone when that is another's; what it throws then
/// is said with the usual reasons.
template <class T, class Run>
auto explained(const UndoFile& undo, const UndoTensor& tensor, std::span<const std::byte> bytes,
               const ActiveSet<compute_t<T>>& set, const UndoRecord& record, const Context& context, const Run& run) {
  try {
    return run();
  } catch (const RecordError& error) {
    const std::string path = utf8_text(undo.path());
    if (is_original<T>(tensor, bytes, set, record, context))
      throw RecordError(text(error.what(), ": it is the original already, without what the undo file ", in_quotes(path),
                             " would take out"));
    throw RecordError(text(error.what(), ": the undo file ", in_quotes(path),
                           " is another merge's, or a later merge has to be unmerged first, or the weight was changed since"));
  }
}

/// Undoes the merge of a tensor in its bytes. Throws FileError, naming the tensor.
LORA_ON_CALL_DECLARED inline void unmerge_tensor(const Model& model, const UndoFile& undo, const UndoTensor& tensor,
                                                 std::span<std::byte> bytes, const Context& context) {
  if (tensor.replaced) return undo.restore(tensor, bytes);
  const UndoRecord record = undo.record(tensor);
  named(model.shards()[tensor.shard].path(), "tensor", tensor.name, [&] {
    visit_type(tensor.type, [&]<class T>(std::type_identity<T>) {
      const auto set = undo.active_set<compute_t<T>>(tensor);
      with_weight<T>(weight_bytes(tensor, bytes), tensor.rows, tensor.cols, tensor.order,
                     [&](auto weight) {
                       explained<T>(undo, tensor, bytes, set, record, context, [&] { lora::unmerge(weight, set, record, context); });
                     });
    });
  });
}

/// Both in one pass: from what `undo` has recorded to a target's updates. Of the effect only overflows are told: W0 does not
/// come by.
LORA_ON_CALL_DECLARED inline Finish switch_tensor(const Model& model, const UndoFile& undo, const UndoTensor& tensor,
                                                  const MergeTarget& target, std::span<std::byte> bytes,
                                                  UndoFileWriter& new_undo, const Context& context, MergeEffect& effect) {
  // A square weight may have been taken for the transpose by the other adapters: two passes then, as for what is replaced.
  if (tensor.order != target.order || tensor.replaced || target.is_grown() || target.parts.empty()) {
    unmerge_tensor(model, undo, tensor, bytes, context);
    return merge_unmerged(model, target, bytes, &new_undo, context, effect);
  }
  const UndoRecord record = undo.record(tensor);
  return named(model.shards()[tensor.shard].path(), "tensor", tensor.name, [&] {
    return visit_type(tensor.type, [&]<class T>(std::type_identity<T>) -> Finish {
      using Compute = compute_t<T>;
      const ActiveSet<Compute> old_set = undo.active_set<Compute>(tensor), set = active_set<Compute>(target.parts);
      return with_weight<T>(weight_bytes(target, bytes), target.rows, target.cols, target.order, [&](auto weight) -> Finish {
        UndoRecord made = explained<T>(undo, tensor, bytes, old_set, record, context,
                                       [&] { return lora::switch_to(weight, old_set, record, set, context); });
        if (!all_finite(std::span<const T>(weight.data(), static_cast<std::size_t>(weight.size()))))
          effect.overflows = static_cast<std::uint64_t>(lora::overflows(weight, set, made));
        return add_record<Compute>(new_undo, set, std::move(made));
      });
    });
  });
}

}  // namespace io::detail
LORA_NAMESPACE_END
