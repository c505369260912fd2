// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/adapters/formats.hpp"
#include "lora/io/model/merge_model.hpp"
#include "lora/io/model/merge_tensor.hpp"
#include "lora/io/model/model_files.hpp"
#include "lora/io/model/plan.hpp"
#include "lora/io/model/rewrite.hpp"

#include <map>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// The other files that belong to the model of an undo file.
inline std::vector<std::string> copies_of(const UndoFile& undo) {
  std::vector<std::string> out;
  for (const UndoCopy& copy : undo.copies()) out.push_back(copy.file);
  return out;
}

/// The files without those of an adapter in the base's own folder, of which it warns: to the merged weights they do
/// not belong.
inline std::vector<std::string> without_adapter(std::vector<std::string> files, std::vector<std::string>& warnings) {
  std::vector<std::string> left_out;
  std::erase_if(files, [&](const std::string& file) {
    if (!is_adapter_file(file)) return false;
    left_out.push_back(file);
    return true;
  });
  if (!left_out.empty())
    warnings.push_back(text(
        "the base's folder holds an adapter, which programs that load the merged folder would apply on top: left out ",
        some_of(left_out)));
  return files;
}

/// Warns of files with weights among those that are only copied: a program that prefers them runs the unmerged model.
inline void warn_of_other_weights(const std::vector<std::string>& copies, std::vector<std::string>& warnings) {
  static constexpr std::array<std::string_view, 7> kinds{".safetensors", ".gguf", ".onnx", ".h5",
                                                         ".msgpack",     ".pth",  ".pt"};
  for (const std::string& copy : copies) {
    const std::string name = std::filesystem::path(copy).filename().string();
    const std::string kind = std::filesystem::path(copy).extension().string();
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end() ||
        (kind == ".bin" && name.starts_with("pytorch_model")))
      warnings.push_back(
          text(printable(copy), ": no part of the model that was merged into: the file is copied as it is"));
  }
}

/// The files that have been put into a merged folder. As they do not matter, nor does one that cannot be examined.
inline std::size_t count_other_files(const Model& merged, const std::vector<std::string>& copies) {
  try {
    const std::set<std::string> known(copies.begin(), copies.end());
    const std::vector<std::string> files = merged.other_files();
    return static_cast<std::size_t>(
        std::count_if(files.begin(), files.end(), [&](const std::string& file) { return !known.contains(file); }));
  } catch (const FileError&) {
    return 0;
  }
}

/// Absolute, symbolic links followed as far as there is something.
inline std::filesystem::path whole_path(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path whole = std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  if (error) whole = std::filesystem::absolute(path, error);
  return whole.has_filename() ? whole : whole.parent_path();
}

inline bool is_below(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

/// The files of models and adapters, as inputs for expect_apart.
inline std::vector<std::filesystem::path> inputs_of(const std::vector<ActiveAdapter>& adapters,
                                                    std::vector<std::filesystem::path> others) {
  for (const auto& [adapter, coefficient] : adapters)
    for (const std::filesystem::path& file : files_of(adapter)) others.push_back(file);
  return others;
}

inline ModelChange change_of(const Model& model) {
  ModelChange out;
  out.is_folder = model.is_folder();
  out.tensors = model.tensors().size();
  out.warnings = model.warnings();
  return out;
}
inline void count_changed(ModelChange& change, const std::set<const ModelTensor*>& tensors) {
  change.changed_tensors = tensors.size();
  for (const ModelTensor* tensor : tensors) change.changed_bytes += tensor->info->bytes();
}
inline void count_targets(ModelChange& change, const std::vector<MergeTarget>& targets) {
  std::set<const ModelTensor*> tensors;
  for (const MergeTarget& target : targets) tensors.insert(target.tensor);
  count_changed(change, tensors);
}

/// Reads a merged model's tensors as they were before, by its undo file.
class OriginalReader {
 public:
  OriginalReader(const Model& merged, const UndoFile& undo) : merged_(merged), undo_(undo) {
    for (const UndoTensor& tensor : undo.tensors()) tensors_[&merged.tensor(tensor.name)].push_back(&tensor);
  }

  void operator()(const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) const {
    const auto found = tensors_.find(&tensor);
    if (found == tensors_.end()) return merged_.read(tensor, offset, into);
    if (last_ != &tensor) {
      last_ = nullptr;
      bytes_.resize(tensor.info->bytes());
      merged_.read(tensor, 0, bytes_);
      for (const UndoTensor* const part : found->second) unmerge_tensor(merged_, undo_, *part, bytes_, {});
      last_ = &tensor;
    }
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
  }

 private:
  const Model& merged_;
  const UndoFile& undo_;
  std::map<const ModelTensor*, std::vector<const UndoTensor*>> tensors_;
  mutable std::vector<std::byte> bytes_;  // of the last one that was merged
  mutable const ModelTensor* last_ = nullptr;
};

/// Puts everything on disk and lets the outputs take their names, the undo file first: a merged model without its undo file
/// cannot be taken back.
inline void commit(ModelWriter& model, UndoFileWriter* undo, const ModelChange& change, const ModelOptions& options) {
  model.flush();
  if (undo != nullptr) undo->flush();
  expect_not_cancelled(options);
  if (options.before_commit) options.before_commit(change);
  if (undo != nullptr)
    undo->commit_before([&] { model.commit(); });
  else
    model.commit();
}

}  // namespace detail

