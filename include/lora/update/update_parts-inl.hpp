// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/update_parts.hpp"

#include <utility>

LORA_NAMESPACE_BEGIN
namespace detail {

LORA_FUNC UpdateParts::UpdateParts(std::initializer_list<Part> parts) {
  for (const Part& part : parts) add(part.name, part.matrix);
}

LORA_FUNC void UpdateParts::add(std::string name, AnyFactor matrix) {
  for (const Entry& entry : entries_)
    if (entry.part.name == name) throw ValueError(text("lora: an update: expected one tensor ", name, ", found two"));
  entries_.push_back({{std::move(name), std::move(matrix)}});
}

LORA_FUNC const AnyFactor* UpdateParts::look_up(std::string_view name) const {
  for (Entry& entry : entries_)
    if (entry.part.name == name) {
      entry.used = true;
      return &entry.part.matrix;
    }
  return nullptr;
}

LORA_FUNC const AnyFactor& UpdateParts::require(std::string_view name) const {
  const AnyFactor* found = look_up(name);
  if (found == nullptr) throw ValueError(text("lora: an update: expected a tensor ", name, ", found none"));
  return *found;
}

LORA_FUNC std::optional<AnyFactor> UpdateParts::find(std::string_view name) const {
  const AnyFactor* found = look_up(name);
  return found == nullptr ? std::nullopt : std::optional(*found);
}

LORA_FUNC void UpdateParts::expect_none_left(std::string_view kind) const {
  for (const Entry& entry : entries_)
    if (!entry.used)
      throw ValueError(text("lora: ", kind, ": expected no tensor ", entry.part.name, " beside its others, found one"));
}

}  // namespace detail
LORA_NAMESPACE_END
