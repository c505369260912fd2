// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// An adapter as a file of diffusers. For bodies (-inl.hpp).

#include "lora/io/adapters/expect_dotted.hpp"
#include "lora/io/adapters/single_file.hpp"
#include "lora/io/diffusers/names.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/config_writer.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Writes `COMPONENT.PATH.lora_A.weight` and so on, with the configurations of all components in the header. Throws FileError,
/// naming the module, for what they cannot say.
LORA_ON_CALL_DECLARED inline void write_diffusers(const Adapter& adapter, const std::filesystem::path& target) {
  expect_plain(target, adapter);
  expect_dotted(target, adapter);
  SingleFile file(target);
  std::map<std::string, Adapter> of_component;
  for (const AdapterModule& module : adapter.modules) {
    const KindRow& kind = kind_of(module.update);
    if ((&kind != &lora_kind && &kind != &dora_kind) || module.parameter == "bias")
      fail(target, "module ", in_quotes(module.path), ": expected a LoRA or DoRA of a weight, found ",
           module.parameter == "bias" ? "one of a bias" : kind.name, ", which such a file cannot say");
    const std::string path = path_in_component(module);
    const std::string name = module.component.empty() ? path : text(module.component, ".", path);
    for (const UpdateTensor& part : tensors_of(module)) {
      const auto row = std::find_if(kind.parts.begin(), kind.parts.end(),
                                    [&](const KindPart& one) { return one.name == part.name; });
      file.add(text(name, ".", part.name, part.name == magnitude_name ? "" : ".weight"), module, part,
               shape_of_part(module, *row, part.view));
    }
    Adapter& own = of_component[module.component];
    own.modules.push_back(module);
    own.modules.back().path = path;
  }
  Json keys = Json::object();
  for (const auto& [component, own] : of_component) {
    const Json json = read_json(target, "", PeftConfigWriter(target, own).write());
    for (const auto& [key, value] : json.get_ref<const Json::object_t&>())
      keys.get_ref<Json::object_t&>().emplace_back(component.empty() ? key : text(component, ".", key), value);
  }
  file.write({{"format", "pt"}, {std::string(diffusers_metadata), keys.dump(2)}});
}

}  // namespace io::detail
LORA_NAMESPACE_END
