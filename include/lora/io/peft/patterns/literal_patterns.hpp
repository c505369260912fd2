// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Patterns that are plain names, found in about the time of a lookup: an adapter may have one for each of its modules.

#include "lora/io/peft/patterns/pattern_budget.hpp"
#include "lora/io/peft/patterns/regex_program.hpp"

#include <map>
#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The first of many keys for which `re.match("(.*\.)?(KEY)$", path)` succeeds, when each key is made of ordinary
/// characters, escaped ones and dots (which stand for any character), with or without a `^` before them.
class LiteralPatterns {
 public:
  /// Adds a key with its number in the order of the file, above those before it. False, and nothing is added, when it
  /// is not such a key.
  bool add(std::string_view key, std::size_t number) {
    std::string_view rest = key;
    Shape shape;
    shape.whole = rest.starts_with('^');
    if (shape.whole) rest.remove_prefix(1);
    Text characters = decode_text(rest);
    std::size_t size = 0;
    for (std::size_t at = 0; at < characters.size(); ++at) {
      char32_t c = characters[at];
      if (c == U'.') {
        shape.any.push_back(size);
      } else if (c == U'\\') {
        if (++at == characters.size() || is_word(c = characters[at])) return false;
      } else if (c < 0x80 && std::string_view("^$*+?{}[]|()").find(static_cast<char>(c)) != std::string_view::npos) {
        return false;
      }
      characters[size++] = c;
    }
    characters.resize(size);
    shape.size = size;
    shapes_[shape].try_emplace(std::move(characters), number);
    return true;
  }

  /// The number of the first key that matches, or nothing. Throws ValueError when the budget is used up.
  std::optional<std::size_t> first(const Text& path, PatternBudget& budget) const {
    const std::size_t line = path.find(U'\n');
    std::optional<std::size_t> found = ending_at(path, path.size(), line, budget);
    if (path.ends_with(U'\n'))  // `$` holds before it as well
      if (const auto other = ending_at(path, path.size() - 1, line, budget); other && (!found || *other < *found))
        found = other;
    return found;
  }

 private:
  /// What keys have in common that a path is compared with in one lookup.
  struct Shape {
    bool whole = false;            // the path from its beginning
    std::size_t size = 0;          // in characters
    std::vector<std::size_t> any;  // where any character but a line feed may stand; the key has a dot there
    auto operator<=>(const Shape&) const = default;
  };

  /// `line`: where the path's first line feed is, which `.*` does not pass.
  std::optional<std::size_t> ending_at(const Text& path, std::size_t end, std::size_t line,
                                       PatternBudget& budget) const {
    std::optional<std::size_t> found;
    for (const auto& [shape, keys] : shapes_) {
      budget.spend_steps(1);
      if (shape.size > end) continue;
      const std::size_t begin = end - shape.size;
      if (begin != 0 && (shape.whole || path[begin - 1] != U'.' || line < begin)) continue;
      budget.spend_steps(shape.size);
      Text name = path.substr(begin, shape.size);
      const bool fits = std::all_of(shape.any.begin(), shape.any.end(), [&](std::size_t at) {
        const bool any = name[at] != U'\n';
        name[at] = U'.';
        return any;
      });
      const auto key = fits ? keys.find(name) : keys.end();
      if (key != keys.end() && (!found || key->second < *found)) found = key->second;
    }
    return found;
  }

  std::map<Shape, std::map<Text, std::size_t>> shapes_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
