// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Weights that are quantised, by their names and types. For bodies (-inl.hpp).

#include "lora/io/model/model.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What a quantiser stores for a module's weight.
struct Quantised {
  std::string_view module, maker;
  bool is_weight;  ///< the numbers themselves, no scale or the like
};
inline constexpr std::array<Quantised, 18> quantised_endings{{
    {".qweight", "GPTQ or AWQ", true},
    {".weight_packed", "compressed-tensors", true},
    {".W_q", "HQQ", true},
    {".q_weight", "EXL2", true},
    {".weight._data", "quanto", true},
    {".weight._scale", "quanto", false},
    {".qzeros", "GPTQ or AWQ", false},
    {".scales", "GPTQ or AWQ", false},
    {".g_idx", "GPTQ", false},
    {".weight_scale", "compressed-tensors or FP8", false},
    {".weight_scale_inv", "FP8", false},
    {".weight.absmax", "bitsandbytes", false},
    {".weight.quant_map", "bitsandbytes", false},
    {".weight.quant_state.bitsandbytes__nf4", "bitsandbytes", false},
    {".absmax", "bitsandbytes", false},
    {".quant_map", "bitsandbytes", false},
    {".SCB", "bitsandbytes", false},
    {".codebooks", "AQLM", true},
}};

/// What a tensor is by its name: `M.qweight` is that of M. Nothing for a name that is no quantiser's.
inline std::optional<Quantised> quantised_module(std::string_view tensor) {
  for (const auto& [ending, maker, is_weight] : quantised_endings)
    if (tensor.size() > ending.size() && tensor.ends_with(ending))
      return Quantised{tensor.substr(0, tensor.size() - ending.size()), maker, is_weight};
  return std::nullopt;
}

/// Whether weights of this type are a quantiser's: integers (of 32 bits too, which hold several weights) and numbers of 8 bits and
/// fewer.
constexpr bool is_quantised(DType dtype) { return !scalar_type(dtype) && dtype != DType::BOOL && dtype != DType::C64; }

/// What messages say after naming a quantised tensor.
inline constexpr std::string_view quantised_remedy =
    ": the weight is quantised, and a merge needs its numbers: merge into the model that was quantised, in F16, BF16 "
    "or F32 "
    "(or dequantise this one), then quantise the result";

}  // namespace io::detail
LORA_NAMESPACE_END
