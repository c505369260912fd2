// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What merge, unmerge and switch do to one tensor, and how they tell what was done.

#include "plan.hpp"
#include "rewrite.hpp"
#include "signals.hpp"

namespace cli {

/// The help of options that name a model.
extern const char* const model_help;
extern const char* const out_help;

/// Merges a target's updates into its bytes; what it returns adds the record to `undo`, unless that is null. Throws
/// FileError, naming the module.
Finish merge_tensor(const lora::io::Model& model, const Target& target, std::span<std::byte> bytes,
                    lora::io::UndoFileWriter* undo);

/// Undoes the merge of a tensor in its bytes. Throws FileError, naming the tensor.
void unmerge_tensor(const lora::io::Model& model, const lora::io::UndoFile& undo, const lora::io::UndoTensor& tensor,
                    std::span<std::byte> bytes);

/// Both in one pass: from what `undo` has recorded to a target's updates.
Finish switch_tensor(const lora::io::Model& model, const lora::io::UndoFile& undo, const lora::io::UndoTensor& tensor,
                     const Target& target, std::span<std::byte> bytes, lora::io::UndoFileWriter& new_undo);

/// The other files that belong to the model of an undo file.
std::vector<std::string> copies_of(const lora::io::UndoFile& undo);

/// Warns of files with weights among those that are only copied: a program that prefers them runs the unmerged model.
void warn_of_other_weights(const std::vector<std::string>& copies);

/// What a merge or switch did, for people and for programs.
struct Summary {
  const char* command;
  const lora::io::Model& model;
  const std::vector<ChosenAdapter>& adapters;
  const std::vector<Target>& targets;
  const fs::path &out, &undo;  ///< undo: empty without one
  std::uint64_t record_bytes;

  std::string text() const;
  std::string json() const;
};

}  // namespace cli
