// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/attachments.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

template <class Compute>
void Attachments<Compute>::attach(std::string name, Shared update, Index rows, Index cols) {
  if (update == nullptr) throw ValueError(text("lora: ", layer_, ": the update \"", name, "\" is a null pointer"));
  expect_shape(text(layer_, ": update \"", name, "\""), rows, cols, update->rows(), update->cols());
  if (has(name)) throw StateError(text("lora: ", layer_, ": an update named \"", name, "\" is attached already"));
  entries_.push_back({std::move(name), std::move(update)});
}

template <class Compute>
void Attachments<Compute>::detach(const std::string& name) {
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(expect(name)));
}

template <class Compute>
bool Attachments<Compute>::has(const std::string& name) const {
  for (const Entry& entry : entries_)
    if (entry.name == name) return true;
  return false;
}

template <class Compute>
std::vector<std::string> Attachments<Compute>::names() const {
  std::vector<std::string> all;
  for (const Entry& entry : entries_) all.push_back(entry.name);
  return all;
}

template <class Compute>
std::size_t Attachments<Compute>::expect(const std::string& name) const {
  std::string attached;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].name == name) return i;
    attached += (attached.empty() ? "" : ", ") + entries_[i].name;
  }
  throw ValueError(text("lora: ", layer_, ": no update named \"", name,
                        "\" is attached; attached are: ", attached.empty() ? "none" : attached));
}

template <class Compute>
ActiveSet<Compute> Attachments<Compute>::make_set(std::span<const ActiveName> active) const {
  std::vector<ActiveUpdate<Compute>> updates;
  for (std::size_t i = 0; i < active.size(); ++i) {
    const std::size_t found = expect(active[i].name);
    for (std::size_t j = 0; j < i; ++j)
      if (active[j].name == active[i].name)
        throw ValueError(text("lora: ", layer_, ": \"", active[i].name, "\" stands twice in the active set"));
    if (!is_finite(active[i].coefficient))
      throw ValueError(text("lora: ", layer_, ": the coefficient of \"", active[i].name,
                            "\": expected a finite number, found ", active[i].coefficient));
    updates.push_back({entries_[found].update, active[i].coefficient});
  }
  return ActiveSet<Compute>(std::move(updates));
}

}  // namespace detail
LORA_NAMESPACE_END
