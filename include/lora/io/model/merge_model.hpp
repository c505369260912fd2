// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Whole models: adapters merged into one, taken out again, and exchanged, from files to files.
///
/// A model is a safetensors file or a folder, see Model; what is written is of the same kind: a file (replaced when it
/// exists) or a folder (a new or empty one). Its other tensors, its headers and its other files (but `.git`, and an
/// adapter in its folder) are copied byte for byte. Everything is checked before it is used, written beside its name
/// and renamed when it is complete and on disk, the undo file first: when a call throws, or the program is killed at
/// any moment, every name has its old content or its whole new one. Memory is bounded, whatever the model's size.

#include "lora/io/model/model_change.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"

#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// `out` becomes the model `base` with W' = round(W0 + sum of coefficient s B A) for every adapted tensor (see bind()), and
/// `undo`, unless it is empty, what unmerge_model() and switch_model() need; docs/UNDO-FILE.md. Several adapters may change one
/// tensor; one whose coefficient is 0 changes nothing. Throws FileError naming file, tensor or module; ValueError for
/// coefficients that are not finite or all 0, and where an output is an input or another output, or lies within one; Cancelled;
/// std::bad_alloc; and what the options' functions throw.
LORA_ON_CALL_DECLARED
ModelChange merge_model(const std::filesystem::path& base, const std::vector<ActiveAdapter>& adapters,
                        const std::filesystem::path& out, const std::filesystem::path& undo = {},
                        const ModelOptions& options = {});

/// `out` becomes the original, every byte of it, of the model that was merged into `merged` with the undo file `undo`.
/// Files that have been added to a merged folder, and those that the merge left out, are not in it. Throws as
/// merge_model() does, and FileError when `merged` is not what was written then.
LORA_ON_CALL_DECLARED
ModelChange unmerge_model(const std::filesystem::path& merged, const std::filesystem::path& undo,
                          const std::filesystem::path& out, const ModelOptions& options = {});

/// From merged adapters to others in one pass: `out` and `new_undo` become, byte for byte, what merging `adapters` into the
/// original makes them. Throws as merge_model() and unmerge_model() do.
LORA_ON_CALL_DECLARED
ModelChange switch_model(const std::filesystem::path& merged, const std::filesystem::path& undo,
                         const std::vector<ActiveAdapter>& adapters, const std::filesystem::path& out,
                         const std::filesystem::path& new_undo, const ModelOptions& options = {});

/// Throws ValueError when an output is one of the inputs or another output, or lies in an input or output that is a folder, or
/// one of them in it: something would be lost. Empty outputs are none.
void expect_apart(const std::vector<std::filesystem::path>& inputs, const std::vector<std::filesystem::path>& outputs);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/merge_model-inl.hpp"
#endif
