// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What calls that change whole models are told, and tell.

#include "lora/io/file/output_file.hpp"
#include "lora/io/model/rename.hpp"
#include "lora/io/model/tasks.hpp"

#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// What was done to a model.
struct ModelChange {
  bool is_folder = false;             ///< what the models are
  std::size_t tensors = 0;            ///< of the model
  std::size_t changed_tensors = 0;    ///< those that are merged now, or were until an unmerge
  std::uint64_t changed_bytes = 0;    ///< of these
  std::uint64_t record_bytes = 0;     ///< of the undo records that were written, without the factors
  std::size_t left_out_files = 0;     ///< of an unmerge: files in the merged folder that the original did not have
  std::vector<std::string> warnings;  ///< sentences, printable: what may not be meant but is done
};

/// How merge_model(), unmerge_model() and switch_model() go about it.
struct ModelOptions : TaskOptions {
  /// Whether to wait until everything is on disk.
  Sync sync = Sync::yes;

  /// How the base names what no rule can know, see bind(). Of a merge or switch; one that no module's path begins with
  /// is a ValueError.
  std::vector<Rename> renames = {};

  /// Called when everything is written and nothing has its name yet. What it throws takes everything back.
  std::function<void(const ModelChange&)> before_commit = {};
};

}  // namespace io
LORA_NAMESPACE_END
