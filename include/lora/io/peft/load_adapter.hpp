// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Reads a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, that holds a LoRA or DoRA adapter for
/// linear layers (rsLoRA, rank_pattern, alpha_pattern and fan_in_fan_out included; F16, BF16, F32 and F64 factors). What the
/// library does not support yet is refused by the name of its key or tensor, never passed over; so are a factor without
/// its partner, ranks that contradict each other or the configuration, and factors that are not finite. Throws FileError.
Adapter load_adapter(const std::filesystem::path& folder);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/peft/load_adapter-inl.hpp"
#endif
