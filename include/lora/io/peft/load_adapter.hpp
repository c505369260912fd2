// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Reads an adapter in any of the formats that adapter_formats() lists, told by what is in it: a PEFT folder (`adapter_config.json`,
/// `adapter_model.safetensors`), a folder of mlx-lm, a safetensors file of kohya's scripts, LyCORIS or diffusers, a GGUF
/// adapter (under GGUF's names: from_gguf()). Factors are F16,
/// BF16, F32 or F64. What the library does not support is refused by the name of its key or tensor, never passed over; so are a
/// factor without its partner, ranks that contradict each other or the configuration, and factors that are not finite. Throws
/// FileError.
Adapter load_adapter(const std::filesystem::path& path);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/peft/load_adapter-inl.hpp"
#endif
