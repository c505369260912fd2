// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/find_below.hpp"
#include "lora/io/peft/adapter_reader.hpp"
#include "lora/io/peft/load_adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

namespace detail {

/// Throws FileError, with what may have been meant, for what is no folder of an adapter.
inline void expect_adapter_folder(const std::filesystem::path& folder) {
  static constexpr std::string_view expected =
      "expected a folder with adapter_config.json and adapter_model.safetensors, found ";
  const auto has = [](const std::filesystem::path& path, const char* file) {
    std::error_code ignored;
    return std::filesystem::exists(path / file, ignored);
  };
  std::error_code ignored;
  if (std::filesystem::is_regular_file(folder, ignored))
    fail(folder, expected, "a file",
         has(std::filesystem::absolute(folder).parent_path(), "adapter_config.json") ? ": name the folder that it is in"
                                                                                     : "");
  if (!std::filesystem::is_directory(folder, ignored)) fail(folder, expected, "none");
  if (!has(folder, "adapter_config.json")) {
    const std::vector<std::string> below =
        find_below(folder, [&](const std::filesystem::path& path) { return has(path, "adapter_config.json"); });
    if (!below.empty())
      fail(folder, expected, "one without them, but below it ", some_of(below), ": name the folder that is meant");
  }
  if (!has(folder, "adapter_model.safetensors") && has(folder, "adapter_model.bin"))
    fail(folder,
         "expected adapter_model.safetensors, found only adapter_model.bin (a pickle, which can run code): load the "
         "adapter where you "
         "trust it (PeftModel.from_pretrained) and save it with save_pretrained(..., safe_serialization=True)");
}

}  // namespace detail

LORA_FUNC Adapter load_adapter(const std::filesystem::path& folder) {
  detail::expect_adapter_folder(folder);
  const std::filesystem::path weights = folder / "adapter_model.safetensors";
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
