// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/regex_program.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A regular expression in the syntax of Python's `re`, the one PEFT's configurations are written in, for whether it
/// matches (not where). Runs all alternatives side by side (Thompson 1968), so that no pattern out of a file can take
/// exponential time or exhaust the stack.
///
/// Supported: characters and escapes, `.`, classes, groups `( )` `(?: )` `(?P<name> )`, alternatives, `* + ? {m} {m,}
/// {,n} {m,n}` greedy and lazy, `^ $ \A \Z \b \B`, lookahead `(?= )` `(?! )`. Refused with a ValueError: back
/// references, lookbehind, flags, possessive and atomic forms, conditions, and what Python refuses. Beyond ASCII every
/// character counts as a word character, none as a digit or space.
class Regex {
 public:
  explicit Regex(std::string_view pattern) : program_(RegexReader::read(pattern)) {}

  /// `re.match`: some beginning of the subject matches.
  bool match(std::string_view subject) const { return start(subject, false); }

  /// `re.fullmatch`: the whole subject matches.
  bool full_match(std::string_view subject) const { return start(subject, true); }

 private:
  using Kind = RegexProgram::Kind;
  static constexpr std::uint64_t max_steps = 20'000'000;

  struct Run {
    Text subject;
    std::uint64_t steps = 0;
  };
  bool start(std::string_view subject, bool whole) const {
    Run run{decode_text(subject)};
    return matches(run, 0, 0, whole);
  }

  bool holds(Kind kind, const Text& subject, std::size_t position) const {
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
  bool matches(Run& run, std::size_t first, std::size_t position, bool whole) const {
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
        if (++run.steps > max_steps) refuse_regex("it takes too long to match");
        const RegexProgram::Operation& operation = program_.code[at];
        const auto go = [&](std::ptrdiff_t by) {
          pending.push_back(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(at) + by));
        };
        switch (operation.kind) {
          case Kind::accept:
            if (!whole || position == run.subject.size()) return true;
            break;
          case Kind::set: states.push_back(at); break;
          case Kind::fork:
            go(operation.y);
            go(operation.x);
            break;
          case Kind::jump: go(operation.x); break;
          case Kind::ahead:
          case Kind::not_ahead:
            run.steps += program_.code.size();
            if (matches(run, at + 1, position, false) == (operation.kind == Kind::ahead)) go(operation.x);
            break;
          default:
            if (holds(operation.kind, run.subject, position)) go(1);
            break;
        }
      }
      if (states.empty() || position == run.subject.size()) return false;
      for (const std::size_t at : states)
        if (program_.sets[static_cast<std::size_t>(program_.code[at].x)].contains(run.subject[position]))
          next.push_back(at + 1);
    }
  }

  RegexProgram program_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
