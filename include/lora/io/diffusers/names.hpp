// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How diffusers' files name the modules of a pipeline. For bodies (-inl.hpp).

#include "lora/io/adapters/components.hpp"
#include "lora/io/adapters/file_pieces.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Where diffusers' files have an adapter's configuration: metadata of this key, a JSON object with COMPONENT.KEY for each key of
/// an adapter_config.json.
inline constexpr std::string_view diffusers_metadata = "lora_adapter_metadata";

/// Older files put the factors into objects of their own beside a projection, and the names of these do not hold its own.
struct OldProjection {
  std::string_view factors, projection;
};
inline constexpr std::array old_text_projections{
    OldProjection{"to_q_lora", "q_proj"}, OldProjection{"to_k_lora", "k_proj"}, OldProjection{"to_v_lora", "v_proj"},
    OldProjection{"to_out_lora", "out_proj"}};

/// A tensor's name in parts: the module's path, and what it is of its update.
struct DiffusersName {
  std::string module;
  std::string_view part;
};

/// `unet.PATH.lora_A.weight`, `unet.PATH.lora.down.weight`, `text_encoder.PATH.lora_linear_layer.down.weight`, and the oldest ones:
/// `unet.PATH.processor.to_q_lora.down.weight` for `PATH.to_q`. Nothing for any other.
inline std::optional<DiffusersName> parse_diffusers_name(std::string_view name) {
  if (const FilePiece* const piece = find_file_piece(name))
    return DiffusersName{std::string(name.substr(0, name.size() - piece->ending.size())), piece->part};
  static constexpr std::array oldest{FilePiece{"_lora.down.weight", "lora_A"}, FilePiece{"_lora.up.weight", "lora_B"}};
  for (const FilePiece& piece : oldest) {
    if (!name.ends_with(piece.ending)) continue;
    const std::string_view whole = name.substr(0, name.size() - piece.ending.size() + std::string_view("_lora").size());
    const std::size_t dot = whole.rfind('.');
    if (dot == whole.npos) return std::nullopt;
    std::string_view path = whole.substr(0, dot);
    const std::string_view factors = whole.substr(dot + 1);
    static constexpr std::string_view processor = ".processor";
    if (path.ends_with(processor)) path.remove_suffix(processor.size());
    std::string_view projection = factors.substr(0, factors.size() - std::string_view("_lora").size());
    if (component_of(path).starts_with("text_encoder")) {
      for (const OldProjection& old : old_text_projections)
        if (factors == old.factors) projection = old.projection;
    } else if (projection == "to_out") {
      projection = "to_out.0";
    }
    return DiffusersName{text(path, ".", projection), piece.part};
  }
  return std::nullopt;
}

}  // namespace io::detail
LORA_NAMESPACE_END
