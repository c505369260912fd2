// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <string>

LORA_NAMESPACE_BEGIN
namespace io {

/// A beginning of paths that an adapter and its base name differently, where no rule can know (docs/FILES.md): an
/// adapter's module `from.rest` is the base's `to.rest`. Whole parts between dots; an empty `from` puts `to` before
/// every path, an empty `to` takes `from` away. Of several that fit a path the longest `from` counts.
struct Rename {
  /// In the adapter, and in the base.
  std::string from, to;
};

}  // namespace io
LORA_NAMESPACE_END
