// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/in_place.hpp"
#include "lora/io/model/job.hpp"
#include "lora/io/model/journal.hpp"
#include "lora/io/model/locked_model.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// The undo file with this checksum: one of `files`, or where it was. Throws FileError when it is none of them.
LORA_ON_CALL_DECLARED inline UndoFile find_undo(const JournalUndo& undo, std::vector<std::filesystem::path> files) {
  if (files.empty()) files.push_back(utf8_path(undo.path));
  for (const std::filesystem::path& path : files)
    if (UndoFile file = UndoFile::open(path); file.header_checksum() == undo.checksum) return file;
  fail(files.front(), "expected the undo file that was called ", in_quotes(undo.path),
       " when the change in place began, found another");
}

/// Removes the undo file of what has not been merged, if it is where it was written.
LORA_ON_CALL_DECLARED inline void remove_undo(const JournalUndo& undo) {
  try {
    if (undo.path.empty() || UndoFile::open(utf8_path(undo.path)).header_checksum() != undo.checksum) return;
  } catch (const FileError&) {
    return;
  }
  std::error_code ignored;
  std::filesystem::remove(utf8_path(undo.path), ignored);
}

/// Brings a model whose change was ended to a state that it can be in, and removes the journal.
LORA_ON_CALL_DECLARED inline Recovery settle(LockedModel& locked, Journal& journal,
                                             const std::vector<std::filesystem::path>& undo,
                                             const TaskOptions& options) {
  const Model& model = locked.model();
  const std::vector<JournalTensor>& tensors = journal.table().tensors;
  Recovery out{Recovered::original, journal.table().command};
  std::uint64_t bytes = 0;
  for (const JournalTensor& tensor : tensors) bytes += model.tensor(tensor.name).info->bytes();
  PassOptions passes(options, bytes);

  std::vector<std::uint64_t> found(tensors.size());
  Rewrite examine(model, nullptr, {}, false);
  for (std::size_t i = 0; i < tensors.size(); ++i)
    look(examine, model.tensor(tensors[i].name),
         [&found, i](std::span<const std::byte> seen) { found[i] = checksum_of(seen); });
  examine.run(passes.next());
  const auto all = [&](std::uint64_t JournalTensor::*state) {
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (found[i] != tensors[i].*state) return false;
    return true;
  };
  if (all(&JournalTensor::after)) {
    journal.remove();
    out.state = Recovered::changed;
    return out;
  }
  // A torn tensor is the one whose bytes are kept, and gets these back.
  std::optional<std::size_t> torn;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].is_known(found[i])) continue;
    if (torn || journal.kept(model) != i)
      fail(model.path(), "tensor ", in_quotes(tensors[i].name),
           ": expected it as it was before the change in place, or after it, found neither: it was written to since");
    torn = i;
  }
  if (torn) {
    found[*torn] = locked.give_back(journal, *torn);
    ++out.restored_tensors;
  }
  locked.forget_failure();

  const bool is_unchanged = all(&JournalTensor::before);
  const JournalTable& table = journal.table();
  const auto undo_of = [&](const JournalUndo& file, std::uint64_t JournalTensor::*state) {
    std::optional<UndoFile> undo_file;
    for (std::size_t i = 0; i < tensors.size() && !is_unchanged && !undo_file; ++i)
      if (found[i] == tensors[i].*state && found[i] != tensors[i].original) undo_file.emplace(find_undo(file, undo));
    if (undo_file) undo_file->expect_made_for(model);
    return undo_file;
  };
  const std::optional<UndoFile> old = undo_of(table.old_undo, &JournalTensor::before),
                                made = undo_of(table.new_undo, &JournalTensor::after);

  Rewrite restore(model, nullptr, {}, false);
  std::vector<std::uint8_t> written(tensors.size(), 0);
  for (std::size_t i = 0; i < tensors.size() && !is_unchanged; ++i) {
    if (found[i] == tensors[i].original) continue;
    restore.change(model.tensor(tensors[i].name), false, false,
                   [&, i](std::span<std::byte> tensor, const Context& context) -> Finish {
                     const UndoFile& file = found[i] == tensors[i].before ? *old : *made;
                     for (const UndoTensor& part : file.tensors())
                       if (part.name == tensors[i].name) unmerge_tensor(model, file, part, tensor, context);
                     if (checksum_of(tensor) != tensors[i].original)
                       fail(model.path(), "tensor ", in_quotes(tensors[i].name),
                            ": expected the undo file to give the original back, found other bytes");
                     locked.overwrite(journal, i, tensor);
                     written[i] = 1;
                     return {};
                   });
  }
  restore.run(passes.next());
  out.restored_tensors += static_cast<std::size_t>(std::count(written.begin(), written.end(), 1));
  if (is_unchanged) out.state = Recovered::unchanged;
  remove_undo(table.new_undo);
  journal.remove();
  return out;
}

