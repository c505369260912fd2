// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/bind.hpp"
#include "lora/io/model/bind_modules.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC std::vector<BoundModule> bind(const Model& model, const Adapter& adapter, std::vector<std::string>* warnings,
                                        std::span<const Rename> renames) {
  std::vector<BoundModule> out = detail::bind_modules(
      model, adapter, renames, [&](const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) {
        model.read(tensor, offset, into);
      });
  detail::expect_untied_head(model, out, warnings);
  return out;
}

}  // namespace io
LORA_NAMESPACE_END
