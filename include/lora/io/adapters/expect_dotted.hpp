// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What formats with whole paths ask of an adapter. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Throws FileError for a path that has '_' in place of '.'.
inline void expect_dotted(const std::filesystem::path& target, const Adapter& adapter) {
  for (const AdapterModule& module : adapter.modules)
    if (module.is_flat)
      fail(target, "module ", in_quotes(module.path),
           ": expected a path with dots, found a name of kohya's, whose '_' only the base's "
           "names can turn back (`lora convert --base MODEL`; with_base_names())");
}

/// A module's path without its component before it.
inline std::string path_in_component(const AdapterModule& module) {
  const std::string before = module.component + ".";
  return !module.component.empty() && module.path.starts_with(before) ? module.path.substr(before.size()) : module.path;
}

}  // namespace io::detail
LORA_NAMESPACE_END
