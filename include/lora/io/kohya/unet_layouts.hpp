// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The two layouts that UNets of Stable Diffusion (1, 2 and XL) have: diffusers' and that of Stability's single files.
/// kohya's names are those of the one or the other. For bodies (-inl.hpp).

#include "lora/io/error.hpp"

#include <string>
#include <string_view>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The beginnings of modules' names in both layouts, with '_' for '.', and that they are whole parts. Blocks have two
/// layers on the way down and three on the way up; the last part of an upsampler's block depends on what the block has
/// before it.
class UnetLayouts {
 public:
  UnetLayouts() {
    static constexpr Row single[] = {{"conv_in", "input_blocks_0_0"},
                                     {"time_embedding_linear_1", "time_embed_0"},
                                     {"time_embedding_linear_2", "time_embed_2"},
                                     {"add_embedding_linear_1", "label_emb_0_0"},
                                     {"add_embedding_linear_2", "label_emb_0_2"},
                                     {"mid_block_attentions_0", "middle_block_1"},
                                     {"conv_norm_out", "out_0"},
                                     {"conv_out", "out_2"}};
    for (const auto& [diffusers, stability] : single) add(std::string(diffusers), std::string(stability));
    add_resnet("mid_block_resnets_0", "middle_block_0");
    add_resnet("mid_block_resnets_1", "middle_block_2");
    for (int i = 0; i < 4; ++i) {
      const std::string down = text("down_blocks_", i), up = text("up_blocks_", i);
      add(down + "_downsamplers_0_conv", text("input_blocks_", 3 * i + 3, "_0_op"));
      for (const int place : {2, 1})  // before attentions, which have the same place in other blocks
        add(up + "_upsamplers_0_conv", text("output_blocks_", 3 * i + 2, "_", place, "_conv"));
      for (int j = 0; j < 3; ++j) {
        const std::string layer = text("_", j);
        if (j < 2) add_layer(down, layer, text("input_blocks_", 3 * i + j + 1));
        add_layer(up, layer, text("output_blocks_", 3 * i + j));
      }
    }
  }

  /// What a module may be called in the other layout; nothing for a name of neither.
  std::vector<std::string> others(std::string_view name) const {
    std::vector<std::string> out;
    for (const auto& [diffusers, stability] : rows_)
      for (const auto& [from, to] : {std::pair(&diffusers, &stability), std::pair(&stability, &diffusers)})
        if (name.starts_with(*from) && (name.size() == from->size() || name[from->size()] == '_'))
          out.push_back(*to + std::string(name.substr(from->size())));
    return out;
  }

 private:
  struct Row {
    std::string_view diffusers, stability;
  };

  void add(std::string diffusers, std::string stability) {
    rows_.emplace_back(std::move(diffusers), std::move(stability));
  }
  void add_resnet(const std::string& diffusers, const std::string& stability) {
    static constexpr Row inner[] = {{"_norm1", "_in_layers_0"},          {"_conv1", "_in_layers_2"},
                                    {"_norm2", "_out_layers_0"},         {"_conv2", "_out_layers_3"},
                                    {"_time_emb_proj", "_emb_layers_1"}, {"_conv_shortcut", "_skip_connection"}};
    for (const Row& row : inner) add(diffusers + std::string(row.diffusers), stability + std::string(row.stability));
  }
  void add_layer(const std::string& block, const std::string& layer, const std::string& stability) {
    add_resnet(block + "_resnets" + layer, stability + "_0");
    add(block + "_attentions" + layer, stability + "_1");
  }

  std::vector<std::pair<std::string, std::string>> rows_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
