// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter_reader.hpp"
#include "lora/io/peft/load_adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Adapter load_adapter(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    detail::fail(folder, "expected a folder with adapter_config.json and adapter_model.safetensors, found none");
  const std::filesystem::path weights = folder / "adapter_model.safetensors";
  if (!std::filesystem::exists(weights, ignored) && std::filesystem::exists(folder / "adapter_model.bin", ignored))
    detail::fail(folder,
                 "expected adapter_model.safetensors, found only adapter_model.bin (a pickle, which can run code: ",
                 "save the adapter as safetensors)");
  const PeftConfig config = PeftConfig::load(folder / "adapter_config.json");
  const auto file = std::make_shared<const Safetensors>(Safetensors::open(weights));
  // "folder/" and "." have a name as well.
  const std::filesystem::path whole = std::filesystem::absolute(folder).lexically_normal();
  const std::filesystem::path last = whole.has_filename() ? whole.filename() : whole.parent_path().filename();
  detail::AdapterReader reader(*file, config);
  Adapter adapter{last.string(), folder, reader.read(), config.base_model(), config.task_type()};
  adapter.base_copies = reader.take_base_copies();
  if (!adapter.base_copies.empty()) adapter.file = file;
  return adapter;
}

}  // namespace io
LORA_NAMESPACE_END
