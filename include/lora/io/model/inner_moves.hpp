// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Parts within layers that have another name in files and older versions than in transformers 5's models (its conversion_mapping), for
/// names that a base lacks. For bodies (-inl.hpp).

#include "lora/io/model/vision_layouts.hpp"

#include <unordered_set>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Whole parts, newer and older; either may be the adapter's. Beside vision_moves those of Swin, ViT MAE, DETR and its kin, GraniteMoe.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 11> inner_moves{{
    {"attention.q_proj", "attention.self.query"},
    {"attention.k_proj", "attention.self.key"},
    {"attention.v_proj", "attention.self.value"},
    {"mlp.fc1", "fc1"},
    {"mlp.fc2", "fc2"},
    {"self_attn.o_proj", "self_attn.out_proj"},
    {"encoder_attn.o_proj", "encoder_attn.out_proj"},
    {"decoder_layers", "decoder_encoder.layer"},
    {"block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.input_linear.weight"},
    {"block_sparse_moe.experts.down_proj", "block_sparse_moe.output_linear.weight"},
    {"block_sparse_moe.router", "block_sparse_moe.router.layer"},
}};

/// Gives names that a base lacks those that it has after one of the moves, or two. Of a name in a numbered list only the list's name and
/// what comes after it count: how it begins is another question (module_names.hpp).
class InnerMoves {
 public:
  explicit InnerMoves(const BaseNames& base) : base_(base) {}

  /// Whether a tensor of the base has a name, or one that ends in it behind a dot.
  bool has(std::string_view name) {
    if (ends_.empty())  // made when it is asked for
      for (std::size_t t = 0; t < base_.size(); ++t) {
        const std::string_view whole = base_.unwrapped(t);
        std::size_t at = 0, parts = 0;
        do {
          ends_.insert(whole.substr(at));
          at = whole.find('.', at) + 1;
        } while (at != 0 && ++parts < most_parts);
      }
    return ends_.contains(in_list(name));
  }

  /// The name as it is where nothing else is found, or several.
  std::string translated(const std::string& name) {
    std::vector<std::string> names{name};
    for (int moves = 0; moves <= 2; ++moves) {
      std::string found;
      for (const std::string& one : names)
        if (has(one) && one != found) {
          if (!found.empty()) return name;
          found = one;
        }
      if (!found.empty()) return found;
      std::vector<std::string> next;
      for (const std::string& one : names) add_moved(one, next);
      names = std::move(next);
    }
    return name;
  }

 private:
  static std::string_view in_list(std::string_view name) {
    std::size_t list = 0, at = 0;
    for (const std::string_view part : parts_of(name)) {
      if (is_number(part)) return name.substr(list);
      list = at;
      at += part.size() + 1;
    }
    return name;
  }

  static void add_moved(const std::string& name, std::vector<std::string>& out) {
    const std::string dotted = "." + name + ".";
    const auto add = [&](std::string_view from, std::string_view to) {
      if (const std::size_t at = dotted.find(text(".", from, ".")); at != dotted.npos)
        out.push_back(name.substr(0, at) + std::string(to) + name.substr(at + from.size()));
    };
    const auto add_both = [&](const auto& moves) {
      for (const auto& [newer, older] : moves) {
        add(newer, older);
        add(older, newer);
      }
    };
    add_both(vision_moves);
    add_both(inner_moves);
  }

  static constexpr std::size_t most_parts = 16;  // of a name whose ends are looked at

  const BaseNames& base_;
  std::unordered_set<std::string_view> ends_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
