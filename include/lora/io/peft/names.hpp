// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How PEFT names the tensors of adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/peft/kinds.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Longer paths of modules are nobody's, and every pattern is tried on every path.
inline constexpr std::size_t max_module_path = 4096;

inline constexpr std::string_view peft_prefix = "base_model.model.", shared_prefix = "base_model.",
                                  base_layer_piece = ".base_layer", magnitude_name = "lora_magnitude_vector";

/// What stands behind a module's path, and what it is of the module's update.
struct PeftPiece {
  std::string_view spelling;
  std::string_view part;           // KindPart::name
  std::string_view ending = "";    // what the tensor's name ends in besides
  bool is_embedding = false;
  bool is_shared = false;          // one for all modules, in front of which no path stands
};
inline constexpr std::array peft_pieces{
    PeftPiece{"lora_A", "lora_A", ".weight"},
    PeftPiece{"lora_B", "lora_B", ".weight"},
    PeftPiece{"lora_embedding_A", "lora_A", "", true},
    PeftPiece{"lora_embedding_B", "lora_B", "", true},
    PeftPiece{magnitude_name, magnitude_name},
    PeftPiece{"hada_w1_a", "hada_w1_a"},
    PeftPiece{"hada_w1_b", "hada_w1_b"},
    PeftPiece{"hada_w2_a", "hada_w2_a"},
    PeftPiece{"hada_w2_b", "hada_w2_b"},
    PeftPiece{"hada_t1", "hada_t1"},
    PeftPiece{"hada_t2", "hada_t2"},
    PeftPiece{"lokr_w1", "lokr_w1"},
    PeftPiece{"lokr_w1_a", "lokr_w1_a"},
    PeftPiece{"lokr_w1_b", "lokr_w1_b"},
    PeftPiece{"lokr_w2", "lokr_w2"},
    PeftPiece{"lokr_w2_a", "lokr_w2_a"},
    PeftPiece{"lokr_w2_b", "lokr_w2_b"},
    PeftPiece{"lokr_t2", "lokr_t2"},
    PeftPiece{"vera_lambda_b", "vera_lambda_b"},
    PeftPiece{"vera_lambda_d", "vera_lambda_d"},
    PeftPiece{"vera_A", "vera_A", "", false, true},
    PeftPiece{"vera_B", "vera_B", "", false, true},
    PeftPiece{"ia3_l", "ia3_l"}};

/// The piece that is a part of an update, of an embedding's or another's.
inline const PeftPiece& piece_of(std::string_view part, bool is_embedding) {
  for (const PeftPiece& piece : peft_pieces)
    if (piece.part == part && (piece.is_embedding == is_embedding || part == magnitude_name)) return piece;
  return peft_pieces.front();  // kinds have no other parts
}

/// What a tensor of an adapter is.
struct PeftName {
  std::string module;  ///< its path in the base model, with `.base_layer` where the name has it
  const PeftPiece* piece;
  bool is_bias = false;      ///< `lora_B.bias`
  std::string adapter = {};  ///< where the name has one
};

inline std::string peft_tensor_name(std::string_view module, const PeftPiece& piece) {
  return piece.is_shared ? text(shared_prefix, piece.spelling)
                         : text(peft_prefix, module, ".", piece.spelling, piece.ending);
}

[[noreturn]] inline void refuse_tensor(const std::filesystem::path& file, const TensorInfo& tensor,
                                       std::string_view problem) {
  fail(file, "tensor ", in_quotes(tensor.name), ": ", problem);
}

/// The last piece in a tensor's name, and where it begins and ends.
struct PlacedPiece {
  const PeftPiece* piece;
  std::size_t begin, end;
};
inline std::optional<PlacedPiece> find_piece(std::string_view name) {
  for (std::size_t end = name.size();;) {
    const std::size_t dot = name.rfind('.', end - 1);
    if (end == 0 || dot == name.npos) return std::nullopt;
    const std::string_view word = name.substr(dot + 1, end - dot - 1);
    for (const PeftPiece& piece : peft_pieces)
      if (piece.spelling == word) return PlacedPiece{&piece, dot + 1, end};
    end = dot;
    if (end == 0) return std::nullopt;
  }
}

/// `base_model.model.<module>.lora_A.weight` or, as older versions wrote, `....lora_A.<adapter>.weight`, and so on; nothing for a
/// tensor that is no part of an update. Throws FileError, naming `file`.
inline std::optional<PeftName> parse_peft_name(const std::filesystem::path& file, const TensorInfo& tensor) {
  const std::string_view name = tensor.name;
  const std::optional<PlacedPiece> found = find_piece(name);
  if (!found) {
    if (!name.starts_with(shared_prefix)) refuse_tensor(file, tensor, "expected a name that begins with base_model.model.");
    return std::nullopt;
  }
  PeftName out{"", found->piece};
  std::string_view rest = name.substr(found->end);  // "", ".weight", ".<adapter>" or ".<adapter>.weight"
  const bool is_factor = !found->piece->ending.empty();
  out.is_bias = found->piece->spelling == "lora_B" && rest.ends_with(".bias");
  if (out.is_bias || rest.ends_with(".weight"))
    rest.remove_suffix(out.is_bias ? 5 : 7);
  else if (is_factor)
    refuse_tensor(file, tensor, text("not supported: expected a name that ends in .", found->piece->spelling, ".weight"));
  if (!rest.empty()) out.adapter = rest.substr(1);
  const std::string_view prefix = found->piece->is_shared ? shared_prefix : peft_prefix;
  if (!name.starts_with(prefix)) refuse_tensor(file, tensor, text("expected a name that begins with ", prefix));
  if (found->piece->is_shared) return out;
  if (found->begin <= prefix.size())
    refuse_tensor(file, tensor, text("expected the path of a module before .", found->piece->spelling, ", found none"));
  out.module = name.substr(prefix.size(), found->begin - 1 - prefix.size());
  if (out.module.size() > max_module_path)
    refuse_tensor(file, tensor,
                  text("expected the path of a module to have at most ", max_module_path, " bytes, found ", out.module.size()));
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
