// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a regular expression out of a file is turned into. What makes it: regex_reader.hpp; what runs it: regex.hpp.

#include "lora/io/error.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr char32_t last_code_point = 0x10ffff;

/// Decoded characters; a byte that is not UTF-8 stands above the last code point.
using Text = std::u32string;

inline Text decode_text(std::string_view characters) {
  Text out;
  for (std::size_t at = 0; at < characters.size();) {
    const CodePoint c = decode_utf8(characters, at);
    out.push_back(c.length != 0 ? c.value : last_code_point + 1);
    at += c.length != 0 ? c.length : 1;
  }
  return out;
}
inline bool is_word(char32_t c) {
  return (c >= U'0' && c <= U'9') || (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z') || c == U'_' || c >= 0x80;
}

/// Characters, as ranges.
class CharacterSet {
 public:
  using Range = std::pair<char32_t, char32_t>;

  CharacterSet() = default;
  explicit CharacterSet(std::vector<Range> ranges) : ranges_(std::move(ranges)) { tidy(); }

  void add(char32_t first, char32_t last) { ranges_.push_back({first, last}); }
  void add(const CharacterSet& other) { ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end()); }
  void negate() {
    tidy();
    std::vector<Range> gaps;
    char32_t from = 0;
    for (const Range& range : ranges_) {
      if (range.first > from) gaps.push_back({from, range.first - 1});
      from = range.second + 1;
    }
    if (from <= last_code_point + 1) gaps.push_back({from, last_code_point + 1});
    ranges_ = std::move(gaps);
  }
  /// Joins ranges that touch: contains() needs them in order and apart.
  void tidy() {
    std::sort(ranges_.begin(), ranges_.end());
    std::size_t count = 0;
    for (const Range& range : ranges_)
      if (count != 0 && range.first <= ranges_[count - 1].second + 1)
        ranges_[count - 1].second = std::max(ranges_[count - 1].second, range.second);
      else
        ranges_[count++] = range;
    ranges_.resize(count);
  }

  std::size_t ranges() const { return ranges_.size(); }
  bool contains(char32_t c) const {
    const auto behind = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                         [](char32_t x, const Range& range) { return x < range.first; });
    return behind != ranges_.begin() && c <= std::prev(behind)->second;
  }

 private:
  std::vector<Range> ranges_;
};

/// Operations and the sets they name. Jumps are relative, so that a piece of the code can be copied and moved.
struct RegexProgram {
  enum class Kind : std::uint8_t {
    character,  // the code point x
    set,        // one character of sets[x]
    begin,      // the five that look at a position
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
    std::int32_t x = 0, y = 0;
  };

  std::vector<Operation> code;
  std::vector<CharacterSet> sets;
};

}  // namespace io::detail
LORA_NAMESPACE_END
