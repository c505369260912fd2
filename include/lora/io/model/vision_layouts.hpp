// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The two layouts that vision transformers (ViT, DeiT, DINOv2, BEiT, AST ...) have: that of transformers 5's modules, and that of its
/// files and of older versions (its conversion_mapping). For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"
#include "lora/io/model/tied_types.hpp"

#include <algorithm>
#include <array>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Parts within layers in both: those of transformers 5, and the older ones.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 6> vision_moves{{
    {"attention.q_proj", "attention.attention.query"},
    {"attention.k_proj", "attention.attention.key"},
    {"attention.v_proj", "attention.attention.value"},
    {"attention.o_proj", "attention.output.dense"},
    {"mlp.fc1", "intermediate.dense"},
    {"mlp.fc2", "output.dense"},
}};

/// From one of the layouts to the other.
struct VisionLayout {
  bool to_older;    ///< to that of the files
  bool moves_list;  ///< `layers` is `encoder.layer`; some models keep the latter

  /// What a list of layers is called there.
  std::string_view list_name() const { return to_older || !moves_list ? "encoder.layer." : "layers."; }

  /// A name in the other layout; as it is where nothing of it differs.
  std::string operator()(std::string_view name) const {
    const std::string_view newer = moves_list ? ".layers." : ".encoder.layer.", older = ".encoder.layer.";
    const std::string_view list = to_older ? newer : older;
    const std::string dotted = std::string(".").append(name);
    const std::size_t at = dotted.find(list), number = at + list.size(), end = dotted.find('.', number);
    if (at == dotted.npos || end == dotted.npos) return std::string(name);
    std::string out = dotted.substr(1, at).append((to_older ? older : newer).substr(1)).append(dotted, number, end + 1 - number);
    const std::string_view rest = std::string_view(dotted).substr(end + 1);
    for (const auto& [new_name, old_name] : vision_moves) {
      const auto& [from, to] = to_older ? std::pair(new_name, old_name) : std::pair(old_name, new_name);
      if (rest.starts_with(from) && (rest.size() == from.size() || rest[from.size()] == '.'))
        return out.append(to).append(rest.substr(from.size()));
    }
    return out.append(rest);
  }
};

/// Which lists of layers in a base have which of the two layouts: told by the weights of their queries.
class VisionLayouts {
 public:
  explicit VisionLayouts(const BaseNames& base) {
    for (std::size_t t = 0; t < base.size(); ++t) {
      const std::string_view name = base.unwrapped(t);
      for (List& list : lists_) {
        if (!name.ends_with(list.query)) continue;
        const std::string_view whole = name.substr(0, name.size() - list.query.size());
        const std::string_view path = whole.substr(0, whole.rfind('.') + 1);  // without the number
        const bool is_list = path == list.name || path.ends_with(std::string(".").append(list.name));
        if (is_list && is_number(whole.substr(path.size())) &&
            std::find(list.paths.begin(), list.paths.end(), path) == list.paths.end())
          list.paths.emplace_back(path);
      }
    }
  }

  /// A name as the base's list of layers has it, where that has the other layout; as it is everywhere else.
  std::string translated(std::string_view name) const {
    for (const List& list : lists_)
      for (const bool moves_list : {true, false}) {
        const VisionLayout layout{list.is_older, moves_list};
        if (list.paths.empty() || layout.list_name() != list.name) continue;
        const std::string other = layout(name);
        if (other == name) continue;
        const std::string dotted = std::string(".").append(other), in = std::string(".").append(list.name);
        const std::string_view path = std::string_view(other).substr(0, dotted.find(in) + list.name.size());
        for (const std::string& known : list.paths)
          if (is_at_end(known, path) || is_at_end(path, known)) return other;
      }
    return std::string(name);
  }

 private:
  struct List {
    bool is_older;
    std::string_view name, query;
    std::vector<std::string> paths = {};
  };

  std::array<List, 3> lists_{{{true, "encoder.layer.", ".attention.attention.query.weight"},
                              {false, "layers.", ".attention.q_proj.weight"},
                              {false, "encoder.layer.", ".attention.q_proj.weight"}}};
};

}  // namespace io::detail
LORA_NAMESPACE_END
