// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a model that is written has otherwise than the one that it is made of, besides its numbers. For bodies (-inl.hpp).

#include "lora/io/safetensors/header.hpp"

#include <algorithm>
#include <map>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

struct Reshape {
  /// The contents of a file.
  struct File {
    std::string before = {}, after = {};
  };

  std::vector<std::optional<SafetensorsHeader>> headers = {};  ///< of the shards whose tensors are others; may be empty
  std::map<std::string, File> files = {};                      ///< those of the folder's other files that change

  bool is_empty() const {
    return files.empty() &&
           std::none_of(headers.begin(), headers.end(), [](const auto& header) { return header.has_value(); });
  }
  const SafetensorsHeader* header(std::size_t shard) const {
    return shard < headers.size() && headers[shard] ? &*headers[shard] : nullptr;
  }
  const File* file(const std::string& name) const {
    const auto found = files.find(name);
    return found == files.end() ? nullptr : &found->second;
  }
};

}  // namespace io::detail
LORA_NAMESPACE_END
