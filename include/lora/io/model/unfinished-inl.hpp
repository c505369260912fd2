// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/update_file.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/unfinished.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

LORA_FUNC std::filesystem::path real_path(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path out = std::filesystem::canonical(path, error);
  return error ? path : out;
}

inline std::filesystem::path journal_beside(const std::filesystem::path& file) {
  return real_path(file) += journal_suffix;
}

LORA_FUNC std::filesystem::path journal_path(const Model& model) {
  return model.is_folder() ? model.path() / journal_name : journal_beside(model.path());
}

LORA_FUNC std::optional<std::filesystem::path> unfinished(const Model& model) {
  std::vector<std::pair<std::filesystem::path, std::filesystem::path>> found{// journals, and whose they are
                                                                             {journal_path(model), model.path()}};
  if (!model.is_folder()) {
    const std::filesystem::path folder = real_path(model.path()).parent_path();
    found.emplace_back(folder / journal_name, folder);
  } else {
    for (const TensorFile& shard : model.shards()) found.emplace_back(journal_beside(shard.path()), shard.path());
  }
  for (const auto& [journal, path] : found)
    if (has_entry(journal)) return path;
  return std::nullopt;
}

LORA_FUNC void fail_unfinished(const std::filesystem::path& path) {
  fail(path, "a change in place was not finished, and a tensor may be torn: `lora recover` puts the model right");
}

LORA_FUNC void expect_finished(const Model& model) {
  const std::optional<std::filesystem::path> found = unfinished(model);
  if (!found) return;
  for (const TensorFile& shard : model.shards())
    if (UpdateFile::is_locked(shard.path()))
      fail(shard.path(), "another process is changing it in place: wait until it has ended");
  fail_unfinished(*found);
}

}  // namespace io::detail
LORA_NAMESPACE_END
