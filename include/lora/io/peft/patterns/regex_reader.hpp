// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How a regular expression out of a file becomes a program: groups, alternatives and repetitions.

#include "lora/io/peft/patterns/pattern_budget.hpp"
#include "lora/io/peft/patterns/regex_characters.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Reads a pattern, by recursive descent with a bounded depth. Throws ValueError.
class RegexReader {
 public:
  static RegexProgram read(std::string_view pattern, PatternBudget& budget) {
    if (pattern.size() > max_pattern) refuse_regex(text("longer than ", max_pattern, " bytes"));
    RegexReader reader(pattern, budget);
    reader.alternatives(0);
    if (reader.in_.more()) refuse_regex("a ')' without its '('");
    reader.emit({Kind::accept});
    return std::move(reader.program_);
  }

 private:
  using Kind = RegexProgram::Kind;
  using Operation = RegexProgram::Operation;

  static constexpr std::size_t max_pattern = 8192, max_depth = 50;

  RegexReader(std::string_view pattern, PatternBudget& budget) : in_(pattern), budget_(budget) {}

  // Each function appends the operations of what it has read.

  void emit(Operation operation) {
    budget_.spend_size(1);
    program_.code.push_back(operation);
  }
  void emit_set(CharacterSet set) {
    budget_.spend_size(1 + set.ranges());
    emit({Kind::set, static_cast<std::int32_t>(program_.sets.size())});
    program_.sets.push_back(std::move(set));
  }
  void emit_character(char32_t c) { emit({Kind::character, static_cast<std::int32_t>(c)}); }
  std::int32_t distance(std::size_t from) const { return static_cast<std::int32_t>(program_.code.size() - from); }

  void alternatives(std::size_t depth) {
    if (depth > max_depth) refuse_regex(text("groups nested more than ", max_depth, " deep"));
    std::vector<std::size_t> leave;
    for (;;) {
      const std::size_t fork = program_.code.size();
      emit({Kind::fork, 1, 1});
      sequence(depth);
      if (!in_.take(U'|')) break;
      leave.push_back(program_.code.size());
      emit({Kind::jump});
      program_.code[fork].y = distance(fork);
    }
    for (const std::size_t jump : leave) program_.code[jump].x = distance(jump);
  }

  void sequence(std::size_t depth) {
    while (in_.more() && !in_.next_is(U'|') && !in_.next_is(U')')) {
      const std::size_t begin = program_.code.size();
      const bool repeatable = atom(depth);
      const std::size_t position = in_.position();
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
    if (in_.take(U'+')) refuse_regex("a possessive repetition is not supported");
    in_.take(U'?');  // lazy: matches the same subjects
    if (one_quantifier()) refuse_regex("a repetition of a repetition");
    return repeat;
  }
  std::optional<Repeat> one_quantifier() {
    if (in_.take(U'*')) return Repeat{0, std::nullopt};
    if (in_.take(U'+')) return Repeat{1, std::nullopt};
    if (in_.take(U'?')) return Repeat{0, 1};
    const std::size_t back = in_.position();
    if (!in_.take(U'{')) return std::nullopt;
    const std::optional<std::uint32_t> least = number();
    std::optional<std::uint32_t> most = least;
    const bool comma = in_.take(U',');
    if (comma) most = number();
    if (!in_.take(U'}') || (!least && !comma)) {
      in_.go_to(back);  // not a repetition: the brace stands for itself
      return std::nullopt;
    }
    if (most && most < least) refuse_regex("a repetition with its limits in the wrong order");
    return Repeat{least.value_or(0), most};
  }
  std::optional<std::uint32_t> number() {
    std::optional<std::uint32_t> value;
    for (char32_t digit = U'0'; in_.more(); digit = U'0') {
      while (digit <= U'9' && !in_.take(digit)) ++digit;
      if (digit > U'9') break;
      value = value.value_or(0) * 10 + (digit - U'0');
      if (*value > PatternBudget::max_size) refuse_regex("a repetition of too many times");
    }
    return value;
  }
  void apply(const Repeat& repeat, std::size_t begin) {
    const std::vector<Operation> piece(program_.code.begin() + static_cast<std::ptrdiff_t>(begin), program_.code.end());
    const auto length = static_cast<std::int32_t>(piece.size());
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
    const std::size_t position = in_.position();
    const char32_t c = in_.take();
    switch (c) {
      case U'(': return group(depth);
      case U'[': emit_set(read_class(in_)); return true;
      case U'.': emit_set(CharacterSet({{0, U'\n' - 1}, {U'\n' + 1, last_code_point + 1}})); return true;
      case U'^': emit({Kind::begin}); return false;
      case U'$': emit({Kind::end}); return false;
      case U'\\': return escape();
      case U'*':
      case U'+':
      case U'?': refuse_regex(text("nothing to repeat at character ", position));
      case U'{':
        in_.go_to(position);
        if (one_quantifier()) refuse_regex(text("nothing to repeat at character ", position));
        in_.take();
        break;
      default: break;
    }
    emit_character(c);
    return true;
  }

  bool group(std::size_t depth) {
    if (in_.take(U'?')) {
      const char32_t form = in_.take();
      if (form == U'=' || form == U'!') {
        const std::size_t look = program_.code.size();
        emit({form == U'=' ? Kind::ahead : Kind::not_ahead});
        alternatives(depth + 1);
        emit({Kind::accept});
        program_.code[look].x = distance(look);
        close();
        return true;
      }
      if (form == U'P' && in_.take(U'<'))
        group_name();
      else if (form != U':')
        refuse_group(form);
    }
    alternatives(depth + 1);
    close();
    return true;
  }
  void close() {
    if (!in_.take(U')')) refuse_regex("a '(' without its ')'");
  }
  void group_name() {
    std::size_t length = 0;
    for (; !in_.next_is(U'>'); ++length) {
      const char32_t c = in_.take();
      if (!is_word(c) || (length == 0 && c >= U'0' && c <= U'9')) refuse_regex("the name of a group is not a name");
    }
    in_.take();
    if (length == 0) refuse_regex("the name of a group is empty");
  }
  [[noreturn]] static void refuse_group(char32_t form) {
    std::string_view what = "an unknown form of group";
    if (form < 0x80 && std::string_view("aiLmsux-").find(static_cast<char>(form)) != std::string_view::npos)
      what = "a flag, as in (?i), is not supported";
    if (form == U'<') what = "a lookbehind, (?<= or (?<!, is not supported";
    if (form == U'P') what = "a back reference, (?P=, is not supported";
    if (form == U'>') what = "an atomic group, (?>, is not supported";
    if (form == U'(') what = "a condition, (?(, is not supported";
    if (form == U'#') what = "a comment, (?#, is not supported";
    refuse_regex(text(what, "; of the groups that begin with '(?' these are: (?: (?P<name> (?= (?!"));
  }

  bool escape() {
    static constexpr std::pair<char32_t, Kind> positions[] = {
        {U'A', Kind::begin}, {U'Z', Kind::absolute_end}, {U'b', Kind::word_edge}, {U'B', Kind::no_word_edge}};
    for (const auto& [letter, kind] : positions)
      if (in_.take(letter)) {
        emit({kind});
        return false;
      }
    CharacterSet set;
    if (const std::optional<char32_t> character = read_escape(in_, set, false)) {
      emit_character(*character);
    } else {
      set.tidy();
      emit_set(std::move(set));
    }
    return true;
  }

  PatternCursor in_;
  PatternBudget& budget_;
  RegexProgram program_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
