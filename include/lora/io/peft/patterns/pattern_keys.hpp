// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The keys of rank_pattern and alpha_pattern. For bodies (-inl.hpp).

#include "lora/io/peft/patterns/regex.hpp"

#include <map>
#include <string>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Keys that are Python regular expressions for the end of a module's path, from a dot on: of a path the first one counts,
/// in the order of the file, for which `re.match("(.*\.)?(KEY)$", path)` succeeds. `q_proj` and `self_attn.q_proj` match
/// `model.layers.0.self_attn.q_proj`, `attn.q_proj` does not, `^q_proj` matches a whole path only.
///
/// An adapter may have a key for each of its modules, most of them plain names: these are found in about the time of a
/// lookup.
class PatternKeys {
 public:
  /// What find() may take for all modules of an adapter together: about a second.
  static constexpr std::uint64_t max_steps = 100'000'000;

  /// Throws ValueError when the key is no regular expression, or uses what Regex does not support, or the keys take too
  /// much memory together.
  void add(const std::string& key) {
    if (!add_plain(key)) {
      expressions_.emplace_back(count_, Regex("(.*\\.)?(" + key + ")$", max_size - size_));
      size_ += expressions_.back().second.size();
    }
    names_.try_emplace(key, count_++);
  }

  /// The number of the key for a module, or nothing. A key that is no matching pattern but the very name counts as well, as
  /// in PEFT. Takes the steps it needs from `steps`; throws ValueError when they are used up.
  std::optional<std::size_t> find(std::string_view path, std::uint64_t& steps) const {
    if (count_ == 0) return std::nullopt;
    const Text text = decode_text(path);
    std::size_t found = first_plain(text, text.size(), steps);
    if (text.ends_with(U'\n')) found = std::min(found, first_plain(text, text.size() - 1, steps));  // `$` holds there
    for (const auto& [number, regex] : expressions_) {
      if (number > found) break;
      if (regex.match(text, steps)) found = number;
    }
    if (const auto name = names_.find(path); found == none && name != names_.end()) found = name->second;
    return found == none ? std::nullopt : std::optional(found);
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1), max_size = 500'000;

  /// What plain keys have in common that a path is compared with in one lookup.
  struct Shape {
    bool whole = false;            // from the beginning of the path
    std::size_t size = 0;          // in characters
    std::vector<std::size_t> any;  // where any character but a line feed may stand: the key has a dot there
    auto operator<=>(const Shape&) const = default;
  };

  /// Ordinary characters, escaped ones and dots, with or without a `^` before them; else false.
  bool add_plain(std::string_view key) {
    Shape shape;
    shape.whole = key.starts_with('^');
    Text name;
    const Text characters = decode_text(key.substr(shape.whole ? 1 : 0));
    for (std::size_t at = 0; at < characters.size(); ++at) {
      char32_t c = characters[at];
      if (c == U'.') {
        shape.any.push_back(name.size());
      } else if (c == U'\\') {
        if (++at == characters.size() || is_word(c = characters[at])) return false;
      } else if (std::u32string_view(U"^$*+?{}[]|()").find(c) != std::u32string_view::npos) {
        return false;
      }
      name += c;
    }
    shape.size = name.size();
    plain_[shape].try_emplace(std::move(name), count_);
    return true;
  }

  /// The first plain key that matches up to `end`.
  std::size_t first_plain(const Text& path, std::size_t end, std::uint64_t& steps) const {
    const std::size_t line = path.find(U'\n');  // which `.*` does not pass
    std::size_t found = none;
    for (const auto& [shape, keys] : plain_) {
      Regex::spend(steps, 1);
      if (shape.size > end) continue;
      const std::size_t begin = end - shape.size;
      if (begin != 0 && (shape.whole || path[begin - 1] != U'.' || line < begin)) continue;
      Regex::spend(steps, shape.size);
      Text name = path.substr(begin, shape.size);
      bool fits = true;
      for (const std::size_t at : shape.any) fits = std::exchange(name[at], U'.') != U'\n' && fits;
      if (const auto key = keys.find(name); fits && key != keys.end()) found = std::min(found, key->second);
    }
    return found;
  }

  std::size_t count_ = 0, size_ = 0;
  std::map<Shape, std::map<Text, std::size_t>> plain_;
  std::vector<std::pair<std::size_t, Regex>> expressions_;
  std::map<std::string, std::size_t, std::less<>> names_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
