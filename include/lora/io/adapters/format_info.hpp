// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io {

/// A format that adapters have.
struct AdapterFormatInfo {
  std::string_view name;  ///< "peft", "kohya", "diffusers", "mlx", "gguf"
  std::string_view what;  ///< "a PEFT folder ..."
  bool is_written;  ///< whether save_adapter_as() writes it
  std::string_view cannot_say;  ///< of adapters that the library can hold
};

}  // namespace io
LORA_NAMESPACE_END
