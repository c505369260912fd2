// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/gguf.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Which model a GGUF file is for: how its tensors are named, and how the rows of its attention weights lie.
///
/// Where llama.cpp turns pairs of neighbouring rows (llama, granite, smollm3, minicpm, olmo) and Hugging Face halves of
/// a head, its converters reorder the rows of q and k within each head of d rows: row 2 i + p in GGUF is row p d/2 + i
/// in Hugging Face (p = 0, 1). An adapter's B is reordered alike, which takes the numbers of heads.
struct GgufArchitecture {
  std::string name;                       ///< `general.architecture`
  std::uint64_t heads = 0, kv_heads = 0;  ///< of q and of k; 0: not known

  /// What a GGUF file says of itself. Throws FileError.
  static GgufArchitecture of(const Gguf& file);

  /// Of the model that a Hugging Face config.json describes. Throws FileError, also for a model type that is not known.
  static GgufArchitecture of_config(const std::filesystem::path& config);

  /// Whether rows of q and k are reordered.
  bool is_reordered() const;
};

/// The GGUF name of a Hugging Face module, "blk.0.attn_q" for "model.layers.0.self_attn.q_proj", and back; nothing
/// where there is none. Known: llama and mistral, granite, smollm3, minicpm, olmo, olmo2, qwen2, qwen3, gemma, gemma2,
/// gemma3, stablelm, command-r, phi2, phi3, starcoder2, gpt2; their linear layers and embeddings. Throw ValueError for
/// another architecture.
std::optional<std::string> gguf_name(std::string_view module, const GgufArchitecture& architecture);
std::optional<std::string> module_name(std::string_view gguf, const GgufArchitecture& architecture);

/// An adapter for a Hugging Face model as one for its GGUF conversion, and back: names, and the order of rows (of B,
/// of DoRA's magnitude and of IA3's vector). Throw FileError, naming the module, for one that has no name there, an
/// update other than LoRA, DoRA and IA3 where rows are reordered, heads that do not fit its rows, biases (but those
/// that IA3 scales), experts and trained tensors; ValueError for an architecture that is not known. PEFT's copies of
/// embeddings and output layers (Adapter::base_copies) get their names there as well; bind() compares them with the
/// base, without_base_copies() leaves them out.
LORA_ON_CALL_DECLARED Adapter to_gguf(const Adapter& adapter, const GgufArchitecture& architecture);
LORA_ON_CALL_DECLARED Adapter from_gguf(const Adapter& adapter, const GgufArchitecture& architecture);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/names-inl.hpp"
#endif
