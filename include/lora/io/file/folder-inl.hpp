// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/folder.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC bool is_within(std::string_view file) {
  for (std::size_t at = 0; at < file.size();) {
    const CodePoint c = decode_utf8(file, at);
    if (c.length == 0 || c.value == 0) return false;
    at += c.length;
  }
  while (true) {
    const std::size_t end = std::min(file.find('/'), file.size());
    const std::string_view part = file.substr(0, end);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    if (end == file.size()) return true;
    file.remove_prefix(end + 1);
  }
}

/// Collects the files below a folder; symbolic links are followed.
class FolderWalk {
 public:
  static constexpr std::size_t max_depth = 64, max_entries = 100'000;

  explicit FolderWalk(const std::filesystem::path& folder) { walk(folder, "", 0); }
  std::vector<std::string> files;

 private:
  void walk(const std::filesystem::path& folder, const std::string& prefix, std::size_t depth) {
    if (depth == max_depth)
      fail(folder, "expected folders nested at most ", max_depth, " deep, found more (a symbolic link to itself?)");
    std::error_code error;
    std::filesystem::directory_iterator entries(folder, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
      const std::filesystem::path& path = entries->path();
      if (path.filename() == ".git") continue;
      if (entries_++ == max_entries)
        fail(folder, "expected at most ", max_entries, " files and folders, found more (symbolic links in a circle?)");
      const std::string name = prefix + utf8_text(path.filename());
      if (!is_within(name)) fail(path, "expected a file name in UTF-8, found another one");
      std::error_code reason;
      const std::filesystem::file_status status = std::filesystem::status(path, reason);
      if (std::filesystem::is_directory(status)) {
        walk(path, name + "/", depth + 1);
      } else if (std::filesystem::is_regular_file(status)) {
        files.push_back(name);
      } else if (status.type() == std::filesystem::file_type::not_found) {
        fail(path, "expected a file or folder, found a symbolic link to nothing");
      } else if (reason) {
        fail_system(path, "cannot examine", reason);
      } else {
        fail(path, "expected a file or folder, found something that cannot be copied (a socket, pipe or device)");
      }
    }
    if (error) fail_system(folder, "cannot read the folder", error);
  }

  std::size_t entries_ = 0;
};

}  // namespace detail

LORA_FUNC std::vector<std::string> files_below(const std::filesystem::path& folder) {
  detail::FolderWalk walk(folder);
  std::sort(walk.files.begin(), walk.files.end());
  return std::move(walk.files);
}

}  // namespace io
LORA_NAMESPACE_END
