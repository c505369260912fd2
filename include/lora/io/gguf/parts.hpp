// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Models in several GGUF files: NAME-00001-of-00003.gguf and so on, in a folder, as llama.cpp splits them.

#include "lora/io/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// The names of the GGUF files in a folder that are the parts of a model by their names, in order; none where it has no such file, or
/// is no folder. Throws FileError where a part is missing, and where there are parts of two models.
std::vector<std::string> gguf_parts_in(const std::filesystem::path& folder);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/parts-inl.hpp"
#endif
