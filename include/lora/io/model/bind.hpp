// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/bound_module.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Which tensor each module of an adapter means, in the order of the modules.
///
/// A module M changes the tensor `M.weight`. When the model has none of them under these names but all of them under one common
/// prefix, and each only once (an adapter of `encoder.layer.0.query`, a file with `bert.encoder.layer.0.query.weight`), these
/// are taken; likewise when it has all of them without the first parts that the modules share (`transformer.h.0.attn.c_attn`,
/// `h.0.attn.c_attn.weight`). The shape tells whether a weight is stored transposed; of a square one fan_in_fan_out does.
///
/// Throws FileError, naming the module and what is missing: no such tensor or several, one that is no matrix of F16, BF16, F32
/// or F64 or does not fit, a square weight whose fan_in_fan_out another module's shape contradicts, an output layer that the
/// model's config.json ties to its embeddings (what is merged into it would never be read). Where a config.json cannot be read
/// `warnings`, unless null, gets a sentence about it.
///
/// `replacements` gets the tensors that the adapter puts others in the place of (modules_to_save, bias, trainable_token_indices);
/// when it is null and there are some, FileError.
std::vector<BoundModule> bind(const Model& model, const Adapter& adapter, std::vector<std::string>* warnings = nullptr,
                              std::vector<Replacement>* replacements = nullptr);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/bind-inl.hpp"
#endif
