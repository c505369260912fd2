// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How a component's modules find their tensors in a single-file checkpoint: there is something else before their names, and those of a
/// UNet have another layout. For bodies (-inl.hpp).

#include "lora/io/adapters/components.hpp"
#include "lora/io/kohya/unet_layouts.hpp"
#include "lora/io/model/flat_names.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Names of a UNet's modules, with '_' for '.', in the other of its two layouts; those of neither as they are. `has`:
/// whether the base has a tensor of such a name.
inline std::vector<FlatNames::Wanted> in_other_layout(std::vector<FlatNames::Wanted> names,
                                                      FunctionRef<bool(const std::string&)> has) {
  const UnetLayouts layouts;
  for (FlatNames::Wanted& wanted : names) {
    const std::vector<std::string> others = layouts.others(wanted.name);
    const auto known = std::find_if(others.begin(), others.end(), [&](const std::string& other) {
      return has(text(other, ".", wanted.parameter));
    });
    if (!others.empty()) wanted.name = known == others.end() ? others.front() : *known;
  }
  return names;
}

/// The tensors of modules with dots in their names, in the place that a single-file checkpoint has their component in; empty where it
/// is no such place, or has not all of them.
inline std::vector<std::size_t> find_in_single_file(const BaseNames& base, const FlatTensors& tensors,
                                                    const ComponentPlace& place, std::vector<FlatNames::Wanted> names,
                                                    FunctionRef<bool(std::size_t, std::size_t)> fits) {
  if (place.component.empty() || place.beginning == place.component) return {};
  for (FlatNames::Wanted& wanted : names) {
    const std::string_view component = component_of(wanted.name);
    if (is_same_component(component, place.component)) wanted.name.erase(0, component.size() + 1);
    std::replace(wanted.name.begin(), wanted.name.end(), '.', '_');
  }
  const auto found = [&] { return FlatNames(base, tensors, names, "", std::string(place.beginning), fits).find(); };
  std::vector<std::size_t> out = found();
  if (!out.empty() || place.component != "unet") return out;
  std::string before = text(place.beginning, "_");
  std::replace(before.begin(), before.end(), '.', '_');
  names = in_other_layout(std::move(names),
                          [&](const std::string& name) { return !tensors.find(before + name).empty(); });
  return found();
}

}  // namespace io::detail
LORA_NAMESPACE_END