LORA_FUNC void expect_apart(const std::vector<std::filesystem::path>& inputs,
                            const std::vector<std::filesystem::path>& outputs) {
  std::vector<std::filesystem::path> others;
  for (const std::filesystem::path& input : inputs) others.push_back(detail::whole_path(input));
  for (const std::filesystem::path& output : outputs) {
    if (output.empty()) continue;
    const std::filesystem::path whole = detail::whole_path(output);
    for (std::size_t i = 0; i < others.size(); ++i) {
      const std::string_view kind = i < inputs.size() ? "an input" : "an output";
      std::error_code ignored;
      if (whole == others[i] || std::filesystem::equivalent(whole, others[i], ignored))
        throw ValueError(detail::text("lora: the output ", printable(output.string(), 4096), " is ", kind,
                                      " as well; give it another name"));
      if (detail::is_below(whole, others[i]) || detail::is_below(others[i], whole))
        throw ValueError(detail::text("lora: the output ", printable(output.string(), 4096), " and ",
                                      printable(others[i].string(), 4096), ", ", kind,
                                      ", lie within each other; give it another name"));
    }
    others.push_back(whole);
  }
}

LORA_ON_CALL
ModelChange merge_model(const std::filesystem::path& base, const std::vector<ActiveAdapter>& adapters,
                        const std::filesystem::path& out, const std::filesystem::path& undo,
                        const ModelOptions& options) {
  expect_apart(detail::inputs_of(adapters, {base}), {out, undo});
  const Model model = Model::open(base);
  ModelChange change = detail::change_of(model);
  const std::vector<detail::MergeTarget> targets =
      detail::plan_merge(model, adapters, options.renames, &change.warnings);
  detail::count_targets(change, targets);
  const std::vector<std::string> copies = detail::without_adapter(model.other_files(), change.warnings);
  detail::warn_of_other_weights(copies, change.warnings);

  ModelWriter merged(model, out, options.sync);
  std::optional<UndoFileWriter> record;
  if (!undo.empty()) record.emplace(undo, model, detail::undo_tensors(targets), copies, options.sync);
  detail::Rewrite rewrite(model, merged, copies, record.has_value());
  std::vector<detail::MergeEffect> effects(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i)
    rewrite.change(*targets[i].tensor, false, true, [&, i](std::span<std::byte> bytes, const Context& context) {
      return detail::merge_tensor(model, targets[i], bytes, record ? &*record : nullptr, context, effects[i]);
    });
  rewrite.run(options);
  detail::warn_of_effects(adapters, targets, effects, change.warnings);
  if (record) {
    record->finish(rewrite.rest_after(), rewrite.copies());
    change.record_bytes = record->record_bytes();
  }
  detail::commit(merged, record ? &*record : nullptr, change, options);
  return change;
}

