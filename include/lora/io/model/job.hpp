// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a merge, unmerge or switch is going to do to a model, whether it writes another one or changes it in place. For
/// bodies (-inl.hpp).

#include "lora/io/adapters/formats.hpp"
#include "lora/io/model/merge_tensor.hpp"
#include "lora/io/model/merged_files.hpp"
#include "lora/io/model/model_change.hpp"
#include "lora/io/model/model_files.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/rewrite.hpp"

#include <map>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The other files that belong to the model of an undo file. Throws FileError for one that is no longer there.
LORA_ON_CALL_DECLARED inline std::vector<std::string> copies_of(const Model& merged, const UndoFile& undo) {
  std::vector<std::string> out;
  for (const UndoCopy& copy : undo.copies()) {
    const std::filesystem::path path = merged.path() / utf8_path(copy.file);
    std::error_code ignored;
    if (std::filesystem::symlink_status(path, ignored).type() == std::filesystem::file_type::not_found)
      fail(path, "expected the file as it was at the merge, found none: put it back as the merge left it");
    out.push_back(copy.file);
  }
  return out;
}

/// The files without those of an adapter in the base's own folder, of which it warns: to the merged weights they do
/// not belong. A change in place leaves them where they are.
LORA_ON_CALL_DECLARED inline std::vector<std::string> without_adapter(std::vector<std::string> files, bool in_place,
                                                                      std::vector<std::string>& warnings) {
  std::vector<std::string> left_out;
  std::erase_if(files, [&](const std::string& file) {
    if (!is_adapter_file(file)) return false;
    left_out.push_back(file);
    return true;
  });
  if (!left_out.empty())
    warnings.push_back(
        text("the base's folder holds an adapter, which programs that load the merged folder would apply on top: ",
             in_place ? "take it away: " : "left out ", some_of(left_out)));
  return files;
}

/// Warns of files with weights among those that are only copied: a program that prefers them runs the unmerged model.
LORA_ON_CALL_DECLARED inline void warn_of_other_weights(const std::vector<std::string>& copies, bool in_place,
                                                        std::vector<std::string>& warnings) {
  static constexpr std::array<std::string_view, 7> kinds{".safetensors", ".gguf", ".onnx", ".h5",
                                                         ".msgpack",     ".pth",  ".pt"};
  for (const std::string& copy : copies) {
    const std::string name = utf8_text(utf8_path(copy).filename());
    const std::string kind = utf8_text(utf8_path(copy).extension());
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end() ||
        (kind == ".bin" && name.starts_with("pytorch_model")))
      warnings.push_back(text(printable(copy), ": no part of the model that was merged into: the file ",
                              in_place ? "stays" : "is copied", " as it is"));
  }
}

/// Warns of Git LFS pointers among those that are only copied, and of JSON files that are none: the merged weights are right all the
/// same.
LORA_ON_CALL_DECLARED inline void warn_of_pointers(const Model& model, const std::vector<std::string>& copies,
                                                   std::vector<std::string>& warnings) {
  for (const std::string& copy : copies) {
    std::error_code ignored;
    const std::filesystem::path path = model.path() / utf8_path(copy);
    const std::uintmax_t size = std::filesystem::file_size(path, ignored);
    const bool is_json = path.extension() == ".json";
    if (ignored || (size > 1024 && !is_json)) continue;
    const std::string first = first_bytes(InputFile(path));
    const std::optional<std::string> kind =
        is_json || first.starts_with(file_kinds[0].first_bytes) ? kind_of(first, size) : std::nullopt;
    if (kind) warnings.push_back(text(printable(copy), ": ", *kind, "; it is copied as it is"));
  }
}

/// The files of models and adapters, as inputs for expect_apart.
LORA_ON_CALL_DECLARED inline std::vector<std::filesystem::path> inputs_of(const std::vector<ActiveAdapter>& adapters,
                                                                          std::vector<std::filesystem::path> others) {
  for (const auto& [adapter, coefficient] : adapters)
    for (const std::filesystem::path& file : files_of(adapter)) others.push_back(file);
  return others;
}

LORA_ON_CALL_DECLARED inline ModelChange change_of(const Model& model) {
  ModelChange out;
  out.is_folder = model.is_folder();
  out.tensors = model.tensors().size();
  out.warnings = model.warnings();
  return out;
}
/// Throws FileError when an adapter's file, out of which whole tensors are read, was written to since it was opened.
LORA_ON_CALL_DECLARED inline void expect_unchanged(const std::vector<ActiveAdapter>& adapters) {
  for (const auto& [adapter, coefficient] : adapters)
    if (adapter.file != nullptr) adapter.file->file().expect_unchanged();
}

/// Reads a merged model's tensors as they were before, by its undo file.
template <class = void>
class BasicOriginalReader {
 public:
  BasicOriginalReader(const Model& merged, const UndoFile& undo) : merged_(merged), undo_(undo) {
    for (const UndoTensor& tensor : undo.tensors()) tensors_[&merged.tensor(tensor.name)].push_back(&tensor);
  }

