// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Names of tensors and their beginnings, whole parts between dots. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/io/peft/wrappers.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Whether whole parts at the beginning of a name are `beginning`; and the name with `other` in their place.
inline bool begins_with(std::string_view name, std::string_view beginning) {
  return beginning.empty() ||
         (name.starts_with(beginning) && (name.size() == beginning.size() || name[beginning.size()] == '.'));
}
inline std::string with_beginning(std::string_view name, std::string_view beginning, std::string_view other) {
  std::string_view rest = name.substr(beginning.size());
  if (rest.starts_with('.')) rest.remove_prefix(1);
  return rest.empty() || other.empty() ? text(other, rest) : text(other, ".", rest);
}

/// Whether a part of a name is a number, as that of a layer.
inline bool is_number(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// The beginning of a name that is followed by `end`.
inline std::string_view before(std::string_view name, std::string_view end) {
  return name.substr(0, name.size() - std::min(name.size(), end.size() + 1));
}

/// Whether one beginning is the other with some parts left out.
inline bool is_shortened(std::string_view shorter, std::string_view longer) {
  if (shorter.empty()) return true;
  const std::vector<std::string_view> wanted = parts_of(shorter);
  std::size_t found = 0;
  for (const std::string_view part : parts_of(longer))
    if (found < wanted.size() && wanted[found] == part) ++found;
  return found == wanted.size();
}

/// The names of a base's tensors, with and without wrappers. The names must outlive it.
class BaseNames {
 public:
  explicit BaseNames(std::vector<std::string_view> names) : names_(std::move(names)), unwrapped_(names_.size()) {
    for (std::size_t i = 0; i < names_.size(); ++i) whole_.emplace(names_[i], i);
    for (std::size_t i = 0; i < names_.size(); ++i) {
      unwrapped_[i] = without_wrappers(names_[i]).name;
      if (unwrapped_[i] == names_[i]) continue;
      const auto [place, is_new] = changed_.try_emplace(unwrapped_[i], i);
      if (!is_new) twice_.emplace(unwrapped_[i], i);
    }
  }

  std::size_t size() const { return names_.size(); }
  std::string_view operator[](std::size_t i) const { return names_[i]; }
  std::string_view unwrapped(std::size_t i) const { return unwrapped_[i]; }

  /// The tensor of this name, or else the one that has it without wrappers. Throws ValueError when two have.
  std::optional<std::size_t> find(std::string_view name) const {
    if (const auto at = whole_.find(name); at != whole_.end()) return at->second;
    const auto at = changed_.find(name);
    if (at == changed_.end()) return std::nullopt;
    if (const auto other = twice_.find(name); other != twice_.end())
      throw ValueError(text("lora: tensor ", in_quotes(name),
                            ": expected one of that name without wrappers, found several: ",
                            in_quotes(names_[at->second]), ", ", in_quotes(names_[other->second])));
    return at->second;
  }

 private:
  std::vector<std::string_view> names_;
  std::vector<std::string> unwrapped_;
  std::unordered_map<std::string_view, std::size_t> whole_, changed_, twice_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
