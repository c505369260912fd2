// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Index AdapterModule::rows() const {
  return std::visit([](const auto& u) { return u.rows(); }, update);
}

LORA_FUNC Index AdapterModule::cols() const {
  return std::visit([](const auto& u) { return u.cols(); }, update);
}

LORA_FUNC Index AdapterModule::rank() const {
  return std::visit([](const auto& u) { return u.rank(); }, update);
}

LORA_FUNC double AdapterModule::scaling() const {
  return std::visit([](const auto& u) { return u.scaling(); }, update);
}

LORA_FUNC bool AdapterModule::is_transposed(Index stored_rows, Index stored_cols) const {
  const bool plain = stored_rows == rows() && stored_cols == cols();
  const bool transposed = stored_rows == cols() && stored_cols == rows();
  if (!plain && !transposed)
    throw ShapeError(detail::text("lora: module ", detail::in_quotes(path), ": expected a base weight of ",
                                  lora::detail::shape_text(rows(), cols()), " (or its transpose), found ",
                                  lora::detail::shape_text(stored_rows, stored_cols)));
  return plain && transposed ? fan_in_fan_out : transposed;
}

LORA_FUNC const AdapterModule* Adapter::find(std::string_view path) const {
  const auto at = std::find_if(modules.begin(), modules.end(), [&](const AdapterModule& m) { return m.path == path; });
  return at == modules.end() ? nullptr : &*at;
}

}  // namespace io
LORA_NAMESPACE_END
