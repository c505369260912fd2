// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What modules are called in GGUF files and in Hugging Face models. For bodies (-inl.hpp).

#include "lora/core/config.hpp"

#include <array>
#include <optional>
#include <string>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Models whose modules have the same names.
enum NameFamily : unsigned { llama_names = 1, phi2_names = 2, phi3_names = 4, starcoder2_names = 8, gpt2_names = 16 };

struct GgufArchitectureRow {
  std::string_view name;        // general.architecture
  std::string_view model_type;  // of config.json
  NameFamily family;
  bool is_reordered;  // rows of q and k
};
inline constexpr std::array<GgufArchitectureRow, 18> gguf_architectures{{
    {"llama", "llama", llama_names, true},
    {"llama", "mistral", llama_names, true},
    {"granite", "granite", llama_names, true},
    {"smollm3", "smollm3", llama_names, true},
    {"minicpm", "minicpm", llama_names, true},
    {"olmo", "olmo", llama_names, true},
    {"olmo2", "olmo2", llama_names, false},
    {"qwen2", "qwen2", llama_names, false},
    {"qwen3", "qwen3", llama_names, false},
    {"gemma", "gemma", llama_names, false},
    {"gemma2", "gemma2", llama_names, false},
    {"gemma3", "gemma3_text", llama_names, false},
    {"stablelm", "stablelm", llama_names, false},
    {"command-r", "cohere", llama_names, false},
    {"phi2", "phi", phi2_names, false},
    {"phi3", "phi3", phi3_names, false},
    {"starcoder2", "starcoder2", starcoder2_names, false},
    {"gpt2", "gpt2", gpt2_names, false},
}};

/// '*' is the number of a layer. Hugging Face modules may have one of the prefixes below.
struct ModuleNameRow {
  std::string_view gguf, module;
  unsigned families;
};
inline constexpr std::array<ModuleNameRow, 21> module_names{{
    {"token_embd", "embed_tokens", llama_names | phi2_names | phi3_names | starcoder2_names},
    {"token_embd", "wte", gpt2_names},
    {"output", "lm_head", llama_names | phi2_names | phi3_names | starcoder2_names | gpt2_names},
    {"blk.*.attn_q", "layers.*.self_attn.q_proj", llama_names | phi2_names | starcoder2_names},
    {"blk.*.attn_k", "layers.*.self_attn.k_proj", llama_names | phi2_names | starcoder2_names},
    {"blk.*.attn_v", "layers.*.self_attn.v_proj", llama_names | phi2_names | starcoder2_names},
    {"blk.*.attn_qkv", "layers.*.self_attn.qkv_proj", phi3_names},
    {"blk.*.attn_qkv", "h.*.attn.c_attn", gpt2_names},
    {"blk.*.attn_output", "layers.*.self_attn.o_proj", llama_names | phi3_names | starcoder2_names},
    {"blk.*.attn_output", "layers.*.self_attn.dense", phi2_names},
    {"blk.*.attn_output", "h.*.attn.c_proj", gpt2_names},
    {"blk.*.ffn_gate", "layers.*.mlp.gate_proj", llama_names},
    {"blk.*.ffn_up", "layers.*.mlp.up_proj", llama_names},
    {"blk.*.ffn_up", "layers.*.mlp.gate_up_proj", phi3_names},
    {"blk.*.ffn_up", "layers.*.mlp.fc1", phi2_names},
    {"blk.*.ffn_up", "layers.*.mlp.c_fc", starcoder2_names},
    {"blk.*.ffn_up", "h.*.mlp.c_fc", gpt2_names},
    {"blk.*.ffn_down", "layers.*.mlp.down_proj", llama_names | phi3_names},
    {"blk.*.ffn_down", "layers.*.mlp.fc2", phi2_names},
    {"blk.*.ffn_down", "layers.*.mlp.c_proj", starcoder2_names},
    {"blk.*.ffn_down", "h.*.mlp.c_proj", gpt2_names},
}};

/// In front of everything but the output layer: the first of a family is what from_gguf writes.
inline constexpr std::array<std::string_view, 5> llama_prefixes{"model.", "", "language_model.model.",
                                                                "model.language_model.", "language_model."};
inline constexpr std::array<std::string_view, 2> gpt2_prefixes{"transformer.", ""};

/// What stands for '*' when `name` is `pattern`; empty for a pattern without one.
inline std::optional<std::string_view> match_layer(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == pattern.npos) return name == pattern ? std::optional(std::string_view()) : std::nullopt;
  const std::string_view before = pattern.substr(0, star), after = pattern.substr(star + 1);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after))
    return std::nullopt;
  const std::string_view layer = name.substr(before.size(), name.size() - before.size() - after.size());
  if (layer.find_first_not_of("0123456789") != layer.npos) return std::nullopt;
  return layer;
}

inline std::string with_layer(std::string_view pattern, std::string_view layer) {
  std::string out(pattern);
  if (const std::size_t star = out.find('*'); star != out.npos) out.replace(star, 1, layer);
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
