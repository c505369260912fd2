// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Arguments are in UTF-8, for which Windows' std::filesystem::path does not take them: CLI11 is told before it is
/// included, so that its templates find this.

#include <lora/io/file/system.hpp>

namespace CLI::detail {

inline bool lexical_cast(const std::string& argument, std::filesystem::path& path) {
  path = lora::io::utf8_path(argument);
  return true;
}

}  // namespace CLI::detail

#include <CLI/CLI.hpp>
