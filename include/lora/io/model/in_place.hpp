// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Whole models, changed where they lie: merge, unmerge and switch without room for a second copy.
///
/// The model is read twice. The first pass computes everything and writes the undo file; nothing of the model is
/// changed before this is complete and on disk. The second computes the tensors that change again and writes them over,
/// one at a time, each after its old bytes have been put on disk in a journal (in the model's folder, or beside its
/// file), which goes away at the end. Room is needed for the undo file and a journal of the size of the largest of
/// these tensors. A program that is killed, or a machine that fails, at any moment leaves a model that recover() puts
/// right; until then Model::open refuses it. docs/UNDO-FILE.md, "In place".
///
/// The files are locked: one process at a time. options.is_cancelled is asked during the first pass alone, and
/// options.before_commit called after it: what it throws takes everything back. When the second pass fails (the
/// disk does), the model is brought back to the original; what is thrown says so, or that recover() is needed.

#include "lora/io/model/merge_model.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// The model becomes, byte for byte, what merge_model() makes of it, and `undo`, a new file, what takes it back. Throws
/// as merge_model() does, and FileError when a file cannot be written to, is a symbolic link or has several names, when
/// there is a file `undo`, and when another process changes the model.
LORA_ON_CALL_DECLARED
ModelChange merge_in_place(const std::filesystem::path& model, const std::vector<ActiveAdapter>& adapters,
                           const std::filesystem::path& undo, const ModelOptions& options = {});

/// The model becomes the original again; files that have been added to its folder stay. Throws as unmerge_model() and
/// merge_in_place() do.
LORA_ON_CALL_DECLARED
ModelChange unmerge_in_place(const std::filesystem::path& model, const std::filesystem::path& undo,
                             const ModelOptions& options = {});

/// The model becomes what switch_model() makes of it, and `new_undo`, a new file, what takes it back. Throws as
/// switch_model() and merge_in_place() do.
LORA_ON_CALL_DECLARED
ModelChange switch_in_place(const std::filesystem::path& model, const std::filesystem::path& undo,
                            const std::vector<ActiveAdapter>& adapters, const std::filesystem::path& new_undo,
                            const ModelOptions& options = {});

/// What a model is after recover().
enum class Recovered {
  finished,   ///< there was nothing to recover
  unchanged,  ///< nothing had been changed: as before the call that was ended
  original,   ///< what it was before any merge
  changed     ///< everything had been changed: as that call would have left it
};

/// What recover() has done.
struct Recovery {
  Recovered state = Recovered::finished;  ///< what the model is now
  std::string command = {};          ///< what was ended: "merge", "unmerge" or "switch"
  std::size_t restored_tensors = 0;  ///< that have been written
};

/// Puts a model right whose change in place was ended: back to the original, unless nothing or everything had been
/// changed. `undo` are the undo files of that change where they have been moved. One that a merge or switch has made
/// and that is of no use any more is removed. May itself be ended at any moment, and called again. Throws FileError,
/// and nothing is lost.
LORA_ON_CALL_DECLARED
Recovery recover(const std::filesystem::path& model, const std::vector<std::filesystem::path>& undo = {},
                 const ModelOptions& options = {});

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/in_place-inl.hpp"
#endif
