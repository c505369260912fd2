// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How PEFT names the factors and the magnitude of a linear layer in adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/io/peft/wrappers.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

#include <algorithm>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Longer paths of modules are nobody's, and every pattern is tried on every path.
inline constexpr std::size_t max_module_path = 4096;

/// What a module has of an adapter: its factors, and with DoRA a magnitude.
enum class FactorKind : std::uint8_t { a, b, magnitude };
inline constexpr std::string_view magnitude_name = "lora_magnitude_vector";
constexpr std::string_view spelling(FactorKind kind) {
  return kind == FactorKind::a ? "lora_A" : kind == FactorKind::b ? "lora_B" : magnitude_name;
}

struct FactorName {
  std::string module;  ///< its path in the base model
  FactorKind kind;
  std::string adapter = {};  ///< where the name has one
};

inline std::string factor_tensor_name(const FactorName& factor) {
  return text("base_model.model.", factor.module, ".", spelling(factor.kind),
              factor.kind == FactorKind::magnitude ? "" : ".weight");
}

[[noreturn]] inline void refuse_tensor(const std::filesystem::path& file, const TensorInfo& tensor,
                                       std::string_view problem) {
  fail(file, "tensor ", in_quotes(tensor.name), ": ", problem);
}

/// DeepSpeed's ZeRO-3 leaves an empty tensor of one dimension where another process has the numbers.
inline bool is_left_empty(const TensorInfo& tensor) { return tensor.shape.size() == 1 && tensor.shape[0] == 0; }
inline constexpr std::string_view left_empty =
    "expected numbers, found an empty tensor, as DeepSpeed's ZeRO-3 saves one whose parts were not gathered: save it "
    "again with "
    "stage3_gather_16bit_weights_on_model_save, or convert the checkpoint with zero_to_fp32.py";

/// The tensor of the base model that a whole tensor in an adapter's file is a copy of, or stands for: `lm_head.weight`
/// for `base_model.model.lm_head.base_layer.weight`, `...lm_head.weight` and `...lm_head.modules_to_save.weight`.
/// Nothing for a tensor of the adapter's own.
inline std::optional<std::string> base_tensor_name(std::string_view tensor) {
  static constexpr std::array<std::string_view, 10> own{"lora_", "ia3_",  "vera_",   "hada_",     "lokr_",
                                                        "oft_",  "boft_", "vblora_", "randlora_", "trainable_tokens"};
  const Unwrapped unwrapped = without_wrappers(tensor);
  if (!unwrapped.has_peft_prefix) return std::nullopt;
  const std::vector<std::string_view> parts = parts_of(unwrapped.name);
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (std::any_of(own.begin(), own.end(), [&](std::string_view piece) { return parts[i].starts_with(piece); }))
      return std::nullopt;
    if (parts[i] == "base_layer" || parts[i] == "original_module") continue;
    if (parts[i] == "modules_to_save") {
      if (i + 2 < parts.size()) ++i;  // an adapter's name
      continue;
    }
    out.push_back(parts[i]);
  }
  return joined(out);
}

/// Throws FileError for what an adapter may hold besides the factors of linear layers.
inline void refuse_other_tensors(const std::filesystem::path& file, const TensorInfo& tensor) {
  const std::string_view name = tensor.name;
  const auto has = [&](std::string_view piece) { return name.find(piece) != name.npos; };
  if (has(".lora_embedding_")) refuse_tensor(file, tensor, "not supported: factors of an embedding");
  if (has(".base_layer.")) refuse_tensor(file, tensor, "not supported: factors of a base layer in an adapter's file");
  if (has(".lora_B.") && name.ends_with(".bias")) refuse_tensor(file, tensor, "not supported: lora_bias");
  if (!has(".lora_")) refuse_tensor(file, tensor, "not supported: a tensor that is no factor of LoRA's");
}

/// The piece of a tensor's name that says what it is, and where it begins; of several the last one.
struct FactorPlace {
  FactorKind kind;
  std::size_t at, end;
};
inline std::optional<FactorPlace> find_factor(std::string_view tensor) {
  std::optional<FactorPlace> out;
  for (const FactorKind kind : {FactorKind::a, FactorKind::b, FactorKind::magnitude}) {
    const std::string piece = text(".", spelling(kind));
    std::size_t at = tensor.rfind(piece);
    const auto is_whole = [&] { return at + piece.size() == tensor.size() || tensor[at + piece.size()] == '.'; };
    while (at != tensor.npos && !is_whole()) at = at == 0 ? tensor.npos : tensor.rfind(piece, at - 1);
    if (at != tensor.npos && (!out || at > out->at)) out = {kind, at, at + piece.size()};
  }
  return out;
}

/// `base_model.model.<module>.lora_A.weight` or, as older versions wrote, `....lora_A.<adapter>.weight`; a magnitude
/// is `....lora_magnitude_vector`, also with these endings. Wrappers are left out of the module's path. Throws
/// FileError, naming `file`, when the tensor is none of a linear layer's.
inline FactorName parse_factor_name(const std::filesystem::path& file, const TensorInfo& tensor) {
  static constexpr std::string_view prefix = "base_model.model.", ending = ".weight";
  const Unwrapped unwrapped = without_wrappers(tensor.name);
  if (!unwrapped.has_peft_prefix) refuse_tensor(file, tensor, "expected a name that begins with base_model.model.");
  const std::string whole = text(prefix, unwrapped.name);
  const std::string_view name = whole;
  if (is_left_empty(tensor)) refuse_tensor(file, tensor, left_empty);
  refuse_other_tensors(file, tensor);
  const std::optional<FactorPlace> place = find_factor(name);
  const bool is_magnitude = place && place->kind == FactorKind::magnitude;
  std::string_view adapter = place ? name.substr(place->end) : std::string_view();  // "", ".weight", ".name" or ".name.weight"
  if (!place || (!is_magnitude && !adapter.ends_with(ending)))
    refuse_tensor(file, tensor, "not supported: expected a name that ends in .lora_A.weight or .lora_B.weight");
  if (place->at <= prefix.size())
    refuse_tensor(file, tensor, "expected the path of a module before .lora_A or .lora_B, found none");
  if (is_magnitude && tensor.shape.size() != 1)
    refuse_tensor(file, tensor,
                  text("not supported: expected the one dimension of a linear layer's magnitude (DoRA), found ",
                       shape_list(tensor.shape), " (a convolution's?)"));
  if (!is_magnitude && tensor.shape.size() != 2)
    refuse_tensor(file, tensor,
                  text("not supported: expected the two dimensions of a linear layer's factor, found ",
                       shape_list(tensor.shape), " (a convolution's?)"));
  FactorName out{std::string(name.substr(prefix.size(), place->at - prefix.size())), place->kind};
  if (adapter.ends_with(ending)) adapter.remove_suffix(ending.size());
  if (!adapter.empty()) adapter.remove_prefix(1);
  out.adapter = adapter;
  if (out.module.size() > max_module_path)
    refuse_tensor(
        file, tensor,
        text("expected the path of a module to have at most ", max_module_path, " bytes, found ", out.module.size()));
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
