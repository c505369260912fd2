// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/linear_factors.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Index AdapterUpdate::rows() const {
  return std::visit([](const auto& shared) { return shared->rows(); }, *this);
}
LORA_FUNC Index AdapterUpdate::cols() const {
  return std::visit([](const auto& shared) { return shared->cols(); }, *this);
}
LORA_FUNC std::string_view AdapterUpdate::kind() const {
  return std::visit([](const auto& shared) { return shared->kind(); }, *this);
}

LORA_FUNC Index AdapterModule::rows() const { return update.rows(); }
LORA_FUNC Index AdapterModule::cols() const { return update.cols(); }
LORA_FUNC Index AdapterModule::rank() const { return detail::linear_factors(update).rank(); }
LORA_FUNC double AdapterModule::scaling() const { return detail::linear_factors(update).scaling; }
LORA_FUNC Scaling AdapterModule::scaling_rule() const { return detail::linear_factors(update).rule; }

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
