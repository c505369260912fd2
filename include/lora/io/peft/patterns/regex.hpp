// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/patterns/regex_reader.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A regular expression in the syntax of Python's `re`, the one PEFT's configurations are written in, for whether it
/// matches (not where). Runs all alternatives side by side (Thompson 1968), so that no pattern out of a file can take
/// exponential time or exhaust the stack.
///
/// Supported: characters and escapes, `.`, classes, groups `( )` `(?: )` `(?P<name> )`, alternatives, `* + ? {m} {m,}
/// {,n} {m,n}` greedy and lazy, `^ $ \A \Z \b \B`, lookahead `(?= )` `(?! )`. Refused with a ValueError: back
/// references, lookbehind, flags, possessive and atomic forms, conditions, and what Python refuses. Beyond ASCII every
/// character counts as a word character, none as a digit or space. Reading and matching throw ValueError when the
/// budget is used up.
class Regex {
 public:
  Regex(std::string_view pattern, PatternBudget& budget) : program_(RegexReader::read(pattern, budget)) {}

  /// `re.match`: some beginning of the subject matches.
  bool match(const Text& subject, PatternBudget& budget) const { return matches({subject, budget}, 0, 0, false); }

  /// `re.fullmatch`: the whole subject matches.
  bool full_match(const Text& subject, PatternBudget& budget) const { return matches({subject, budget}, 0, 0, true); }

 private:
  using Kind = RegexProgram::Kind;

  struct Run {
    const Text& subject;
    PatternBudget& budget;
  };

  static bool holds(Kind kind, const Text& subject, std::size_t position) {
    const std::size_t size = subject.size();
    switch (kind) {
      case Kind::begin: return position == 0;
      case Kind::end: return position == size || (position + 1 == size && subject[position] == U'\n');
      case Kind::absolute_end: return position == size;
      default: {
        const bool before = position > 0 && is_word(subject[position - 1]);
        const bool behind = position < size && is_word(subject[position]);
        return (before != behind) == (kind == Kind::word_edge);
      }
    }
  }

  /// Whether the code from `first` on accepts the subject from `position` on, up to its end when `whole`.
  bool matches(const Run& run, std::size_t first, std::size_t position, bool whole) const {
    run.budget.spend_steps(1 + program_.code.size() / 8);  // for clearing `seen`
    std::vector<std::size_t> pending, states, next{first};
    std::vector<std::size_t> seen(program_.code.size(), 0);  // the position, plus one, an operation was last reached at
    for (;; ++position) {
      states.clear();
      pending.assign(next.rbegin(), next.rend());
      next.clear();
      while (!pending.empty()) {
        const std::size_t at = pending.back();
        pending.pop_back();
        if (seen[at] == position + 1) continue;
        seen[at] = position + 1;
        run.budget.spend_steps(1);
        const RegexProgram::Operation& operation = program_.code[at];
        const auto go = [&](std::int32_t by) {
          pending.push_back(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(at) + by));
        };
        switch (operation.kind) {
          case Kind::accept:
            if (!whole || position == run.subject.size()) return true;
            break;
          case Kind::character:
          case Kind::set: states.push_back(at); break;
          case Kind::fork:
            go(operation.y);
            go(operation.x);
            break;
          case Kind::jump: go(operation.x); break;
          case Kind::ahead:
          case Kind::not_ahead:
            if (matches(run, at + 1, position, false) == (operation.kind == Kind::ahead)) go(operation.x);
            break;
          default:
            if (holds(operation.kind, run.subject, position)) go(1);
            break;
        }
      }
      if (states.empty() || position == run.subject.size()) return false;
      for (const std::size_t at : states)
        if (takes(program_.code[at], run.subject[position])) next.push_back(at + 1);
    }
  }

  bool takes(const RegexProgram::Operation& operation, char32_t c) const {
    const auto x = static_cast<std::uint32_t>(operation.x);
    return operation.kind == Kind::character ? c == x : program_.sets[x].contains(c);
  }

  RegexProgram program_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
