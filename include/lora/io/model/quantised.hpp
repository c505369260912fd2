// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Weights that are quantised, by their names and types. For bodies (-inl.hpp).

#include "lora/io/model/model.hpp"

#include <array>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What a quantiser stores for a module's weight, or for a parameter.
struct Quantised {
  std::string_view module, maker;
  bool is_weight;             ///< the numbers themselves, no scale or the like
  bool is_parameter = false;  ///< `module` is the weight's own name

  /// What the weight itself is called.
  std::string weight() const { return text(module, is_parameter ? "" : ".weight"); }
};
inline constexpr std::array quantised_endings{
    Quantised{".qweight", "GPTQ or AWQ", true},
    Quantised{".weight_packed", "compressed-tensors", true},
    Quantised{".W_q", "HQQ", true},
    Quantised{".q_weight", "EXL2", true},
    Quantised{".weight._data", "quanto", true},
    Quantised{".weight._scale", "quanto", false},
    Quantised{".qzeros", "GPTQ or AWQ", false},
    Quantised{".scales", "GPTQ or AWQ", false},
    Quantised{".g_idx", "GPTQ", false},
    Quantised{".weight_scale", "compressed-tensors or FP8", false},
    Quantised{".weight_scale_inv", "FP8", false},
    Quantised{".weight.absmax", "bitsandbytes", false},
    Quantised{".weight.quant_map", "bitsandbytes", false},
    Quantised{".weight.quant_state.bitsandbytes__nf4", "bitsandbytes", false},
    Quantised{".absmax", "bitsandbytes", false},
    Quantised{".quant_map", "bitsandbytes", false},
    Quantised{".SCB", "bitsandbytes", false},
    Quantised{".codebooks", "AQLM", true},
    Quantised{".Qidxs", "QuIP#", true},
    Quantised{".trellis", "EXL3", true},
    Quantised{".weight_scale_2", "NVFP4", false},
    Quantised{".weight_global_scale", "compressed-tensors (NVFP4)", false},
    Quantised{".weight_scales", "EETQ", false},
    Quantised{"_blocks", "MXFP4", true, true},
    Quantised{"_scales", "MXFP4", false, true},
};

/// What a tensor is by its name: `M.qweight` is that of M. Nothing for a name that is no quantiser's.
inline std::optional<Quantised> quantised_module(std::string_view tensor) {
  for (const auto& [ending, maker, is_weight, is_parameter] : quantised_endings)
    if (tensor.size() > ending.size() && tensor.ends_with(ending))
      return Quantised{tensor.substr(0, tensor.size() - ending.size()), maker, is_weight, is_parameter};
  return std::nullopt;
}

/// Whether weights of this type are a quantiser's: integers (of 32 bits too, which hold several weights) and numbers of 8 bits and
/// fewer.
constexpr bool is_quantised(DType dtype) { return !scalar_type(dtype) && dtype != DType::BOOL && dtype != DType::C64; }

/// Numbers of 8 bits in a tensor of the weight's own shape.
constexpr bool is_float8(DType dtype) {
  return dtype == DType::F8_E4M3 || dtype == DType::F8_E5M2 || dtype == DType::F8_E4M3FNUZ || dtype == DType::F8_E5M2FNUZ;
}

/// What messages say after naming a quantised tensor.
inline constexpr std::string_view quantised_remedy =
    ": the weight is quantised, and a merge needs its numbers: merge into the model that was quantised, in F16, BF16 "
    "or F32 "
    "(or dequantise this one), then quantise the result";

}  // namespace io::detail
LORA_NAMESPACE_END
