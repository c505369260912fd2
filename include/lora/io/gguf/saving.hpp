// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <cstdint>

LORA_NAMESPACE_BEGIN
namespace io {

/// What save_gguf_adapter does where `adapter.lora.alpha`, one number for all modules, does not give every scaling:
/// refuse, or multiply each lora_b with its scaling, rounded to its type.
enum class GgufScaling { alpha, fold_if_needed };

/// What save_gguf_adapter() did.
struct GgufSaved {
  bool is_folded = false;     ///< lora_b was multiplied; the file has no alpha
  std::uint64_t rounded = 0;  ///< how many elements of lora_b are not exactly the product
};

}  // namespace io
LORA_NAMESPACE_END
