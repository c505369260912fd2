// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files of kohya's scripts and of LyCORIS: lora_unet_PATH.lora_down.weight and so on, PATH with '_' for '.'. For bodies
/// (-inl.hpp).

#include "lora/io/adapters/components.hpp"
#include "lora/io/adapters/tensor_group.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Whether some tensor has a name that only such files have.
inline bool is_kohya_file(const Safetensors& file) {
  return std::any_of(file.tensors().begin(), file.tensors().end(),
                     [](const TensorInfo& tensor) { return find_flat_prefix(tensor.name) != nullptr; });
}

/// Its modules. Throws FileError for a tensor that is no part of an update, by its name.
inline std::vector<AdapterModule> read_kohya(const Safetensors& file) {
  TensorGroups groups(file);
  for (const TensorInfo& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    const FlatPrefix* const prefix = find_flat_prefix(name);
    if (prefix == nullptr) {
      std::string prefixes;
      for (const FlatPrefix& row : flat_prefixes)
        prefixes += text(prefixes.empty() ? "" : &row == &flat_prefixes.back() ? " or " : ", ", row.prefix);
      refuse_tensor(file.path(), tensor, text("expected a name that begins with ", prefixes, ", as others here do"));
    }
    const std::size_t dot = name.find('.');
    const FilePiece* const piece = find_file_piece(name);
    if (piece == nullptr || dot != name.size() - piece->ending.size()) refuse_piece(file.path(), tensor);
    groups.put(std::string(name.substr(0, dot)), prefix->component, true, piece->part, tensor);
  }
  std::vector<AdapterModule> out;
  const GroupReader reader(file, true);
  for (const TensorGroup& group : groups.groups()) reader.read(group, std::nullopt, out);
  file.file().expect_unchanged();
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
