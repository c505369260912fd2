// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Regular expressions out of files, matched in linear time. For bodies (-inl.hpp).

#include "lora/io/peft/patterns/regex_program.hpp"

#include <cstdint>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A regular expression in the syntax of Python's `re`, the one PEFT's configurations are written in, for whether it
/// matches (not where). Runs all alternatives side by side (Thompson 1968), so that no pattern out of a file can take
/// exponential time or exhaust the stack.
///
/// Supported: characters, escaped punctuation, `.`, classes, `\d \s \w` and their opposites, groups `( )` `(?: )`,
/// alternatives, `* + ? {m} {m,} {,n} {m,n}` greedy and lazy, `^ $ \A \Z \b \B`. Everything else is refused with a
/// ValueError, as is what Python refuses. Beyond ASCII every character counts as a word character, none as a digit or
/// space.
class Regex {
 public:
  /// Throws ValueError, also when the program takes more than `max_size` operations.
  Regex(std::string_view pattern, std::size_t max_size) : program_(RegexReader(pattern, max_size).read()) {}

  /// The operations and items of classes it consists of.
  std::size_t size() const { return program_.size; }

  /// `re.match`: some beginning of the subject matches. Takes the steps it needs from `steps`; throws ValueError when they
  /// are used up.
  bool match(const Text& subject, std::uint64_t& steps) const {
    std::vector<std::size_t> pending{0}, states;
    std::vector<std::size_t> seen(program_.code.size(), 0);  // the position, plus one, an operation was last reached at
    spend(steps, seen.size() / 8);
    for (std::size_t position = 0;; ++position) {
      states.clear();
      while (!pending.empty()) {
        const std::size_t at = pending.back();
        pending.pop_back();
        if (seen[at] == position + 1) continue;
        seen[at] = position + 1;
        spend(steps, 1);
        const RegexProgram::Operation& operation = program_.code[at];
        const auto go = [&](std::int32_t by) {
          pending.push_back(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(at) + by));
        };
        if (operation.kind == RegexProgram::Kind::accept) return true;
        if (operation.kind == RegexProgram::Kind::set) {
          states.push_back(at);
        } else if (operation.kind == RegexProgram::Kind::fork) {
          go(operation.x);
          go(operation.y);
        } else if (holds(operation.assertion, subject, position)) {
          go(1);
        }
      }
      if (states.empty() || position == subject.size()) return false;
      for (const std::size_t at : states) {
        const CharacterSet& set = program_.sets[static_cast<std::size_t>(program_.code[at].x)];
        spend(steps, set.items.size());
        if (set.contains(subject[position])) pending.push_back(at + 1);
      }
    }
  }

  /// Takes `count` from `steps`, or throws ValueError.
  static void spend(std::uint64_t& steps, std::size_t count) {
    if (count > steps) throw ValueError("lora: the patterns take too long to match");
    steps -= count;
  }

 private:
  static bool holds(char32_t assertion, const Text& subject, std::size_t position) {
    const std::size_t size = subject.size();
    if (assertion == U'^') return position == 0;
    if (assertion == U'$') return position == size || (position + 1 == size && subject[position] == U'\n');
    if (assertion == U'Z') return position == size;
    const bool before = position > 0 && is_word(subject[position - 1]);
    const bool behind = position < size && is_word(subject[position]);
    return (before != behind) == (assertion == U'b');
  }

  RegexProgram program_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
