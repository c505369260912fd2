// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Parts within layers that have another name in files and older versions than in transformers 5's models (its conversion_mapping), for
/// names that a base lacks. For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"

#include <array>
#include <unordered_set>

LORA_NAMESPACE_BEGIN
namespace io::detail {

struct InnerMove {
  std::string_view newer, older;
};
/// Whole parts; either may be the adapter's. Swin, ViT MAE, DETR and its kin, SegFormer, GraniteMoe.
inline constexpr std::array<InnerMove, 17> inner_moves{{
    {"attention.q_proj", "attention.attention.query"},
    {"attention.k_proj", "attention.attention.key"},
    {"attention.v_proj", "attention.attention.value"},
    {"attention.q_proj", "attention.self.query"},
    {"attention.k_proj", "attention.self.key"},
    {"attention.v_proj", "attention.self.value"},
    {"attention.o_proj", "attention.output.dense"},
    {"mlp.fc1", "intermediate.dense"},
    {"mlp.fc2", "output.dense"},
    {"mlp.fc1", "fc1"},
    {"mlp.fc2", "fc2"},
    {"self_attn.o_proj", "self_attn.out_proj"},
    {"encoder_attn.o_proj", "encoder_attn.out_proj"},
    {"decoder_layers", "decoder_encoder.layer"},
    {"block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.input_linear.weight"},
    {"block_sparse_moe.experts.down_proj", "block_sparse_moe.output_linear.weight"},
    {"block_sparse_moe.router", "block_sparse_moe.router.layer"},
}};

/// Gives names that a base lacks those that it has after one of the moves, or two.
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
    return ends_.contains(name);
  }

  /// The name as it is where nothing else is found.
  std::string translated(const std::string& name) {
    if (has(name)) return name;
    const std::vector<std::string> once = moved(name);
    for (const std::string& one : once)
      if (has(one)) return one;
    for (const std::string& one : once)
      for (const std::string& two : moved(one))
        if (has(two)) return two;
    return name;
  }

 private:
  static std::vector<std::string> moved(const std::string& name) {
    std::vector<std::string> out;
    const std::string dotted = "." + name + ".";
    for (const auto& [newer, older] : inner_moves)
      for (const auto& [from, to] : {std::pair(newer, older), std::pair(older, newer)})
        if (const std::size_t at = dotted.find(text(".", from, ".")); at != dotted.npos)
          out.push_back(name.substr(0, at) + std::string(to) + name.substr(at + from.size()));
    return out;
  }

  static constexpr std::size_t most_parts = 16;  // of a name whose ends are looked at

  const BaseNames& base_;
  std::unordered_set<std::string_view> ends_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