/// A merge without `old_undo`, an unmerge without adapters, or a switch.
LORA_ON_CALL_DECLARED inline ModelChange change_in_place(std::string command, const std::filesystem::path& path,
                                                         const std::filesystem::path& old_undo,
                                                         const std::vector<ActiveAdapter>* adapters,
                                                         const std::filesystem::path& new_undo,
                                                         const ModelOptions& options) {
  std::error_code ignored;
  if (!new_undo.empty() &&
      std::filesystem::symlink_status(new_undo, ignored).type() != std::filesystem::file_type::not_found)
    fail(new_undo,
         "expected a new name for the undo file of a change in place, found a file of that name: it may be what gives "
         "the original back");
  Model opened = Model::open(path);  // before the undo file, which is not there yet where a merge was killed
  std::optional<UndoFile> old;
  if (!old_undo.empty()) old.emplace(UndoFile::open(old_undo));
  LockedModel locked(std::move(opened), options.sync);
  const Model& model = locked.model();
  if (const auto found = unfinished(model)) fail_unfinished(*found);  // of a process that has just been killed
  Journal::remove_leftovers(model);
  Job job = plan_job(model, old ? &*old : nullptr, adapters, options, true);
  const std::set<const ModelTensor*> changed = job.tensors();
  const std::vector<const ModelTensor*> tensors(changed.begin(), changed.end());
  std::optional<UndoFileWriter> record;
  if (adapters != nullptr) record.emplace(new_undo, model, undo_tensors(job.targets), job.copies, options.sync);

  JournalTable table{std::move(command)};
  std::uint64_t bytes = 0;
  for (const ModelTensor* const tensor : tensors) {
    table.tensors.push_back({tensor->info->name});
    bytes += tensor->info->bytes();
  }
  PassOptions passes(options, bytes);
  {
    Rewrite rewrite(model, nullptr, job.copies, true);
    const auto note = [&](std::uint64_t JournalTensor::*state) {
      for (std::size_t i = 0; i < tensors.size(); ++i)
        look(rewrite, *tensors[i],
             [&table, i, state](std::span<const std::byte> seen) { table.tensors[i].*state = checksum_of(seen); });
    };
    note(&JournalTensor::before);
    job.unmerge_all(rewrite);
    note(&JournalTensor::original);
    job.merge_all(rewrite, record ? &*record : nullptr);
    note(&JournalTensor::after);
    rewrite.run(passes.next());
    if (adapters != nullptr) {
      expect_unchanged(*adapters);
      warn_of_effects(*adapters, job.targets, job.effects, job.change.warnings);
    }
    if (old) {
      old->expect_rest(model, rewrite.rest_before(), rewrite.copies_before());
      old->file().file().expect_unchanged();
      table.old_undo = {utf8_text(std::filesystem::absolute(old_undo)), old->header_checksum()};
    }
    if (record) {
      record->finish(rewrite.rest_after(), rewrite.copies_after());
      job.change.record_bytes = record->record_bytes();
      record->flush();
      table.new_undo = {utf8_text(std::filesystem::absolute(new_undo)), record->header_checksum()};
    }
  }
  expect_not_cancelled(options);
  Journal journal = Journal::create(model, table, options.sync);
  try {
    expect_not_cancelled(options);
    if (options.before_commit) options.before_commit(job.change);
    if (record) record->commit();
  } catch (...) {
    journal.remove();
    throw;
  }
  // From here on bytes of the model change.
  const auto outcome = [&] {
    try {
      settle(locked, journal, {}, {options.threads, {}, {}});
      return std::string("the model is the original again");
    } catch (const Error& error) {
      return text("the change in place is not finished (", bare(error), "): `lora recover` goes on with it");
    } catch (const std::exception& error) {
      return text("the change in place is not finished (", printable(error.what()),
                  "): `lora recover` goes on with it");
    }
  };
  try {
    Rewrite rewrite(model, nullptr, {}, false);
    job.unmerge_all(rewrite);
    job.merge_all(rewrite, nullptr);
    for (std::size_t i = 0; i < tensors.size(); ++i)
      look(rewrite, *tensors[i], [&, i](std::span<const std::byte> made) {
        const JournalTensor& expected = table.tensors[i];
        if (checksum_of(made) != expected.after)
          fail(model.path(), "tensor ", in_quotes(expected.name),
               ": expected the same bytes as in the first pass, found others: the model or an adapter was changed "
               "since");
        if (expected.before != expected.after) locked.overwrite(journal, i, made);
      });
    rewrite.run(passes.next());
  } catch (const Error& error) {
    throw FileError(text(error.what(), ": ", outcome()));
  } catch (const std::exception& error) {
    fail(model.path(), printable(error.what()), ": ", outcome());
  }
  journal.remove();
  return job.change;
}

}  // namespace detail

LORA_ON_CALL
ModelChange merge_in_place(const std::filesystem::path& model, const std::vector<ActiveAdapter>& adapters,
                           const std::filesystem::path& undo, const ModelOptions& options) {
  expect_apart(detail::inputs_of(adapters, {model}), {undo});
  return detail::change_in_place("merge", model, {}, &adapters, undo, options);
}

LORA_ON_CALL
ModelChange unmerge_in_place(const std::filesystem::path& model, const std::filesystem::path& undo,
                             const ModelOptions& options) {
  return detail::change_in_place("unmerge", model, undo, nullptr, {}, options);
}

LORA_ON_CALL
ModelChange switch_in_place(const std::filesystem::path& model, const std::filesystem::path& undo,
                            const std::vector<ActiveAdapter>& adapters, const std::filesystem::path& new_undo,
                            const ModelOptions& options) {
  expect_apart(detail::inputs_of(adapters, {model, undo}), {new_undo});
  return detail::change_in_place("switch", model, undo, &adapters, new_undo, options);
}

LORA_ON_CALL
Recovery recover(const std::filesystem::path& path, const std::vector<std::filesystem::path>& undo,
                 const ModelOptions& options) {
  detail::LockedModel locked(Model::open_unfinished(path), options.sync);
  detail::Journal::remove_leftovers(locked.model());
  std::error_code ignored;
  if (!std::filesystem::exists(detail::journal_path(locked.model()), ignored)) {
    // Of the folder around the file, or of one of the files, perhaps.
    if (const auto found = detail::unfinished(locked.model())) detail::fail_unfinished(*found);
    return {};
  }
  detail::Journal journal = detail::Journal::open(locked.model(), options.sync);
  return detail::settle(locked, journal, undo, options);
}

}  // namespace io
LORA_NAMESPACE_END
