// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/kinds.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Index AdapterUpdate::rows() const {
  return detail::visit_update([](const auto& shared) { return shared->rows(); }, *this);
}
LORA_FUNC Index AdapterUpdate::cols() const {
  return detail::visit_update([](const auto& shared) { return shared->cols(); }, *this);
}
LORA_FUNC std::string_view AdapterUpdate::kind() const {
  return detail::visit_update([](const auto& shared) { return shared->kind(); }, *this);
}

LORA_FUNC Index AdapterModule::rows() const { return update.rows(); }
LORA_FUNC Index AdapterModule::cols() const { return update.cols(); }
LORA_FUNC Index AdapterModule::rank() const {
  return detail::visit_update(
      [](const auto& shared) { return detail::rank_of(detail::kind_of(*shared), shared->tensors()); }, update);
}
LORA_FUNC double AdapterModule::scaling() const { return scaling_rule()(rank()); }
LORA_FUNC Scaling AdapterModule::scaling_rule() const {
  detail::kind_of(update);
  return detail::visit_update([](const auto& shared) { return shared->scaling_rule(); }, update);
}
LORA_FUNC std::string AdapterModule::tensor_name() const { return path + "." + parameter; }

LORA_FUNC bool AdapterModule::is_transposed(Index stored_rows, Index stored_cols) const {
  const auto fits = [](Index own, Index stored) { return own < 0 || own == stored; };
  const bool plain = !is_embedding && fits(rows(), stored_rows) && fits(cols(), stored_cols);
  const bool transposed = fits(rows(), stored_cols) && fits(cols(), stored_rows);
  if (!plain && !transposed)
    throw ShapeError(
        detail::text("lora: module ", detail::in_quotes(path), ": expected a base weight of ",
                     is_embedding ? lora::detail::shape_text(cols(), rows()) : lora::detail::shape_text(rows(), cols()),
                     is_embedding ? " (vocabulary, dimension)" : " (or its transpose)", ", found ",
                     lora::detail::shape_text(stored_rows, stored_cols), " (is the adapter for another model?)"));
  return is_embedding || (plain && transposed ? fan_in_fan_out : transposed);
}

LORA_FUNC const AdapterModule* Adapter::find(std::string_view path) const {
  const auto at = std::find_if(modules.begin(), modules.end(), [&](const AdapterModule& m) { return m.path == path; });
  return at == modules.end() ? nullptr : &*at;
}

}  // namespace io
LORA_NAMESPACE_END
