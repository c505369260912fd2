// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How an adapter's configuration speaks of modules: PEFT's rules for rank_pattern, alpha_pattern, target_modules,
/// exclude_modules, layers_to_transform and layers_pattern. A module is named by its path in the base model.

#include "lora/io/peft/patterns/literal_patterns.hpp"
#include "lora/io/peft/patterns/regex.hpp"

#include <set>

LORA_NAMESPACE_BEGIN
namespace io {

/// Values by pattern. A pattern is a Python regular expression for the end of a module's path, from a dot on: the first
/// one, in file order, for which `re.match("(.*\.)?(PATTERN)$", path)` succeeds. `q_proj` and `self_attn.q_proj` match
/// `model.layers.0.self_attn.q_proj`, `attn.q_proj` does not, `^q_proj` matches a whole path only. Everything here
/// throws ValueError when the budget is used up.
template <class Value>
class PatternMap {
 public:
  struct Entry {
    std::string pattern;
    Value value;
  };

  /// Throws ValueError when the pattern is not one, or uses what Regex does not support.
  void add(std::string pattern, Value value, PatternBudget& budget) {
    const std::size_t number = entries_.size();
    if (!literals_.add(pattern, number))
      expressions_.push_back({number, detail::Regex("(.*\\.)?(" + pattern + ")$", budget)});
    names_.try_emplace(pattern, number);
    entries_.push_back({std::move(pattern), std::move(value)});
  }

  /// The entry for a module, or null. A key that is no matching pattern but the very name counts as well, as in PEFT.
  const Entry* find(std::string_view path, PatternBudget& budget) const {
    if (entries_.empty()) return nullptr;
    const detail::Text text = detail::decode_text(path);
    std::size_t found = literals_.first(text, budget).value_or(entries_.size());
    for (const auto& [number, regex] : expressions_) {
      if (number > found) break;
      if (regex.match(text, budget)) found = number;
    }
    if (const auto name = names_.find(path); found == entries_.size() && name != names_.end()) found = name->second;
    return found == entries_.size() ? nullptr : &entries_[found];
  }

 private:
  std::vector<Entry> entries_;
  detail::LiteralPatterns literals_;
  std::vector<std::pair<std::size_t, detail::Regex>> expressions_;
  std::map<std::string, std::size_t, std::less<>> names_;
};

/// A set of modules: all, the full matches of one regular expression, or a list of names, each a whole path or its end
/// from a dot on.
class ModuleNames {
 public:
  /// Every module.
  ModuleNames() = default;

  /// `re.fullmatch(pattern, path)`. Throws ValueError as PatternMap::add does.
  static ModuleNames matching(std::string_view pattern, PatternBudget& budget) {
    ModuleNames out;
    out.regex_.emplace(pattern, budget);
    return out;
  }
  static ModuleNames list(const std::vector<std::string>& names) {
    ModuleNames out;
    out.names_.emplace(names.begin(), names.end());
    for (const std::string& name : names) out.longest_ = std::max(out.longest_, name.size());
    return out;
  }

  bool is_list() const { return names_.has_value(); }

  bool contains(std::string_view path, PatternBudget& budget) const {
    if (regex_) return regex_->full_match(detail::decode_text(path), budget);
    if (!names_ || has_whole(path)) return true;
    for (std::size_t dot = path.find('.'); dot != path.npos; dot = path.find('.', dot + 1)) {
      const std::string_view end = path.substr(dot + 1);
      budget.spend_steps(1 + (end.size() <= longest_ ? end.size() / 8 : 0));
      if (end.size() <= longest_ && has_whole(end)) return true;
    }
    return false;
  }

  /// Whether a list names the whole path.
  bool has_whole(std::string_view path) const { return names_ && names_->contains(path); }

 private:
  std::optional<detail::Regex> regex_;
  std::optional<std::set<std::string, std::less<>>> names_;
  std::size_t longest_ = 0;
};

/// The layers a list of target names is restricted to: the number in `...PATTERN.NUMBER. ...`, any name before the
/// number when there is no pattern. No restriction when there are no layers.
class LayerFilter {
 public:
  LayerFilter() = default;

  /// Throws ValueError as PatternMap::add does.
  LayerFilter(const std::vector<Index>& layers, const std::vector<std::string>& patterns, PatternBudget& budget)
      : layers_(layers.begin(), layers.end()) {
    for (const std::string& pattern : patterns) before_number_.emplace_back(".*\\." + pattern + "\\.", budget);
    if (patterns.empty()) before_number_.emplace_back(".*\\.[^.]*\\.", budget);
  }

  bool contains(std::string_view path, PatternBudget& budget) const {
    if (layers_.empty()) return true;
    for (const detail::Regex& before : before_number_)
      if (const std::optional<Index> layer = number_after(before, path, budget)) return layers_.contains(*layer);
    return false;
  }

 private:
  // The last number between two dots that `before` leads to: its leading .* takes as much as it can.
  static std::optional<Index> number_after(const detail::Regex& before, std::string_view path, PatternBudget& budget) {
    for (std::size_t end = path.rfind('.'); end != std::string_view::npos && end > 0; end = path.rfind('.', end - 1)) {
      const std::size_t dot = path.rfind('.', end - 1);
      if (dot == std::string_view::npos) break;
      const std::string_view digits = path.substr(dot + 1, end - dot - 1);
      const bool number = !digits.empty() && digits.size() < 16 &&
                          std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (number && before.full_match(detail::decode_text(path.substr(0, dot + 1)), budget))
        return static_cast<Index>(std::stoll(std::string(digits)));
    }
    return std::nullopt;
  }

  std::set<Index> layers_;
  std::vector<detail::Regex> before_number_;
};

}  // namespace io
LORA_NAMESPACE_END