  LORA_ON_CALL_DECLARED void operator()(const ModelTensor& tensor, std::uint64_t offset,
                                        std::span<std::byte> into) const {
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
using OriginalReader = BasicOriginalReader<>;

/// A merge has no `old` undo file, an unmerge no targets, a switch both.
struct Job {
  const Model& model;
  const UndoFile* old;
  ModelChange change = {};
  std::vector<MergeTarget> targets = {};
  std::vector<std::string> copies = {};
  std::vector<MergeEffect> effects = {};
  Reshape reshape = {};  ///< of what is written

  /// The tensors that change.
  LORA_ON_CALL_DECLARED std::set<const ModelTensor*> tensors() const {
    std::set<const ModelTensor*> out;
    if (old != nullptr)
      for (const UndoTensor& tensor : old->tensors()) out.insert(&model.tensor(tensor.name));
    for (const MergeTarget& target : targets) out.insert(target.tensor);
    return out;
  }

  /// Takes out what `old` says was merged into a tensor.
  LORA_ON_CALL_DECLARED void unmerge(Rewrite& rewrite, const UndoTensor& tensor) const {
    rewrite.change(model.tensor(tensor.name), true, false,
                   [this, &tensor](std::span<std::byte> bytes, const Context& context) {
                     unmerge_tensor(model, *old, tensor, bytes, context);
                     return Finish();
                   });
  }
  LORA_ON_CALL_DECLARED void unmerge_all(Rewrite& rewrite) const {
    if (old != nullptr)
      for (const UndoTensor& tensor : old->tensors()) unmerge(rewrite, tensor);
  }

  /// Merges the targets into the original's tensors. Records go to `undo`, unless that is null.
  LORA_ON_CALL_DECLARED void merge_all(Rewrite& rewrite, UndoFileWriter* undo) {
    for (std::size_t i = 0; i < targets.size(); ++i)
      rewrite.change(
          *targets[i].tensor, false, true,
          [this, i, undo](std::span<std::byte> bytes, const Context& context) {
            if (old == nullptr) return merge_tensor(model, targets[i], bytes, undo, context, effects[i]);
            return merge_unmerged(model, targets[i], bytes, undo, context, effects[i]);
          },
          old == nullptr ? 0 : targets[i].bytes());
  }

  /// Fills what the change says of tensors: the merged ones' sizes.
  LORA_ON_CALL_DECLARED void count() {
    std::map<const ModelTensor*, std::uint64_t> sizes;
    if (old != nullptr && targets.empty())
      for (const UndoTensor& tensor : old->tensors())
        sizes[&model.tensor(tensor.name)] = model.tensor(tensor.name).info->bytes();
    for (const MergeTarget& target : targets) {
      sizes[target.tensor] = target.bytes();
      if (target.made != nullptr) ++change.tensors;
    }
    change.changed_tensors = sizes.size();
    for (const auto& [tensor, size] : sizes) change.changed_bytes += size;
  }
};

/// Throws FileError for what cannot be done: tensors of other sizes have no room in the model's own files; and a switch begins with
/// the original's.
LORA_ON_CALL_DECLARED inline void expect_no_reshape(const Job& job, bool in_place, std::string_view command) {
  if (job.reshape.is_empty() || (!in_place && command != "switch")) return;
  if (command == "switch")
    fail(job.model.path(),
         "expected a model of the original's tensors and files, found one whose vocabulary grew, or with new tensors, "
         "to switch "
         "from: unmerge it, and merge into the original");
  fail(job.model.path(), "expected tensors and files that stay as long as they are to change in place, found a ",
       command,
       " that changes the vocabulary, adds tensors or takes them away, or changes config.json: write another model "
       "(--out)");
}

/// Without `old` a merge; without adapters an unmerge. Throws as merge_model(), unmerge_model() and switch_model() do.
LORA_ON_CALL_DECLARED inline Job plan_job(const Model& model, const UndoFile* old,
                                          const std::vector<ActiveAdapter>* adapters, const ModelOptions& options,
                                          bool in_place) {
  Job job{model, old};
  job.change = change_of(model);
  std::vector<std::string>& warnings = job.change.warnings;
  if (old != nullptr) old->expect_made_for(model);
  if (old != nullptr) {
    job.reshape = old->original(model);
    expect_no_reshape(job, in_place, adapters == nullptr ? "unmerge" : "switch");
    if (adapters == nullptr) {
      job.copies = copies_of(model, *old);
      job.count();
      return job;
    }
  }
  MergePlan plan = old == nullptr
                       ? plan_merge(model, *adapters, options.renames, &warnings)
                       : plan_merge(model, *adapters, options.renames, &warnings, OriginalReader(model, *old), false);
  job.copies = old == nullptr ? without_adapter(model.other_files(), in_place, warnings) : copies_of(model, *old);
  job.reshape = MergedFiles(model, plan, warnings).make();
  expect_no_reshape(job, in_place, "merge");
  job.targets = std::move(plan.targets);
  job.effects.resize(job.targets.size());
  job.count();
  warn_of_other_weights(job.copies, in_place, warnings);
  if (!in_place) warn_of_pointers(model, job.copies, warnings);
  return job;
}

}  // namespace io::detail
LORA_NAMESPACE_END
