// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How PEFT names the factors of a linear layer in adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Longer paths of modules are nobody's, and every pattern is tried on every path.
inline constexpr std::size_t max_module_path = 4096;

struct FactorName {
  std::string module;        ///< its path in the base model
  bool is_a;                 ///< lora_A, else lora_B
  std::string adapter = {};  ///< where the name has one
};

inline std::string factor_tensor_name(const FactorName& factor) {
  return text("base_model.model.", factor.module, factor.is_a ? ".lora_A.weight" : ".lora_B.weight");
}

[[noreturn]] inline void refuse_tensor(const std::filesystem::path& file, const TensorInfo& tensor,
                                       std::string_view problem) {
  fail(file, "tensor ", in_quotes(tensor.name), ": ", problem);
}

/// Throws FileError for what an adapter may hold besides the factors of linear layers.
inline void refuse_other_tensors(const std::filesystem::path& file, const TensorInfo& tensor) {
  const std::string_view name = tensor.name;
  const auto has = [&](std::string_view piece) { return name.find(piece) != name.npos; };
  if (has(".lora_embedding_")) refuse_tensor(file, tensor, "not supported: factors of an embedding");
  if (has(".lora_magnitude_vector")) refuse_tensor(file, tensor, "not supported: the magnitudes of DoRA");
  if (has(".base_layer."))
    refuse_tensor(file, tensor, "not supported: weights or factors of a base layer in an adapter's file");
  if (has(".lora_B.") && name.ends_with(".bias")) refuse_tensor(file, tensor, "not supported: lora_bias");
  if (name.ends_with(".bias")) refuse_tensor(file, tensor, "not supported: a bias in place of the base model's");
  if (!has(".lora_")) refuse_tensor(file, tensor, "not supported: a tensor in place of the base model's");
}

/// `base_model.model.<module>.lora_A.weight` or, as older versions wrote, `....lora_A.<adapter>.weight`. Throws
/// FileError, naming `file`, when the tensor is no factor of a linear layer.
inline FactorName parse_factor_name(const std::filesystem::path& file, const TensorInfo& tensor) {
  static constexpr std::string_view prefix = "base_model.model.", ending = ".weight";
  const std::string_view name = tensor.name;
  if (!name.starts_with(prefix)) refuse_tensor(file, tensor, "expected a name that begins with base_model.model.");
  refuse_other_tensors(file, tensor);
  const std::size_t a = name.rfind(".lora_A."), b = name.rfind(".lora_B.");
  const bool is_a = a != name.npos && (b == name.npos || a > b);
  const std::size_t at = is_a ? a : b;
  if (at == name.npos || !name.ends_with(ending) || at + 7 > name.size() - ending.size())
    refuse_tensor(file, tensor, "not supported: expected a name that ends in .lora_A.weight or .lora_B.weight");
  if (at <= prefix.size())
    refuse_tensor(file, tensor, "expected the path of a module before .lora_A or .lora_B, found none");
  if (tensor.shape.size() != 2)
    refuse_tensor(file, tensor,
                  text("not supported: expected the two dimensions of a linear layer's factor, found ",
                       shape_list(tensor.shape), " (a convolution's?)"));
  FactorName out{std::string(name.substr(prefix.size(), at - prefix.size())), is_a};
  std::string_view adapter = name.substr(at + 7, name.size() - ending.size() - at - 7);  // "" or ".name"
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
