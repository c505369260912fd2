// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// transformers' Conv1D: layers of GPT-2 and its kin whose weights are stored (in, out). For bodies (-inl.hpp).

#include "lora/io/model/tied_head.hpp"

#include <algorithm>
#include <array>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Which of a base's weights are stored (in, out), told by the base itself: the biases of its layers, which have one
/// number for each output, or its configuration. PEFT goes by the classes of the modules, and its fan_in_fan_out is
/// that of the last one.
class Conv1DLayers {
 public:
  explicit Conv1DLayers(const Model& base) {
    bool is_transposed = false, is_plain = false;
    for (const ModelTensor& tensor : base.tensors()) {
      const std::string_view name = tensor.info->name;
      const std::vector<std::uint64_t>& shape = tensor.info->shape;
      if (!name.ends_with(weight) || shape.size() != 2 || shape[0] == shape[1]) continue;
      const std::string_view module = name.substr(0, name.size() - weight.size());
      if (!has_its_name(module)) continue;
      const ModelTensor* const bias = base.find(text(module, ".bias"));
      if (bias == nullptr || bias->info->shape.size() != 1) continue;
      is_transposed = is_transposed || bias->info->shape[0] == shape[1];
      is_plain = is_plain || bias->info->shape[0] == shape[0];
    }
    const std::optional<bool> by_type = told_by_type(base);
    is_linear_type_ = by_type == false;
    if (is_transposed != is_plain)
      are_transposed_ = is_transposed;
    else if (!is_transposed)
      are_transposed_ = by_type;
  }

  /// Whether a module's weight is stored (in, out); nothing where the base does not tell.
  std::optional<bool> is_transposed(std::string_view module) const {
    if (has_its_name(module)) return are_transposed_;
    const bool tells_of_others = are_transposed_.value_or(false) || is_linear_type_;  // of such a model others are plain
    return tells_of_others ? std::optional(false) : std::nullopt;
  }

 private:
  static constexpr std::string_view weight = ".weight";

  /// The names that its layers have; those of some other models are Linear layers.
  static bool has_its_name(std::string_view module) {
    static constexpr std::array<std::string_view, 4> names{"c_attn", "q_attn", "c_proj", "c_fc"};
    const std::string_view last = module.substr(module.rfind('.') + 1);  // npos + 1 is 0
    return std::find(names.begin(), names.end(), last) != names.end();
  }

  /// By the configuration's model_type; nothing for one that is not known.
  static std::optional<bool> told_by_type(const Model& base) {
    static constexpr std::array<std::string_view, 5> conv1d{"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"};
    // Well-known ones that have Linear layers alone.
    static constexpr std::array<std::string_view, 52> linear{
        "bart",     "bert",       "bloom",      "clip",       "cohere",      "cohere2",     "deberta-v2", "deepseek_v2", "deepseek_v3",
        "electra",  "distilbert", "falcon",     "gemma",      "gemma2",      "gemma3",      "gemma3_text", "gpt_neo",    "gpt_neox",
        "gptj",     "granite",    "llama",      "llava",      "marian",      "mbart",       "minicpm",    "mistral",     "mistral3",
        "mixtral",  "mllama",     "modernbert", "mpt",        "mt5",         "olmo",        "olmo2",      "opt",         "paligemma",
        "phi",      "phi3",       "qwen2",      "qwen2_5_vl", "qwen2_moe",   "qwen2_vl",    "qwen3",      "qwen3_moe",   "roberta",
        "siglip",   "smollm3",    "stablelm",   "starcoder2", "t5",          "vit",         "whisper"};
    const std::filesystem::path file = config_file(base);
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return std::nullopt;
    try {
      const Json config = read_json_file(file, max_config_bytes);
      const std::string type = JsonFields(file, config).string_or_empty("model_type");
      if (std::find(conv1d.begin(), conv1d.end(), type) != conv1d.end()) return true;
      return std::find(linear.begin(), linear.end(), type) != linear.end() ? std::optional(false) : std::nullopt;
    } catch (const FileError&) {
      return std::nullopt;
    }
  }

  std::optional<bool> are_transposed_;
  bool is_linear_type_ = false;
};

}  // namespace io::detail
LORA_NAMESPACE_END
