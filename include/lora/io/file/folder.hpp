// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What lies in a folder, for copying it as a whole.

#include "lora/io/error.hpp"

#include <algorithm>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Whether `file` names something within a folder: UTF-8, relative, in '/', without ".", ".." or empty parts.
bool is_within(std::string_view file);

}  // namespace detail

/// The regular files in a folder and the folders below it, relative to it, with '/', sorted, without git's own
/// (`.git`). Symbolic links count as what they lead to. Throws FileError for what is neither file nor folder, links
/// that lead nowhere, names that are not UTF-8, and more than 64 levels or 100,000 entries.
std::vector<std::string> files_below(const std::filesystem::path& folder);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/file/folder-inl.hpp"
#endif
