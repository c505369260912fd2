// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The two layouts that vision transformers (ViT, DeiT, DINOv2, BEiT, AST ...) have: that of transformers 5's modules, and that of its
/// files and of older versions (its conversion_mapping). For bodies (-inl.hpp).

#include "lora/io/peft/wrappers.hpp"

#include <algorithm>
#include <array>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// From one of the layouts to the other.
struct VisionLayout {
  bool to_older;    ///< to that of the files
  bool moves_list;  ///< `layers` is `encoder.layer`; some models keep the latter

  /// A name in the other layout; as it is where nothing of it differs.
  std::string operator()(std::string_view name) const {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> inner{{
        {"attention.q_proj", "attention.attention.query"},
        {"attention.k_proj", "attention.attention.key"},
        {"attention.v_proj", "attention.attention.value"},
        {"attention.o_proj", "attention.output.dense"},
        {"mlp.fc1", "intermediate.dense"},
        {"mlp.fc2", "output.dense"},
    }};
    const std::string_view newer = moves_list ? ".layers." : ".encoder.layer.", older = ".encoder.layer.";
    const std::string_view list = to_older ? newer : older;
    const std::string dotted = std::string(".").append(name);
    const std::size_t at = dotted.find(list), number = at + list.size(), end = dotted.find('.', number);
    if (at == dotted.npos || end == dotted.npos) return std::string(name);
    std::string out = dotted.substr(1, at).append((to_older ? older : newer).substr(1)).append(dotted, number, end + 1 - number);
    const std::string_view rest = std::string_view(dotted).substr(end + 1);
    for (const auto& [new_name, old_name] : inner) {
      const auto& [from, to] = to_older ? std::pair(new_name, old_name) : std::pair(old_name, new_name);
      if (rest.starts_with(from) && (rest.size() == from.size() || rest[from.size()] == '.'))
        return out.append(to).append(rest.substr(from.size()));
    }
    return out.append(rest);
  }
};

inline constexpr std::array<VisionLayout, 4> vision_layouts{{{true, true}, {true, false}, {false, true}, {false, false}}};

}  // namespace io::detail
LORA_NAMESPACE_END
