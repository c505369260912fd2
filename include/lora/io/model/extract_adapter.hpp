// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// An adapter out of two models: what training changed in a base, as factors of low rank.

#include "lora/compose/options.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/rename.hpp"
#include "lora/io/model/tasks.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// A weight whose change an adapter has as factors. Norms are Frobenius'.
struct ExtractedModule {
  std::string path;                  ///< in the adapter
  std::string tensor;                ///< of the base
  std::vector<std::uint64_t> shape;  ///< as the base stores it
  Index rank = 0;                    ///< of the factors
  double norm = 0;                   ///< ||W_tuned - W_base||
  double error = 0;                  ///< ||W_tuned - W_base - s B A|| with the factors as they are written: computed, not estimated
};

/// Another tensor that differs between the models.
struct OtherChange {
  std::string tensor;          ///< of the base, or of the tuned model where the base has none
  bool is_kept = false;        ///< whether the adapter has the whole tensor
  std::string reason;          ///< why it has no factors, printable
  std::optional<double> norm;  ///< of the difference; nothing where none can be computed
};

/// What extract_adapter() did.
struct Extraction {
  std::vector<ExtractedModule> modules;  ///< in the order of the base
  std::vector<OtherChange> others;       ///< what has no factors
  std::size_t same = 0;                  ///< tensors that are equal in both models
  std::vector<std::string> warnings;     ///< sentences, printable

  /// Of all tensors whose difference can be computed: its norm, and that of what the adapter does not have of it.
  double norm() const;
  double error() const;
};

/// How extract_adapter() works, beside threads, progress and cancellation.
struct ExtractOptions : TaskOptions {
  /// Whole tensors in the base's place, for changes of layers that have no factors: PEFT's modules_to_save and bias.
  bool keeps_others = false;

  /// Where the model's class has other names than its file: as merge_model() takes them, so that a module of the
  /// base's file whose path begins with `to` begins with `from` in the adapter ({"transformer", ""} puts transformer.
  /// before all paths).
  std::vector<Rename> renames = {};

  /// base_model_name_or_path in the configuration.
  std::string base_model = {};

  /// Called when everything is computed and nothing is written yet. What it throws takes everything back.
  std::function<void(const Extraction&)> before_commit = {};
};

/// Writes the PEFT folder `out` with W_tuned - W_base, cut to the truncation, for every weight matrix that differs:
/// of linear layers, embeddings and convolutions, `<path>.weight`, of F16, BF16, F32 or F64 on either side. Each
/// module has its own rank. Tensors that are equal in both make no module. Embeddings are told by their names
/// (docs/COMPOSE.md), Conv1D's weights, stored (in, out), as merge_model() tells them. An output layer that the
/// base's configuration ties to its embeddings goes with these; one of the tuned model's own that differs from its
/// embeddings is lost.
///
/// Both models are safetensors files or folders with the same names of tensors, up to wrappers (_orig_mod ...). In
/// memory are the factors, and of the models the weights that are being decomposed; other tensors a part at a time.
/// The factors are of float, or of double where the tuned weight is. Throws FileError naming file and tensor, also
/// when nothing differs that has factors or is kept; ValueError where `out` is an input or renames give two modules
/// one path; Cancelled; std::bad_alloc; and what the options' functions throw.
LORA_ON_CALL_DECLARED
Extraction extract_adapter(const std::filesystem::path& base, const std::filesystem::path& tuned,
                           const std::filesystem::path& out, const compose::Truncation& truncation,
                           const ExtractOptions& options = {});

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/extract_adapter-inl.hpp"
#endif
