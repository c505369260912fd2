// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Regular expressions out of files, turned into a small program. What runs it, and what is supported: regex.hpp.

#include "lora/io/error.hpp"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr char32_t last_code_point = 0x10ffff;

/// Decoded characters; what is not UTF-8 stands above the last code point.
using Text = std::vector<char32_t>;

inline Text decode_text(std::string_view characters) {
  Text out;
  for (std::size_t at = 0; at < characters.size();) {
    const CodePoint c = decode_utf8(characters, at);
    out.push_back(c.length != 0 ? c.value : last_code_point + 1);
    at += c.length != 0 ? c.length : 1;
  }
  return out;
}
[[noreturn]] inline void refuse_regex(std::string_view why) {
  throw ValueError(text("lora: regular expression: ", why));
}
inline bool is_word(char32_t c) {
  return (c >= U'0' && c <= U'9') || (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z') || c == U'_' || c >= 0x80;
}

/// What a program is made of. Jumps are relative, so that a piece of it can be copied and moved.
struct RegexProgram {
  enum class Kind : std::uint8_t {
    set,    // one character of sets[x]
    begin,  // the four that look at a position
    end,
    absolute_end,
    word_edge,
    no_word_edge,
    fork,  // go on at +x and at +y
    jump,  // go on at +x
    ahead,
    not_ahead,  // the next x operations match here, or do not; go on behind them
    accept
  };
  struct Operation {
    Kind kind;
    std::ptrdiff_t x = 0, y = 0;
  };
  using Range = std::pair<char32_t, char32_t>;
  struct Set {
    std::vector<Range> ranges;
    bool negated = false;
    bool contains(char32_t c) const {
      for (const Range& range : ranges)
        if (c >= range.first && c <= range.second) return !negated;
      return negated;
    }
  };

  std::vector<Operation> code;
  std::vector<Set> sets;
};

/// Reads a pattern, by recursive descent with a bounded depth. Throws ValueError.
class RegexReader {
 public:
  static RegexProgram read(std::string_view pattern) {
    if (pattern.size() > max_pattern) refuse_regex(text("longer than ", max_pattern, " bytes"));
    RegexReader reader(decode_text(pattern));
    reader.alternatives(0);
    if (reader.more()) refuse_regex("a ')' without its '('");
    reader.emit({Kind::accept});
    return std::move(reader.program_);
  }

 private:
  using Kind = RegexProgram::Kind;
  using Operation = RegexProgram::Operation;
  using Range = RegexProgram::Range;
  using Set = RegexProgram::Set;

  static constexpr std::size_t max_pattern = 8192, max_code = 100'000, max_depth = 50;

  explicit RegexReader(Text pattern) : pattern_(std::move(pattern)) {}

  // Each function appends the operations of what it has read.

  bool more() const { return at_ < pattern_.size(); }
  bool next_is(char32_t c) const { return more() && pattern_[at_] == c; }
  bool take(char32_t c) { return next_is(c) && (++at_, true); }
  char32_t take() {
    if (!more()) refuse_regex("it ends too early");
    return pattern_[at_++];
  }
  void emit(Operation operation) {
    if (program_.code.size() >= max_code) refuse_regex(text("it needs more than ", max_code, " steps"));
    program_.code.push_back(operation);
  }
  void emit_set(Set set) {
    emit({Kind::set, static_cast<std::ptrdiff_t>(program_.sets.size())});
    program_.sets.push_back(std::move(set));
  }
  std::ptrdiff_t distance(std::size_t from) const { return static_cast<std::ptrdiff_t>(program_.code.size() - from); }

  void alternatives(std::size_t depth) {
    if (depth > max_depth) refuse_regex(text("groups nested more than ", max_depth, " deep"));
    std::vector<std::size_t> leave;
    for (;;) {
      const std::size_t fork = program_.code.size();
      emit({Kind::fork, 1, 1});
      sequence(depth);
      if (!take(U'|')) break;
      leave.push_back(program_.code.size());
      emit({Kind::jump});
      program_.code[fork].y = distance(fork);
    }
    for (const std::size_t jump : leave) program_.code[jump].x = distance(jump);
  }

  void sequence(std::size_t depth) {
    while (more() && !next_is(U'|') && !next_is(U')')) {
      const std::size_t begin = program_.code.size();
      const bool repeatable = atom(depth);
      const std::size_t position = at_;
      const std::optional<Repeat> repeat = quantifier();
      if (!repeat) continue;
      if (!repeatable) refuse_regex(text("nothing to repeat at character ", position));
      apply(*repeat, begin);
    }
  }

  struct Repeat {
    std::uint32_t least = 0;
    std::optional<std::uint32_t> most;  // without: no limit
  };
  std::optional<Repeat> quantifier() {
    std::optional<Repeat> repeat = one_quantifier();
    if (!repeat) return repeat;
    if (take(U'+')) refuse_regex("a possessive repetition is not supported");
    take(U'?');  // lazy: matches the same subjects
    if (one_quantifier()) refuse_regex("a repetition of a repetition");
    return repeat;
  }
  std::optional<Repeat> one_quantifier() {
    if (take(U'*')) return Repeat{0, std::nullopt};
    if (take(U'+')) return Repeat{1, std::nullopt};
    if (take(U'?')) return Repeat{0, 1};
    if (!next_is(U'{')) return std::nullopt;
    const std::size_t back = at_++;
    const std::optional<std::uint32_t> least = number();
    std::optional<std::uint32_t> most = least;
    const bool comma = take(U',');
    if (comma) most = number();
    if (!take(U'}') || (!least && !comma)) {
      at_ = back;  // not a repetition: the brace stands for itself
      return std::nullopt;
    }
    if (most && most < least) refuse_regex("a repetition with its limits in the wrong order");
    return Repeat{least.value_or(0), most};
  }
  std::optional<std::uint32_t> number() {
    std::optional<std::uint32_t> value;
    while (more() && pattern_[at_] >= U'0' && pattern_[at_] <= U'9') {
      value = value.value_or(0) * 10 + (pattern_[at_++] - U'0');
      if (*value > max_code) refuse_regex("a repetition of too many times");
    }
    return value;
  }
  void apply(const Repeat& repeat, std::size_t begin) {
    const std::vector<Operation> piece(program_.code.begin() + static_cast<std::ptrdiff_t>(begin), program_.code.end());
    const auto length = static_cast<std::ptrdiff_t>(piece.size());
    program_.code.resize(begin);
    const auto emit_piece = [&] {
      for (const Operation& operation : piece) emit(operation);
    };
    for (std::uint32_t i = 0; i < repeat.least; ++i) emit_piece();
    if (!repeat.most) {
      emit({Kind::fork, 1, length + 2});
      emit_piece();
      emit({Kind::jump, -(length + 1)});
    } else {
      for (std::uint32_t i = repeat.least; i < *repeat.most; ++i) {
        emit({Kind::fork, 1, length + 1});
        emit_piece();
      }
    }
  }

  /// True when what was read may be repeated.
  bool atom(std::size_t depth) {
    const char32_t c = take();
    switch (c) {
      case U'(': return group(depth);
      case U'[': emit_set(character_class()); return true;
      case U'.': emit_set({{{U'\n', U'\n'}}, true}); return true;
      case U'^': emit({Kind::begin}); return false;
      case U'$': emit({Kind::end}); return false;
      case U'\\': return escape();
      case U'*':
      case U'+':
      case U'?': refuse_regex(text("nothing to repeat at character ", at_ - 1));
      case U'{':
        --at_;
        if (one_quantifier()) refuse_regex(text("nothing to repeat at character ", at_));
        ++at_;
        break;
      default: break;
    }
    emit_set({{{c, c}}, false});
    return true;
  }

  bool group(std::size_t depth) {
    if (take(U'?')) {
      const char32_t form = take();
      if (form == U'=' || form == U'!') {
        const std::size_t look = program_.code.size();
        emit({form == U'=' ? Kind::ahead : Kind::not_ahead});
        alternatives(depth + 1);
        emit({Kind::accept});
        program_.code[look].x = distance(look);
        close();
        return true;
      }
      if (form == U'P' && take(U'<')) {
        std::size_t length = 0;
        while (!next_is(U'>')) {
          const char32_t c = take();
          if (!is_word(c) || (length == 0 && c >= U'0' && c <= U'9')) refuse_regex("the name of a group is not a name");
          ++length;
        }
        ++at_;
        if (length == 0) refuse_regex("the name of a group is empty");
      } else if (form != U':') {
        refuse_regex("of the groups that begin with '(?' only (?: (?P<name> (?= and (?! are supported");
      }
    }
    alternatives(depth + 1);
    close();
    return true;
  }
  void close() {
    if (!take(U')')) refuse_regex("a '(' without its ')'");
  }

  bool escape() {
    switch (next_is(U'A') || next_is(U'Z') || next_is(U'b') || next_is(U'B') ? take() : U'\0') {
      case U'A': emit({Kind::begin}); return false;
      case U'Z': emit({Kind::absolute_end}); return false;
      case U'b': emit({Kind::word_edge}); return false;
      case U'B': emit({Kind::no_word_edge}); return false;
      default: break;
    }
    Set set;
    add_escape(set, false);
    emit_set(std::move(set));
    return true;
  }

  /// Reads what follows a backslash into `set`; returns the character, if it stands for one.
  std::optional<char32_t> add_escape(Set& set, bool in_class) {
    const char32_t c = take();
    const auto add_kind = [&](std::vector<Range> ranges, bool negated) -> std::optional<char32_t> {
      if (!negated) {
        set.ranges.insert(set.ranges.end(), ranges.begin(), ranges.end());
        return std::nullopt;
      }
      char32_t from = 0;
      for (const Range& range : ranges) {
        if (range.first > from) set.ranges.push_back({from, range.first - 1});
        from = range.second + 1;
      }
      set.ranges.push_back({from, last_code_point + 1});
      return std::nullopt;
    };
    std::optional<char32_t> character;
    switch (c) {
      case U'd':
      case U'D': return add_kind({{U'0', U'9'}}, c == U'D');
      case U's':
      case U'S': return add_kind({{U'\t', U'\r'}, {0x1c, U' '}}, c == U'S');
      case U'w':
      case U'W':
        return add_kind({{U'0', U'9'}, {U'A', U'Z'}, {U'_', U'_'}, {U'a', U'z'}, {0x80, last_code_point}}, c == U'W');
      case U'a': character = U'\a'; break;
      case U'f': character = U'\f'; break;
      case U'n': character = U'\n'; break;
      case U'r': character = U'\r'; break;
      case U't': character = U'\t'; break;
      case U'v': character = U'\v'; break;
      case U'b':
        if (in_class) character = U'\b';
        break;
      case U'x': character = hexadecimal(2); break;
      case U'u': character = hexadecimal(4); break;
      default:
        if (c >= U'0' && c <= U'9') refuse_regex("a back reference or octal escape is not supported");
        if (c >= 0x80 || !is_word(c) || c == U'_') character = c;
        break;
    }
    if (!character) refuse_regex("an escape of an unknown letter");
    set.ranges.push_back({*character, *character});
    return character;
  }
  char32_t hexadecimal(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const char32_t c = take();
      const bool decimal = c >= U'0' && c <= U'9', small = c >= U'a' && c <= U'f', big = c >= U'A' && c <= U'F';
      if (!decimal && !small && !big) refuse_regex("an escape that lacks hexadecimal digits");
      value = value * 16 + (decimal ? c - U'0' : small ? c - U'a' + 10 : c - U'A' + 10);
    }
    return value;
  }

  Set character_class() {
    Set set;
    set.negated = take(U'^');
    for (bool first = true; first || !next_is(U']'); first = false) {
      const std::optional<char32_t> low = class_item(set);
      if (!next_is(U'-') || at_ + 1 >= pattern_.size() || pattern_[at_ + 1] == U']') continue;
      ++at_;
      Set upper;
      const std::optional<char32_t> high = class_item(upper);
      if (!low || !high || *low > *high) refuse_regex("a range of characters that is none");
      set.ranges.push_back({*low, *high});
    }
    ++at_;
    return set;
  }
  std::optional<char32_t> class_item(Set& set) {
    const char32_t c = take();
    if (c == U'\\') return add_escape(set, true);
    set.ranges.push_back({c, c});
    return c;
  }

  Text pattern_;
  std::size_t at_ = 0;
  RegexProgram program_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
