// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Weights that are quantised, by their names and types. For bodies (-inl.hpp).

#include "lora/io/model/model.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// How quantisers name what they store in place of, or beside, the weight of a module M: `M.qweight` ...
struct QuantisedName {
  std::string_view ending, maker;
};
inline constexpr std::array<QuantisedName, 16> quantised_names{{
    {".qweight", "GPTQ or AWQ"},
    {".qzeros", "GPTQ or AWQ"},
    {".g_idx", "GPTQ"},
    {".weight_packed", "compressed-tensors"},
    {".weight_scale", "compressed-tensors or FP8"},
    {".weight_scale_inv", "FP8"},
    {".scales", "GPTQ, AWQ or MXFP4"},
    {".weight.absmax", "bitsandbytes"},
    {".weight.quant_map", "bitsandbytes"},
    {".absmax", "bitsandbytes"},
    {".quant_map", "bitsandbytes"},
    {".SCB", "bitsandbytes"},
    {".W_q", "HQQ"},
    {".codebooks", "AQLM"},
    {".q_weight", "EXL2"},
    {".weight.quant_state.bitsandbytes__nf4", "bitsandbytes"},
}};

/// The module whose weight a quantiser's tensor stands for, and who makes such tensors; nothing for another one.
inline std::optional<std::pair<std::string_view, std::string_view>> quantised_module(std::string_view tensor) {
  for (const auto& [ending, maker] : quantised_names)
    if (tensor.size() > ending.size() && tensor.ends_with(ending))
      return std::pair(tensor.substr(0, tensor.size() - ending.size()), maker);
  return std::nullopt;
}

/// Whether weights of this type are a quantiser's: integers and numbers of 8 bits and fewer.
constexpr bool is_quantised(DType dtype) { return bits(dtype) <= 8 && dtype != DType::BOOL; }

/// What messages say after naming a quantised tensor.
inline constexpr std::string_view quantised_remedy =
    ": the weight is quantised, and a merge needs its numbers: merge into the model that was quantised, in F16, BF16 "
    "or F32 "
    "(or dequantise this one), then quantise the result";

}  // namespace io::detail
LORA_NAMESPACE_END
