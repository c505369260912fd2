// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a regular expression is turned into, and how. For bodies (-inl.hpp).

#include "lora/io/text/utf8.hpp"

#include <algorithm>
#include <optional>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Decoded characters; a byte that is not UTF-8 stands above the last code point.
using Text = std::u32string;

inline Text decode_text(std::string_view characters) {
  Text out;
  for (std::size_t at = 0; at < characters.size();) {
    const CodePoint c = decode_utf8(characters, at);
    out.push_back(c.length != 0 ? c.value : 0x110000);
    at += c.length != 0 ? c.length : 1;
  }
  return out;
}
inline bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
inline bool is_word(char32_t c) {
  return is_digit(c) || (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z') || c == U'_' || c >= 0x80;
}

/// Ranges of characters, and the kinds that `\d \s \w \D \S \W` stand for.
struct CharacterSet {
  struct Item {
    char32_t first, last;
    char32_t kind = 0;  // its letter; 0: a range
  };
  std::vector<Item> items;
  bool negated = false;

  bool contains(char32_t c) const {
    return negated != std::any_of(items.begin(), items.end(), [c](const Item& item) {
             const bool space = (c >= U'\t' && c <= U'\r') || (c >= 0x1c && c <= U' ');
             switch (item.kind) {
               case U'd': return is_digit(c);
               case U'D': return !is_digit(c);
               case U's': return space;
               case U'S': return !space;
               case U'w': return is_word(c);
               case U'W': return !is_word(c);
               default: return c >= item.first && c <= item.last;
             }
           });
  }
};

/// Operations and the sets they name. Jumps are relative, so that a piece of the code can be copied and moved.
struct RegexProgram {
  enum class Kind {
    set,   // one character of sets[x]
    look,  // the assertion holds at this position
    fork,  // go on at +x and at +y
    accept,
  };
  struct Operation {
    Kind kind;
    std::int32_t x = 0, y = 0;
    char32_t assertion = 0;  // '^', '$', 'Z', 'b' or 'B'
  };

  std::vector<Operation> code;
  std::vector<CharacterSet> sets;
  std::size_t size = 0;
};

/// Reads a pattern, by recursive descent with a bounded depth. Throws ValueError.
class RegexReader {
 public:
  RegexReader(std::string_view pattern, std::size_t max_size) : pattern_(decode_text(pattern)), max_size_(max_size) {
    if (pattern.size() > max_pattern) refuse(text("longer than ", max_pattern, " bytes"));
  }
  RegexProgram read() {
    alternatives(0);
    if (more()) refuse("a ')' without its '('");
    emit({Kind::accept});
    return std::move(out_);
  }

 private:
  using Kind = RegexProgram::Kind;
  using Operation = RegexProgram::Operation;

  static constexpr std::size_t max_pattern = 8192, max_depth = 50;

  [[noreturn]] static void refuse(std::string_view why) { throw ValueError(text("lora: regular expression: ", why)); }

  bool more() const { return at_ < pattern_.size(); }
  bool next_is(char32_t c) const { return more() && pattern_[at_] == c; }
  bool take(char32_t c) { return next_is(c) && (++at_, true); }
  char32_t take() {
    if (!more()) refuse("it ends too early");
    return pattern_[at_++];
  }

  void grow(std::size_t by) {
    if ((out_.size += by) > max_size_) refuse("the patterns of one adapter take too many operations together");
  }
  void emit(const Operation& operation) {
    grow(1);
    out_.code.push_back(operation);
  }
  void emit_set(CharacterSet set) {
    grow(set.items.size());
    emit({Kind::set, static_cast<std::int32_t>(out_.sets.size())});
    out_.sets.push_back(std::move(set));
  }
  std::int32_t distance(std::size_t from) const { return static_cast<std::int32_t>(out_.code.size() - from); }

  // Each of these appends the operations of what it has read.

  void alternatives(std::size_t depth) {
    if (depth > max_depth) refuse(text("groups nested more than ", max_depth, " deep"));
    std::vector<std::size_t> leave;
    for (;;) {
      const std::size_t fork = out_.code.size();
      emit({Kind::fork, 1, 1});
      while (more() && !next_is(U'|') && !next_is(U')')) piece(depth);
      if (!take(U'|')) break;
      leave.push_back(out_.code.size());
      emit({Kind::fork});
      out_.code[fork].y = distance(fork);
    }
    for (const std::size_t jump : leave) out_.code[jump].x = out_.code[jump].y = distance(jump);
  }

  void piece(std::size_t depth) {
    const std::size_t begin = out_.code.size(), position = at_;
    if (repetition()) refuse(text("nothing to repeat at character ", position));
    const bool repeatable = atom(depth);
    const std::optional<Repeat> repeat = repetition();
    if (!repeat) return;
    if (!repeatable) refuse(text("nothing to repeat at character ", position));
    if (next_is(U'+')) refuse("a possessive repetition is not supported");
    take(U'?');  // lazy: matches the same subjects
    if (repetition()) refuse("a repetition of a repetition");
    apply(*repeat, begin);
  }

  struct Repeat {
    std::size_t least = 0;
    std::optional<std::size_t> most;  // without: no limit
  };
  std::optional<Repeat> repetition() {
    if (take(U'*')) return Repeat{0, std::nullopt};
    if (take(U'+')) return Repeat{1, std::nullopt};
    if (take(U'?')) return Repeat{0, 1};
    const std::size_t back = at_;
    if (!take(U'{')) return std::nullopt;
    const std::optional<std::size_t> least = number();
    const bool comma = take(U',');
    const std::optional<std::size_t> most = comma ? number() : least;
    if (!take(U'}') || (!least && !comma)) {
      at_ = back;  // no repetition: the brace stands for itself
      return std::nullopt;
    }
    if (most && *most < least.value_or(0)) refuse("a repetition with its limits in the wrong order");
    return Repeat{least.value_or(0), most};
  }
  std::optional<std::size_t> number() {
    std::optional<std::size_t> value;
    while (more() && is_digit(pattern_[at_])) {
      value = value.value_or(0) * 10 + (take() - U'0');
      if (*value > max_size_) refuse("a repetition of too many times");
    }
    return value;
  }
  void apply(const Repeat& repeat, std::size_t begin) {
    const std::vector<Operation> piece(out_.code.begin() + static_cast<std::ptrdiff_t>(begin), out_.code.end());
    const auto length = static_cast<std::int32_t>(piece.size());
    out_.code.resize(begin);
    const auto emit_piece = [&] {
      for (const Operation& operation : piece) emit(operation);
    };
    for (std::size_t i = 0; i < repeat.least; ++i) emit_piece();
    if (!repeat.most) {
      emit({Kind::fork, 1, length + 2});
      emit_piece();
      emit({Kind::fork, -(length + 1), -(length + 1)});
    }
    for (std::size_t i = repeat.least; repeat.most && i < *repeat.most; ++i) {
      emit({Kind::fork, 1, length + 1});
      emit_piece();
    }
  }

  /// True when what was read may be repeated.
  bool atom(std::size_t depth) {
    CharacterSet set;
    switch (const char32_t c = take()) {
      case U'(':
        if (take(U'?') && !take(U':')) refuse("of the groups that begin with '(?' only (?: is supported");
        alternatives(depth + 1);
        if (!take(U')')) refuse("a '(' without its ')'");
        return true;
      case U'^':
      case U'$': emit({Kind::look, 0, 0, c}); return false;
      case U'.': set = {{{U'\n', U'\n'}}, true}; break;
      case U'[': set = read_class(); break;
      case U'\\':
        for (const char32_t letter : {U'A', U'Z', U'b', U'B'})
          if (take(letter)) {
            emit({Kind::look, 0, 0, letter == U'A' ? U'^' : letter});
            return false;
          }
        set.items.push_back(escape());
        break;
      default: set.items.push_back({c, c});
    }
    emit_set(std::move(set));
    return true;
  }

  /// What follows a backslash.
  CharacterSet::Item escape() {
    const char32_t letter = take();
    if (std::u32string_view(U"dDsSwW").find(letter) != std::u32string_view::npos) return {0, 0, letter};
    if (letter < 0x80 && is_word(letter) && letter != U'_')
      refuse("an escape that is not supported: of letters and digits only \\d \\s \\w \\D \\S \\W \\A \\Z \\b \\B are");
    return {letter, letter};
  }

  /// A class from behind its '[' to its ']'.
  CharacterSet read_class() {
    CharacterSet set;
    const auto item = [&]() -> CharacterSet::Item {
      const char32_t c = take();
      if (c == U'\\') return escape();
      return {c, c};
    };
    set.negated = take(U'^');
    for (bool first = true; first || !take(U']'); first = false) {
      CharacterSet::Item range = item();
      const bool is_range = next_is(U'-') && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != U']';
      if (is_range) {
        take();
        const CharacterSet::Item high = item();
        if (range.kind != 0 || high.kind != 0 || range.first > high.last) refuse("a range of characters that is none");
        range.last = high.last;
      }
      set.items.push_back(range);
    }
    return set;
  }

  Text pattern_;
  std::size_t at_ = 0, max_size_;
  RegexProgram out_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
