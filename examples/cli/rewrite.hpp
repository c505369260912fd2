// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What merge, unmerge and switch share: copying a model with some of its tensors changed.

#include "options.hpp"
#include "tasks.hpp"

namespace cli {

/// Changes a tensor's bytes in place, on any thread; what it returns is called in the order of the tensors.
using Change = std::function<Finish(std::span<std::byte>)>;

/// A copy of a model, and checksums of what is not merged: in `from` (as its undo file has them) and in `to` (for a new
/// undo file).
class Rewrite {
 public:
  /// `copies` are the other files to be copied; the checksums are left out when nobody wants them.
  Rewrite(const lora::io::Model& from, lora::io::ModelWriter& to, std::vector<std::string> copies, bool with_checksums);

  /// Sets what is done to a tensor, which is merged in `from`, in `to` or in both.
  void change(const lora::io::ModelTensor& tensor, bool was_merged, bool is_merged, Change change);

  /// Reads, changes and writes. Throws what the changes throw, FileError, Interrupted.
  void run(const CommonOptions& options, std::string title);

  // For each shard, and for each of the copies.
  std::span<const lora::io::RestChecksum> rest_before() const { return before_; }
  std::span<const lora::io::RestChecksum> rest_after() const { return after_; }
  std::span<const lora::io::RestChecksum> copies() const { return copied_; }

 private:
  struct Changed {
    bool was_merged, is_merged;
    Change change;
  };
  void add_changed(const lora::io::ModelTensor& tensor, const Changed& changed);
  void add_pieces(const lora::io::ModelTensor& tensor);
  void add_copy(std::size_t i);

  const lora::io::Model& from_;
  lora::io::ModelWriter& to_;
  std::vector<std::string> copies_;
  bool with_checksums_;
  std::vector<Changed> changes_;  // of each tensor; without a change when it is copied
  std::vector<lora::io::RestChecksum> before_, after_, copied_;
  std::vector<Task> tasks_;
};

/// Puts everything on disk, prints the report, and lets the outputs take their names, the undo file first: a merged model
/// without its undo file cannot be taken back. Throws FileError, Interrupted, and Error when the report cannot be printed;
/// nothing has changed then.
void commit(lora::io::ModelWriter& model, lora::io::UndoFileWriter* undo, const std::string& report);

/// Prints on standard output. Throws Error.
void print(const std::string& report);

}  // namespace cli
