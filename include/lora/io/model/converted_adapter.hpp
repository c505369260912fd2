// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// PEFT adapters whose initialiser changed the base's weights, as adapters for the original ones. Not part of io.hpp, since it brings an
/// eigenvalue solver.

#include "lora/io/model/bind.hpp"
#include "lora/io/model/tasks.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// The initialiser that a PEFT folder's adapter has to be converted from, "pissa", "olora", "corda" ...; empty for one that fits the
/// original weights, and for what is no such folder. Throws FileError for a configuration that cannot be read.
std::string unconverted_initialiser(const std::filesystem::path& folder);

/// Such an initialiser takes the first factors out of the weight: training begins with W0 - s B0 A0 under s B0 A0, and ends with
/// W0 - s B0 A0 + s B A. So the original weight gets s (B A - B0 A0), a LoRA of twice the rank, [B, -B0] and [A; A0], with the same s
/// (PEFT's path_initial_model_for_weight_conversion).
///
/// `initial` is the folder that was saved before the training, with B0 and A0: then this is exact. Throws FileError when the two do not
/// have the same modules, shapes and scalings, or have other kinds than LoRA on linear layers.
Adapter load_converted_adapter(const std::filesystem::path& folder, const std::filesystem::path& initial);

/// The same with B0 A0 computed from the original weights, where these say what it was:
///
/// - `pissa` (Meng et al., "PiSSA", 2024, equations 2 to 4): s B0 A0 is W0's truncated singular value decomposition of rank r;
/// - `olora` (Buyukakyuz, "OLoRA", 2024): B0 A0 = Q Q^T W0, with Q an orthonormal basis of W0's first r columns.
///
/// Computed in double, stored in float. PEFT computes in float, so that its factors differ: `warnings` gets a sentence with an estimate
/// of that, as a part of the largest change. Throws FileError for initialisers that only the saved factors can tell (`corda`,
/// `lora_ga`, `pissa_niter_16` ...), and where two singular values are too close to tell them apart; Cancelled. Takes about 15 seconds of
/// one core for a weight of 4096 x 4096; `options` count the bytes of the weights, several of which are worked on at once.
Adapter load_converted_adapter(const std::filesystem::path& folder, const Model& base,
                               std::vector<std::string>* warnings = nullptr, std::span<const Rename> renames = {},
                               const TaskOptions& options = {});

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/converted_adapter-inl.hpp"
#endif
