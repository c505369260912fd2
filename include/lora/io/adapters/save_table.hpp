// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the formats of format_table.hpp that save_adapter_as() writes are written. For bodies (-inl.hpp).

#include "lora/io/adapters/expect_dotted.hpp"
#include "lora/io/diffusers/writer.hpp"
#include "lora/io/kohya/writer.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/save_adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A PEFT folder is one model's: its modules' paths are those in the component.
LORA_ON_CALL_DECLARED inline std::vector<std::string> save_peft(const Adapter& adapter,
                                                                const std::filesystem::path& target) {
  expect_dotted(target, adapter);
  Adapter whole = adapter;
  for (AdapterModule& module : whole.modules) {
    const AdapterModule& first = adapter.modules.front();
    if (module.component != first.component)
      fail(target, "module ", in_quotes(module.path), ": expected modules of one component, as of ",
           in_quotes(first.path), " (", first.component, "), since a PEFT folder is for one model, found one of ",
           module.component, " (--component, of_component() take one)");
    module.path = path_in_component(module);
  }
  save_adapter(whole, target);
  return {};
}

struct AdapterSaver {
  std::string_view format;  // AdapterFormatInfo::name
  std::vector<std::string> (*save)(const Adapter&, const std::filesystem::path&);
};

/// Not here: formats that are only read, or written with more words than these.
LORA_ON_CALL_DECLARED inline std::span<const AdapterSaver> adapter_savers() {
  static constexpr std::array rows{
      AdapterSaver{"kohya", [](const Adapter& adapter,
                               const std::filesystem::path& target) { return KohyaWriter(target).write(adapter); }},
      AdapterSaver{"diffusers",
                   [](const Adapter& adapter, const std::filesystem::path& target) {
                     write_diffusers(adapter, target);
                     return std::vector<std::string>();
                   }},
      AdapterSaver{"peft", [](const Adapter& adapter, const std::filesystem::path& target) {
                     return save_peft(adapter, target);
                   }}};
  return rows;
}

}  // namespace io::detail
LORA_NAMESPACE_END
