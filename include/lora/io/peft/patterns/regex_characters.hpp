// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The part of a regular expression that stands for single characters: escapes and classes.

#include "lora/io/peft/patterns/regex_program.hpp"

#include <optional>

LORA_NAMESPACE_BEGIN
namespace io::detail {

[[noreturn]] inline void refuse_regex(std::string_view why) {
  throw ValueError(text("lora: regular expression: ", why));
}

/// A place in a pattern.
class PatternCursor {
 public:
  explicit PatternCursor(std::string_view pattern) : pattern_(decode_text(pattern)) {}

  std::size_t position() const { return at_; }
  void go_to(std::size_t position) { at_ = position; }
  bool more() const { return at_ < pattern_.size(); }
  bool next_is(char32_t c, std::size_t ahead = 0) const {
    return ahead < pattern_.size() - at_ && pattern_[at_ + ahead] == c;
  }
  bool take(char32_t c) { return next_is(c) && (++at_, true); }
  char32_t take() {
    if (!more()) refuse_regex("it ends too early");
    return pattern_[at_++];
  }

 private:
  Text pattern_;
  std::size_t at_ = 0;
};

inline char32_t read_hexadecimal(PatternCursor& in, int digits) {
  char32_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const char32_t c = in.take();
    const bool decimal = c >= U'0' && c <= U'9', small = c >= U'a' && c <= U'f', big = c >= U'A' && c <= U'F';
    if (!decimal && !small && !big) refuse_regex("an escape that lacks hexadecimal digits");
    value = value * 16 + (decimal ? c - U'0' : small ? c - U'a' + 10 : c - U'A' + 10);
  }
  return value;
}

/// \d \s \w and their opposites, or nothing.
inline std::optional<CharacterSet> escaped_kind(char32_t letter) {
  using Ranges = std::vector<CharacterSet::Range>;
  std::optional<CharacterSet> set;
  if (letter == U'd' || letter == U'D') set.emplace(Ranges{{U'0', U'9'}});
  if (letter == U's' || letter == U'S') set.emplace(Ranges{{U'\t', U'\r'}, {0x1c, U' '}});
  if (letter == U'w' || letter == U'W')
    set.emplace(Ranges{{U'0', U'9'}, {U'A', U'Z'}, {U'_', U'_'}, {U'a', U'z'}, {0x80, last_code_point}});
  if (set && letter < U'a') set->negate();
  return set;
}

/// Reads what follows a backslash into `set`; returns the character, if it stands for one.
inline std::optional<char32_t> read_escape(PatternCursor& in, CharacterSet& set, bool in_class) {
  const char32_t letter = in.take();
  if (const std::optional<CharacterSet> kind = escaped_kind(letter)) {
    set.add(*kind);
    return std::nullopt;
  }
  std::optional<char32_t> character;
  switch (letter) {
    case U'a': character = U'\a'; break;
    case U'f': character = U'\f'; break;
    case U'n': character = U'\n'; break;
    case U'r': character = U'\r'; break;
    case U't': character = U'\t'; break;
    case U'v': character = U'\v'; break;
    case U'b':
      if (in_class) character = U'\b';
      break;
    case U'x': character = read_hexadecimal(in, 2); break;
    case U'u': character = read_hexadecimal(in, 4); break;
    default:
      if (letter >= U'0' && letter <= U'9') refuse_regex("a back reference or octal escape is not supported");
      if (letter >= 0x80 || !is_word(letter) || letter == U'_') character = letter;
      break;
  }
  if (!character) refuse_regex("an escape of an unknown letter");
  set.add(*character, *character);
  return character;
}

/// Reads a class from behind its '[' to its ']'.
inline CharacterSet read_class(PatternCursor& in) {
  CharacterSet set;
  const auto item = [&](CharacterSet& into) -> std::optional<char32_t> {
    const char32_t c = in.take();
    if (c == U'\\') return read_escape(in, into, true);
    into.add(c, c);
    return c;
  };
  const bool negated = in.take(U'^');
  for (bool first = true; first || !in.next_is(U']'); first = false) {
    const std::optional<char32_t> low = item(set);
    if (!in.next_is(U'-') || in.next_is(U']', 1)) continue;
    in.take();
    CharacterSet upper;
    const std::optional<char32_t> high = item(upper);
    if (!low || !high || *low > *high) refuse_regex("a range of characters that is none");
    set.add(*low, *high);
  }
  in.take();
  set.tidy();
  if (negated) set.negate();
  return set;
}

}  // namespace io::detail
LORA_NAMESPACE_END
