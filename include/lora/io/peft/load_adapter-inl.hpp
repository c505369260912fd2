// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/adapters/format_table.hpp"
#include "lora/io/peft/load_adapter.hpp"
#include "lora/io/undo/undo_tensor.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Adapter load_adapter(const std::filesystem::path& path) {
  const detail::AdapterSource source(path);
  if (const detail::AdapterFormat* const row = detail::find_format(source)) return row->load(source);
  if (source.is_gguf) return load_gguf_adapter(path);  // which says what it is instead
  if (source.file == nullptr || detail::has_file(std::filesystem::absolute(path).parent_path(), "adapter_config.json"))
    return detail::load_peft(source);  // which says what is missing
  if (is_undo_file(*source.file)) detail::fail(path, "expected an adapter, found an undo file");
  if (detail::has_peft_factors(*source.file))
    detail::fail(
        path,
        "expected a PEFT folder with adapter_config.json and adapter_model.safetensors, found a file of PEFT's factors "
        "without the adapter_config.json, which says the rank and alpha: fetch that as well, into one folder with this file as "
        "adapter_model.safetensors, and name the folder");
  const auto& tensors = source.file->tensors();
  const auto odd = std::find_if(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
    return !detail::parse_diffusers_name(tensor.name).has_value();
  });
  std::string known;
  for (const detail::AdapterFormat& format : detail::adapter_rows)
    known += detail::text(known.empty() ? "" : ", ", format.info.what);
  detail::fail(path, "expected an adapter (", known, "), found ",
               tensors.empty()
                   ? "a file without tensors"
                   : detail::text("a file with a tensor ",
                                  detail::in_quotes(odd == tensors.end() ? tensors.front().name : odd->name)));
}

}  // namespace io
LORA_NAMESPACE_END
