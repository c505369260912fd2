// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/tied_types.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace io::detail {

struct Move {
  std::string_view older, newer;
};
/// The beginnings of paths in older files and the same in newer models, whole parts; either may be the adapter's. From
/// the _checkpoint_conversion_mapping of transformers' classes (4.52 and later).
inline constexpr std::array<Move, 8> known_moves{{
    {"visual", "model.visual"},         // Qwen2-VL, Qwen2.5-VL
    {"model", "model.language_model"},  // the same, and language models alone
    {"language_model.model",
     "model.language_model"},  // LLaVA and its kin, Gemma 3, PaliGemma, Mistral 3, AyaVision, Mllama
    {"vision_tower", "model.vision_tower"},
    {"vision_model", "model.vision_model"},
    {"multi_modal_projector", "model.multi_modal_projector"},
    {"language_model.lm_head", "lm_head"},
    {"model", "language_model.model"},  // language models alone
}};

/// What a tensor may be called as well, or "": transformers reads LayerNorm.gamma and .beta of its oldest files as .weight and .bias,
/// ties the bias of a decoder in BERT's and RoBERTa's output layers to that of the layer, and its version 5 calls GPT-NeoX's embed_out
/// lm_head.
inline std::string other_name(std::string_view tensor) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> ends{{
      {"lm_head.weight", "embed_out.weight"},
      {"LayerNorm.weight", "LayerNorm.gamma"},
      {"LayerNorm.bias", "LayerNorm.beta"},
      {"predictions.decoder.bias", "predictions.bias"},
      {"lm_head.decoder.bias", "lm_head.bias"},
      {"entity_predictions.decoder.bias", "entity_predictions.bias"},
  }};
  for (const auto& [one, other] : ends)
    for (const auto& [from, to] : {std::pair(one, other), std::pair(other, one)})
      if (is_at_end(tensor, from)) return std::string(tensor.substr(0, tensor.size() - from.size())).append(to);
  return "";
}

}  // namespace io::detail
LORA_NAMESPACE_END
