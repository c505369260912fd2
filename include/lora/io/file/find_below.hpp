// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Looking for what may have been meant by a folder. For bodies (-inl.hpp).

#include "lora/core/function_ref.hpp"
#include "lora/io/error.hpp"
#include "lora/io/file/system.hpp"

#include <algorithm>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The names in a folder, sorted; those that cannot be read are none. Of a folder with very many some are left out.
inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  constexpr std::size_t most = 10'000;
  std::vector<std::string> out;
  std::error_code error;
  std::filesystem::directory_iterator entries(folder, error);
  for (; !error && entries != std::filesystem::directory_iterator() && out.size() < most; entries.increment(error))
    out.push_back(utf8_text(entries->path().filename()));
  std::sort(out.begin(), out.end());
  return out;
}

/// Folders below a folder that pass a test, relative to it: its own and those of theirs (`snapshots/HASH`), none
/// within one that passes.
inline std::vector<std::string> find_below(const std::filesystem::path& folder,
                                           FunctionRef<bool(const std::filesystem::path&)> is_meant, int depth = 2) {
  constexpr std::size_t most = 100;
  std::vector<std::string> out;
  std::error_code ignored;
  for (const std::string& name : names_in(folder)) {
    if (out.size() >= most) break;
    if (name.starts_with('.') || !std::filesystem::is_directory(folder / utf8_path(name), ignored)) continue;
    if (is_meant(folder / utf8_path(name)))
      out.push_back(name);
    else if (depth > 1)
      for (const std::string& below : find_below(folder / utf8_path(name), is_meant, depth - 1)) out.push_back(name + "/" + below);
  }
  return out;
}

/// For a path under which there is nothing: what else a name like ORGANISATION/MODEL may be. "" or a sentence's end.
inline std::string_view nothing_there(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool is_hub_name = path.is_relative() && std::distance(path.begin(), path.end()) == 2 &&
                           *path.begin() != ".." && *path.begin() != "." &&
                           !std::filesystem::exists(*path.begin(), ignored);
  return is_hub_name ? " (a repository of the Hugging Face hub has to be fetched first, as with `hf download`)" : "";
}

/// "'a', 'b', 'c' and 5 more"
inline std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t most = 4;
  std::string out;
  for (std::size_t i = 0; i < std::min(names.size(), most); ++i) out += text(i == 0 ? "" : ", ", in_quotes(names[i]));
  return names.size() > most ? text(out, " and ", names.size() - most, " more") : out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
