// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How an adapter's configuration speaks of modules: PEFT's rules for rank_pattern, alpha_pattern, target_modules,
/// exclude_modules, layers_to_transform and layers_pattern. A module is named by its path in the base model.

#include "lora/io/regex.hpp"

#include <algorithm>
#include <string>

LORA_NAMESPACE_BEGIN
namespace io {

/// Values by pattern. A pattern is a Python regular expression for the end of a module's path, from a dot on: the first
/// one, in file order, for which `re.match("(.*\.)?(PATTERN)$", path)` succeeds. `q_proj` and `self_attn.q_proj` match
/// `model.layers.0.self_attn.q_proj`, `attn.q_proj` does not, `^q_proj` matches a whole path only.
template <class Value>
class PatternMap {
 public:
  /// Throws ValueError when the pattern is not one, or uses what Regex does not support.
  void add(std::string pattern, Value value) {
    detail::Regex regex("(.*\\.)?(" + pattern + ")$");
    entries_.push_back({std::move(pattern), std::move(regex), std::move(value)});
  }

  struct Entry {
    std::string pattern;
    detail::Regex regex;
    Value value;
  };

  /// The entry for a module, or null. A key that is no matching pattern but the very name counts as well, as in PEFT.
  const Entry* find(std::string_view path) const {
    for (const Entry& entry : entries_)
      if (entry.regex.match(path)) return &entry;
    for (const Entry& entry : entries_)
      if (entry.pattern == path) return &entry;
    return nullptr;
  }

  bool empty() const { return entries_.empty(); }

 private:
  std::vector<Entry> entries_;
};

/// A set of modules: all, the full matches of one regular expression, or a list of names, each a whole path or its end
/// from a dot on.
class ModuleNames {
 public:
  /// Every module.
  ModuleNames() = default;

  /// `re.fullmatch(pattern, path)`. Throws ValueError as PatternMap::add does.
  static ModuleNames matching(std::string_view pattern) {
    ModuleNames out;
    out.regex_.emplace(pattern);
    return out;
  }
  static ModuleNames list(std::vector<std::string> names) {
    ModuleNames out;
    out.names_ = std::move(names);
    return out;
  }

  bool is_list() const { return names_.has_value(); }

  bool contains(std::string_view path) const {
    if (regex_) return regex_->full_match(path);
    if (!names_) return true;
    return has_whole(path) || std::any_of(names_->begin(), names_->end(), [&](const std::string& name) {
             return path.size() > name.size() && path.ends_with(name) && path[path.size() - name.size() - 1] == '.';
           });
  }

  /// Whether a list names the whole path.
  bool has_whole(std::string_view path) const {
    return names_ && std::find(names_->begin(), names_->end(), path) != names_->end();
  }

 private:
  std::optional<detail::Regex> regex_;
  std::optional<std::vector<std::string>> names_;
};

/// The layers a list of target names is restricted to: the number in `...PATTERN.NUMBER. ...`, any name before the
/// number when there is no pattern. No restriction when there are no layers.
class LayerFilter {
 public:
  LayerFilter() = default;

  /// Throws ValueError as PatternMap::add does.
  LayerFilter(std::vector<Index> layers, const std::vector<std::string>& patterns) : layers_(std::move(layers)) {
    for (const std::string& pattern : patterns) before_number_.emplace_back(".*\\." + pattern + "\\.");
    if (patterns.empty()) before_number_.emplace_back(".*\\.[^.]*\\.");
  }

  bool contains(std::string_view path) const {
    if (layers_.empty()) return true;
    for (const detail::Regex& before : before_number_)
      if (const std::optional<Index> layer = number_after(before, path))
        return std::find(layers_.begin(), layers_.end(), *layer) != layers_.end();
    return false;
  }

 private:
  // The last number between two dots that `before` leads to: its leading .* takes as much as it can.
  static std::optional<Index> number_after(const detail::Regex& before, std::string_view path) {
    for (std::size_t end = path.rfind('.'); end != std::string_view::npos && end > 0; end = path.rfind('.', end - 1)) {
      const std::size_t dot = path.rfind('.', end - 1);
      if (dot == std::string_view::npos) break;
      const std::string_view digits = path.substr(dot + 1, end - dot - 1);
      const bool number = !digits.empty() && digits.size() < 16 &&
                          std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (number && before.full_match(path.substr(0, dot + 1)))
        return static_cast<Index>(std::stoll(std::string(digits)));
    }
    return std::nullopt;
  }

  std::vector<Index> layers_;
  std::vector<detail::Regex> before_number_;
};

}  // namespace io
LORA_NAMESPACE_END
