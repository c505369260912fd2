// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What may be meant by a name that a base lacks, for messages. For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"
#include "lora/io/model/rename.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Where the first number of a list is among a name's parts, and the characters before and behind it; nothing without
/// one.
struct NumberedName {
  std::string_view before, number, after;
};
inline std::optional<NumberedName> numbered(std::string_view name) {
  const std::vector<std::string_view> parts = parts_of(name);
  std::size_t at = parts.front().size() + 1;
  for (std::size_t i = 1; i < parts.size(); at += parts[i++].size() + 1)
    if (is_number(parts[i])) return NumberedName{name.substr(0, at - 1), parts[i], name.substr(at + parts[i].size())};
  return std::nullopt;
}

/// The rename that leads from a name to one which is the same from its first number on; of names without numbers, in
/// their last two parts. Nothing where there is none.
inline std::optional<Rename> rename_between(std::string_view wanted, std::string_view found) {
  std::string_view from, end;
  if (const auto own = numbered(wanted)) {
    from = own->before;
    end = wanted.substr(from.size() + 1);
  } else {
    const std::size_t dot = wanted.rfind('.'), other = found.rfind('.');
    if (dot == wanted.npos || other == found.npos) return std::nullopt;
    from = wanted.substr(0, dot);
    end = wanted.substr(dot + 1);
    const auto last = [](std::string_view path) { return path.substr(path.rfind('.') + 1); };
    if (last(from) != last(found.substr(0, other))) return std::nullopt;
  }
  if (!found.ends_with(end)) return std::nullopt;
  const std::string_view to = before(found, end);
  if (to == from || (found.size() != end.size() && found[to.size()] != '.')) return std::nullopt;
  return Rename{std::string(from), std::string(to)};
}

/// Of a name in a list that the base has a shorter one of: "the base has layers 0 to 1 of 'model.layers'"; else "".
inline std::string shorter_list(const BaseNames& base, std::string_view wanted) {
  const auto own = numbered(wanted);
  if (!own) return "";
  const auto value = [](std::string_view digits) {
    std::uint64_t out = UINT64_MAX;
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return out;
  };
  std::optional<std::pair<std::uint64_t, std::uint64_t>> range;
  for (std::size_t t = 0; t < base.size(); ++t) {
    const std::string_view name = base.unwrapped(t);
    if (!begins_with(name, own->before) || !name.ends_with(own->after)) continue;
    const auto other = numbered(name);
    if (!other || other->before != own->before || other->after != own->after) continue;
    const std::uint64_t number = value(other->number);
    range = range ? std::pair(std::min(range->first, number), std::max(range->second, number)) : std::pair(number, number);
  }
  if (!range || value(own->number) <= range->second) return "";
  return text("the base has layers ", range->first, " to ", range->second, " of ", in_quotes(own->before));
}

/// Twice the number of characters to insert, leave out or replace; the other case counts half, '.' is '_'.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c == '.' ? '_' : c; };
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t k = 0; k < row.size(); ++k) row[k] = 2 * k;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], 2 * (i + 1));
    for (std::size_t k = 0; k < b.size(); ++k) {
      const bool is_same = lower(a[i]) == lower(b[k]), is_other_case = is_same && a[i] != b[k] && a[i] != '.' && b[k] != '.';
      const std::size_t replaced = diagonal + (is_other_case ? 1 : is_same ? 0 : 2);
      diagonal = row[k + 1];
      row[k + 1] = std::min({row[k + 1] + 2, row[k] + 2, replaced});
    }
  }
  return row.back();
}

/// The base's name that is nearest to one, where fewer than half of its characters differ; nothing where there is none.
/// Of a base with very many or very long names some are not looked at.
inline std::optional<std::size_t> nearest_name(const BaseNames& base, std::string_view wanted) {
  constexpr std::size_t most_steps = 100'000'000;
  std::optional<std::size_t> out;
  std::size_t least = wanted.rfind('.') == wanted.npos ? 0 : wanted.rfind('.'), steps = 0;
  for (std::size_t t = 0; t < base.size(); ++t) {
    const std::string_view name = base.unwrapped(t);
    const std::size_t longer = std::max(name.size(), wanted.size()), shorter = std::min(name.size(), wanted.size());
    if (2 * (longer - shorter) >= least) continue;
    steps += longer * shorter;
    if (steps > most_steps) break;
    if (const std::size_t found = edit_distance(wanted, name); found < least) {
      least = found;
      out = t;
    }
  }
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
