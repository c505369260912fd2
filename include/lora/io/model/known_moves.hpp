// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <array>
#include <string_view>

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

}  // namespace io::detail
LORA_NAMESPACE_END
