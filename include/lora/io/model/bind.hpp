// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/bound_module.hpp"
#include "lora/io/model/rename.hpp"

#include <span>

LORA_NAMESPACE_BEGIN
namespace io {

/// Which tensor each module of an adapter means, in the order of the modules.
///
/// A module M changes the tensor `M.weight`. Where the base's names begin otherwise, docs/FILES.md says what is found: wrappers do not
/// count, known moves of modules are undone, parts missing on one side are added for all modules of a tower; `renames` come first. The
/// shape tells whether a weight is stored transposed; of a square one fan_in_fan_out does. Whole tensors in the adapter's file that
/// equal the base's are passed over.
///
/// Throws FileError, naming the module and what is missing: no such tensor or several that may be meant, one that is quantised, that is
/// no matrix of F16, BF16, F32 or F64 or does not fit, a square weight whose fan_in_fan_out another module's shape contradicts, a whole
/// tensor that is not the base's, an output layer that the model's config.json, or its model's type, ties to its embeddings (what is
/// merged into it would never be read). Where a config.json cannot be read `warnings`, unless null, gets a sentence about it.
///
/// `replacements` gets the tensors that the adapter puts others in the place of (modules_to_save, bias, trainable_token_indices), those
/// that it adds rows to (a vocabulary that grew), and those that are new; when it is null and there are some, FileError.
std::vector<BoundModule> bind(const Model& model, const Adapter& adapter, std::vector<std::string>* warnings = nullptr,
                              std::span<const Rename> renames = {}, std::vector<Replacement>* replacements = nullptr);

/// The adapter without the whole tensors in its file that equal the base's, which is what formats of factors alone can
/// hold. `warnings`, unless null, gets a sentence for each that a GGUF base has quantised: of these the shape alone is
/// compared. Throws FileError as bind() does, and for one that was trained in the place of the base's.
Adapter without_base_copies(const Adapter& adapter, const Model& base, std::vector<std::string>* warnings = nullptr,
                            std::span<const Rename> renames = {});

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/bind-inl.hpp"
#endif
