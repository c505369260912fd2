// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How PEFT names the tensors of adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/peft/kinds.hpp"
#include "lora/io/peft/wrappers.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

#include <algorithm>
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
/// The rows of an embedding that trainable_token_indices lists (those of TRAINABLE_TOKENS stand there without the first part): they
/// replace the base's, despite their name. And LN_TUNING's layer in the place of the base's.
inline constexpr std::string_view token_adapter_piece = ".token_adapter", tokens_piece = ".trainable_tokens_delta",
                                  layers_piece = ".ln_tuning_layers.";

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

/// DeepSpeed's ZeRO-3 leaves an empty tensor of one dimension where another process has the numbers.
inline bool is_left_empty(const TensorInfo& tensor) { return tensor.shape.size() == 1 && tensor.shape[0] == 0; }
inline constexpr std::string_view left_empty =
    "expected numbers, found an empty tensor, as DeepSpeed's ZeRO-3 saves one whose parts were not gathered: save it again with "
    "stage3_gather_16bit_weights_on_model_save, or convert the checkpoint with zero_to_fp32.py";

/// PEFT pads w1's shape in front there, not behind as LyCORIS does and it does itself in every other case.
inline constexpr std::string_view peft_lokr_of_one_dimension =
    "not supported: a whole lokr_w2 of a convolution over one dimension, whose product with w1 PEFT takes in another "
    "order than LyCORIS";

/// The tensor of the base model that a whole tensor in an adapter's file is a copy of, or stands for: `lm_head.weight` for
/// `base_model.model.lm_head.base_layer.weight`, `...lm_head.weight`, `...lm_head.modules_to_save.weight`,
/// `...lm_head.ln_tuning_layers.weight` and `...lm_head.token_adapter.base_layer.weight`. Nothing for a tensor of the adapter's own.
inline std::optional<std::string> base_tensor_name(std::string_view tensor) {
  static constexpr std::array<std::string_view, 10> own{"lora_", "ia3_",  "vera_", "hada_",      "lokr_",
                                                        "oft_",  "boft_", "vblora_", "randlora_", "trainable_tokens"};
  const Unwrapped unwrapped = without_wrappers(tensor);
  if (!unwrapped.has_peft_prefix) return std::nullopt;
  const std::vector<std::string_view> parts = parts_of(unwrapped.name);
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (std::any_of(own.begin(), own.end(), [&](std::string_view piece) { return parts[i].starts_with(piece); }))
      return std::nullopt;
    if (parts[i] == "base_layer" || parts[i] == "original_module" || parts[i] == "token_adapter") continue;
    if (parts[i] == "modules_to_save" || parts[i] == "ln_tuning_layers") {
      if (i + 2 < parts.size()) ++i;  // an adapter's name
      continue;
    }
    out.push_back(parts[i]);
  }
  return joined(out);
}

/// The last piece in a tensor's name, and where it begins and ends.
struct PlacedPiece {
  const PeftPiece* piece;
  std::size_t begin, end;
};
inline std::optional<PlacedPiece> find_piece(std::string_view name) {
  for (std::size_t end = name.size(); end != 0;) {
    const std::size_t dot = name.rfind('.', end - 1), begin = dot == name.npos ? 0 : dot + 1;
    for (const PeftPiece& piece : peft_pieces)
      if (piece.spelling == name.substr(begin, end - begin)) return PlacedPiece{&piece, begin, end};
    end = begin == 0 ? 0 : dot;
  }
  return std::nullopt;
}

/// `base_model.model.<module>.lora_A.weight` or, as older versions wrote, `....lora_A.<adapter>.weight`, and so on. Wrappers are
/// left out of the module's path. Throws FileError, naming `file`, for a tensor that is no part of an update.
inline PeftName parse_peft_name(const std::filesystem::path& file, const TensorInfo& tensor) {
  const auto refuse_length = [&](std::size_t found) {
    refuse_tensor(file, tensor, text("expected the path of a module to have at most ", max_module_path, " bytes, found ", found));
  };
  if (tensor.name.size() > 2 * max_module_path) refuse_length(tensor.name.size());
  const Unwrapped unwrapped = without_wrappers(tensor.name);
  const std::string_view name = unwrapped.name;
  if (is_left_empty(tensor)) refuse_tensor(file, tensor, left_empty);
  const std::optional<PlacedPiece> found = find_piece(name);
  if (!unwrapped.has_peft_prefix && !(found && found->piece->is_shared && name.starts_with(shared_prefix)))
    refuse_tensor(file, tensor,
                  "expected a name that begins with base_model.model., as PEFT's save_pretrained writes it: save the adapter with "
                  "that, or put base_model.model. before the names of all tensors");
  if (!found)
    refuse_tensor(file, tensor, "not supported: expected a name that ends in .lora_A.weight or .lora_B.weight, or that of another "
                                "kind's tensor");
  const PeftPiece& piece = *found->piece;
  PeftName out{"", &piece};
  std::string_view rest = name.substr(found->end);  // "", ".weight", ".<adapter>" or ".<adapter>.weight"
  out.is_bias = piece.spelling == "lora_B" && rest.ends_with(".bias");
  if (out.is_bias || rest.ends_with(".weight"))
    rest.remove_suffix(out.is_bias ? 5 : 7);
  else if (!piece.ending.empty())
    refuse_tensor(file, tensor, text("not supported: expected a name that ends in .", piece.spelling, piece.ending));
  if (!rest.empty()) out.adapter = rest.substr(1);
  if (piece.is_shared) return out;
  if (found->begin < 2)
    refuse_tensor(file, tensor, text("expected the path of a module before .", piece.spelling, ", found none"));
  out.module = name.substr(0, found->begin - 1);
  std::string_view path = out.module;
  while (path.ends_with(base_layer_piece)) path.remove_suffix(base_layer_piece.size());
  if (path.ends_with(".base_layer.out_proj"))
    refuse_tensor(file, tensor,
                  "not supported: LoRA of an nn.MultiheadAttention, whose out_proj gets its change twice in versions of PEFT: merge "
                  "it with the PEFT that it was trained with (merge_and_unload) and save the model");
  if (path.find(".base_layer.") != path.npos)
    refuse_tensor(file, tensor, "not supported: factors of a module in a base layer");
  if (out.module.size() > max_module_path) refuse_length(out.module.size());
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
