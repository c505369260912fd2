// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The components of diffusers' pipelines, and how files of adapters name them. For bodies (-inl.hpp).

#include "lora/io/model/rename.hpp"

#include <algorithm>
#include <array>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The folders of a pipeline that adapters are made for, and the first parts of the names in diffusers' files (`diffusion_model` is
/// ComfyUI's for the denoiser).
struct Component {
  std::string_view name;
  bool is_denoiser = false;
};
inline constexpr std::array components{Component{"unet", true},
                                       Component{"transformer", true},
                                       Component{"diffusion_model", true},
                                       Component{"transformer_2"},
                                       Component{"text_encoder"},
                                       Component{"text_encoder_2"},
                                       Component{"text_encoder_3"},
                                       Component{"image_encoder"},
                                       Component{"controlnet"},
                                       Component{"prior"},
                                       Component{"vae"}};

inline const Component* find_component(std::string_view name) {
  const auto at =
      std::find_if(components.begin(), components.end(), [&](const Component& row) { return row.name == name; });
  return at == components.end() ? nullptr : &*at;
}

/// Whether two names are of one component: a pipeline has one denoiser, which older files call unet whatever it is.
inline bool is_same_component(std::string_view a, std::string_view b) {
  const Component *const row_a = find_component(a), *const row_b = find_component(b);
  return a == b || (row_a != nullptr && row_b != nullptr && row_a->is_denoiser && row_b->is_denoiser);
}

/// What the names of files of kohya's scripts, LyCORIS and OneTrainer (lora_transformer_) begin with; of several for a component the
/// first one is written.
struct FlatPrefix {
  std::string_view prefix, component;
};
inline constexpr std::array flat_prefixes{
    FlatPrefix{"lora_unet_", "unet"},          FlatPrefix{"lora_te_", "text_encoder"},
    FlatPrefix{"lora_te1_", "text_encoder"},   FlatPrefix{"lora_te2_", "text_encoder_2"},
    FlatPrefix{"lora_te3_", "text_encoder_3"}, FlatPrefix{"lora_transformer_", "transformer"},
    FlatPrefix{"lycoris_", ""}};

/// The prefix that a name begins with, or null.
inline const FlatPrefix* find_flat_prefix(std::string_view name) {
  const auto at = std::find_if(flat_prefixes.begin(), flat_prefixes.end(), [&](const FlatPrefix& row) {
    return name.starts_with(row.prefix) && name.size() > row.prefix.size();
  });
  return at == flat_prefixes.end() ? nullptr : &*at;
}

/// Whether modules of a component may be those of another one by their names: lora_te3_ is the T5 encoder, which is the third of Stable
/// Diffusion 3 and the second of Flux.
inline bool may_be_component(std::string_view component, std::string_view other) {
  return component == "text_encoder_3" && other == "text_encoder_2";
}

/// Whether a rename says what stands in the base before all names of a prefix: lora_unet=model.diffusion_model.
inline bool is_rename_of_prefix(const Rename& rename, std::string_view prefix) {
  return !rename.from.empty() && prefix.substr(0, prefix.size() - 1) == rename.from;
}

/// The first part of a path between dots when it is a component's name, else "".
inline std::string_view component_of(std::string_view path) {
  const std::string_view first = path.substr(0, path.find('.'));
  return first.size() < path.size() && find_component(first) != nullptr ? first : std::string_view();
}

/// Where single-file checkpoints have a pipeline's components.
struct ComponentPlace {
  std::string_view beginning, component;
};
inline constexpr std::array single_file_places{ComponentPlace{"model.diffusion_model", "unet"},
                                               ComponentPlace{"cond_stage_model.transformer", "text_encoder"},
                                               ComponentPlace{"cond_stage_model.model", "text_encoder"},
                                               ComponentPlace{"conditioner.embedders.0.transformer", "text_encoder"},
                                               ComponentPlace{"conditioner.embedders.1.model", "text_encoder_2"},
                                               ComponentPlace{"text_encoders.clip_l.transformer", "text_encoder"},
                                               ComponentPlace{"text_encoders.clip_g.transformer", "text_encoder_2"},
                                               ComponentPlace{"text_encoders.t5xxl.transformer", "text_encoder_3"}};

/// The component that a base's tensor is of by its name, and the parts that say so; empty where none do.
inline ComponentPlace place_of(std::string_view path) {
  if (const std::string_view first = component_of(path); !first.empty()) return {first, first};
  for (const ComponentPlace& place : single_file_places)
    if (path.size() > place.beginning.size() && path.starts_with(place.beginning) &&
        path[place.beginning.size()] == '.')
      return place;
  return {};
}

}  // namespace io::detail
LORA_NAMESPACE_END
