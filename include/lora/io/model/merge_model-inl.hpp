// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/job.hpp"
#include "lora/io/model/merge_model.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// The files that have been put into a merged folder. As they do not matter, nor does one that cannot be examined.
LORA_ON_CALL_DECLARED inline std::size_t count_other_files(const Model& merged,
                                                           const std::vector<std::string>& copies) {
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

/// Puts everything on disk and lets the outputs take their names, the undo file first: a merged model without its undo file
/// cannot be taken back.
LORA_ON_CALL_DECLARED inline void commit(ModelWriter& model, UndoFileWriter* undo, const ModelChange& change,
                                         const ModelOptions& options) {
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
        throw ValueError(detail::text("lora: the output ", printable(utf8_text(output), 4096), " is ", kind,
                                      " as well; give it another name"));
      if (detail::is_below(whole, others[i]) || detail::is_below(others[i], whole))
        throw ValueError(detail::text("lora: the output ", printable(utf8_text(output), 4096), " and ",
                                      printable(utf8_text(others[i]), 4096), ", ", kind,
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
  detail::Job job = detail::plan_job(model, nullptr, &adapters, options, false);

  ModelWriter merged(model, out, options.sync, job.reshape);
  std::optional<UndoFileWriter> record;
  if (!undo.empty())
    record.emplace(undo, model, detail::undo_tensors(job.targets), job.copies, options.sync, job.reshape);
  detail::Rewrite rewrite(model, &merged, job.copies, record.has_value(), &job.reshape);
  job.merge_all(rewrite, record ? &*record : nullptr);
  rewrite.run(options);
  detail::expect_unchanged(adapters);
  detail::warn_of_effects(adapters, job.targets, job.effects, job.change.warnings);
  if (record) {
    record->finish(rewrite.rest_after(), rewrite.copies_after());
    job.change.record_bytes = record->record_bytes();
  }
  detail::commit(merged, record ? &*record : nullptr, job.change, options);
  return job.change;
}

LORA_ON_CALL
ModelChange unmerge_model(const std::filesystem::path& merged, const std::filesystem::path& undo,
                          const std::filesystem::path& out, const ModelOptions& options) {
  expect_apart({merged, undo}, {out});
  const Model model = Model::open(merged);  // before the undo file, which is not there yet where a merge was killed
  const UndoFile record = UndoFile::open(undo);
  detail::Job job = detail::plan_job(model, &record, nullptr, options, false);

  ModelWriter restored(model, out, options.sync, job.reshape);
  detail::Rewrite rewrite(model, &restored, job.copies, true, &job.reshape);
  job.unmerge_all(rewrite);
  rewrite.run(options);
  record.expect_rest(model, rewrite.rest_before(), rewrite.copies_before());
  record.file().file().expect_unchanged();
  job.change.left_out_files = detail::count_other_files(model, job.copies);
  detail::commit(restored, nullptr, job.change, options);
  return job.change;
}

LORA_ON_CALL
ModelChange switch_model(const std::filesystem::path& merged, const std::filesystem::path& undo,
                         const std::vector<ActiveAdapter>& adapters, const std::filesystem::path& out,
                         const std::filesystem::path& new_undo, const ModelOptions& options) {
  expect_apart(detail::inputs_of(adapters, {merged, undo}), {out, new_undo});
  const Model model = Model::open(merged);
  const UndoFile old = UndoFile::open(undo);
  detail::Job job = detail::plan_job(model, &old, &adapters, options, false);

  ModelWriter switched(model, out, options.sync, job.reshape);
  UndoFileWriter record(new_undo, model, detail::undo_tensors(job.targets), job.copies, options.sync, job.reshape);
  detail::Rewrite rewrite(model, &switched, job.copies, true, &job.reshape);
  // A weight that stays merged is switched in one pass, all others are unmerged.
  std::map<std::pair<const ModelTensor*, Index>, const UndoTensor*> merged_before;
  for (const UndoTensor& tensor : old.tensors()) merged_before[{&model.tensor(tensor.name), tensor.expert}] = &tensor;
  std::set<const UndoTensor*> switched_tensors;
  std::set<const ModelTensor*> changed_before;
  for (const auto& [place, tensor] : merged_before) changed_before.insert(place.first);
  for (const detail::MergeTarget& target : job.targets)
    if (const auto found = merged_before.find({target.tensor, target.expert}); found != merged_before.end())
      switched_tensors.insert(found->second);
  for (const UndoTensor& tensor : old.tensors())
    if (!switched_tensors.contains(&tensor)) job.unmerge(rewrite, tensor);
  for (std::size_t i = 0; i < job.targets.size(); ++i) {
    const detail::MergeTarget& target = job.targets[i];
    const auto found = merged_before.find({target.tensor, target.expert});
    const UndoTensor* const before = found == merged_before.end() ? nullptr : found->second;
    rewrite.change(
        *target.tensor, before != nullptr, true,
        [&, &target = target, i, before](std::span<std::byte> bytes, const Context& context) {
          if (before == nullptr && changed_before.contains(target.tensor))
            return detail::merge_unmerged(model, target, bytes, &record, context, job.effects[i]);
          if (before == nullptr) return detail::merge_tensor(model, target, bytes, &record, context, job.effects[i]);
          return detail::switch_tensor(model, old, *before, target, bytes, record, context, job.effects[i]);
        },
        before != nullptr || changed_before.contains(target.tensor) ? target.bytes() : 0);
  }
  rewrite.run(options);
  detail::expect_unchanged(adapters);
  detail::warn_of_effects(adapters, job.targets, job.effects, job.change.warnings);
  old.expect_rest(model, rewrite.rest_before(), rewrite.copies_before());
  old.file().file().expect_unchanged();
  record.finish(rewrite.rest_after(), rewrite.copies_after());
  job.change.record_bytes = record.record_bytes();
  detail::commit(switched, &record, job.change, options);
  return job.change;
}

}  // namespace io
LORA_NAMESPACE_END