LORA_ON_CALL
ModelChange unmerge_model(const std::filesystem::path& merged, const std::filesystem::path& undo,
                          const std::filesystem::path& out, const ModelOptions& options) {
  expect_apart({merged, undo}, {out});
  const UndoFile record = UndoFile::open(undo);
  const Model model = Model::open(merged);
  record.expect_made_for(model);
  const std::vector<std::string> copies = detail::copies_of(record);
  ModelChange change = detail::change_of(model);

  ModelWriter restored(model, out, options.sync);
  detail::Rewrite rewrite(model, restored, copies, true);
  std::set<const ModelTensor*> changed;
  for (const UndoTensor& tensor : record.tensors()) {
    changed.insert(&model.tensor(tensor.name));
    rewrite.change(model.tensor(tensor.name), true, false, [&](std::span<std::byte> bytes, const Context& context) {
      detail::unmerge_tensor(model, record, tensor, bytes, context);
      return detail::Finish();
    });
  }
  detail::count_changed(change, changed);
  rewrite.run(options);
  record.expect_rest(model, rewrite.rest_before(), rewrite.copies());
  record.file().file().expect_unchanged();
  change.left_out_files = detail::count_other_files(model, copies);
  detail::commit(restored, nullptr, change, options);
  return change;
}

LORA_ON_CALL
ModelChange switch_model(const std::filesystem::path& merged, const std::filesystem::path& undo,
                         const std::vector<ActiveAdapter>& adapters, const std::filesystem::path& out,
                         const std::filesystem::path& new_undo, const ModelOptions& options) {
  expect_apart(detail::inputs_of(adapters, {merged, undo}), {out, new_undo});
  const UndoFile old = UndoFile::open(undo);
  const Model model = Model::open(merged);
  old.expect_made_for(model);
  ModelChange change = detail::change_of(model);
  const std::vector<detail::MergeTarget> targets =
      detail::plan_merge(model, adapters, options.renames, &change.warnings, detail::OriginalReader(model, old));
  detail::count_targets(change, targets);
  const std::vector<std::string> copies = detail::copies_of(old);
  detail::warn_of_other_weights(copies, change.warnings);

  ModelWriter switched(model, out, options.sync);
  UndoFileWriter record(new_undo, model, detail::undo_tensors(targets), copies, options.sync);
  detail::Rewrite rewrite(model, switched, copies, true);
  // A weight that stays merged is switched in one pass, all others are unmerged.
  std::map<std::pair<const ModelTensor*, Index>, const UndoTensor*> merged_before;
  for (const UndoTensor& tensor : old.tensors()) merged_before[{&model.tensor(tensor.name), tensor.expert}] = &tensor;
  std::set<const UndoTensor*> switched_tensors;
  std::set<const ModelTensor*> changed_before;
  for (const auto& [place, tensor] : merged_before) changed_before.insert(place.first);
  for (const detail::MergeTarget& target : targets)
    if (const auto found = merged_before.find({target.tensor, target.expert}); found != merged_before.end())
      switched_tensors.insert(found->second);
  for (const UndoTensor& tensor : old.tensors()) {
    if (switched_tensors.contains(&tensor)) continue;
    rewrite.change(model.tensor(tensor.name), true, false, [&](std::span<std::byte> bytes, const Context& context) {
      detail::unmerge_tensor(model, old, tensor, bytes, context);
      return detail::Finish();
    });
  }
  std::vector<detail::MergeEffect> effects(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto found = merged_before.find({targets[i].tensor, targets[i].expert});
    const UndoTensor* const before = found == merged_before.end() ? nullptr : found->second;
    rewrite.change(*targets[i].tensor, before != nullptr, true,
                   [&, i, before](std::span<std::byte> bytes, const Context& context) {
                     if (before == nullptr && changed_before.contains(targets[i].tensor))
                       return detail::merge_unmerged_tensor(model, targets[i], bytes, record, context, effects[i]);
                     if (before == nullptr)
                       return detail::merge_tensor(model, targets[i], bytes, &record, context, effects[i]);
                     return detail::switch_tensor(model, old, *before, targets[i], bytes, record, context, effects[i]);
                   });
  }
  rewrite.run(options);
  detail::warn_of_effects(adapters, targets, effects, change.warnings);
  old.expect_rest(model, rewrite.rest_before(), rewrite.copies());
  old.file().file().expect_unchanged();
  record.finish(rewrite.rest_after(), rewrite.copies());
  change.record_bytes = record.record_bytes();
  detail::commit(switched, &record, change, options);
  return change;
}

}  // namespace io
LORA_NAMESPACE_END
