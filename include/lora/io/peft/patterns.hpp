// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The keys of rank_pattern and alpha_pattern. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/io/text/utf8.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline bool is_word(char32_t c) {
  return (c >= U'0' && c <= U'9') || (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z') || c == U'_' || c >= 0x80;
}

/// Keys that are Python regular expressions for the end of a module's path, from a dot on: of a path the first one counts,
/// in the order of the file, for which `re.match("(.*\.)?(KEY)$", path)` succeeds. `q_proj` and `self_attn.q_proj` match
/// `model.layers.0.self_attn.q_proj`, `attn.q_proj` does not, `^q_proj` matches a whole path only.
///
/// Supported: characters, escaped punctuation, `.`, classes, `\d`, `\w`, groups `( )` `(?: )`, alternatives, `* + ?`
/// greedy and lazy, `^ $`. Everything else is refused, as is what Python refuses. Beyond ASCII every character counts as a
/// word character, none as a digit.
///
/// All keys are one automaton whose states are followed side by side (Thompson 1968): no key takes exponential time, and
/// keys share what they begin with, so that an adapter may have one for each of its modules.
class PatternKeys {
 public:
  /// Throws ValueError when the key is no regular expression, or uses what is not supported, or the keys take too much memory
  /// together.
  void add(const std::string& key) {
    key_ = decode(key);
    at_ = 0;
    const State last = alternatives(0, 0);
    if (more()) refuse("a ')' without its '('");
    states_[last].key = std::min(states_[last].key, count_);
    names_.try_emplace(key, count_++);
  }

  /// The number of the key for each of an adapter's modules, or nothing. A key that is no matching pattern but the very
  /// name counts as well, as in PEFT. Throws ValueError, naming the module, when it takes more than about a second.
  std::vector<std::optional<std::size_t>> find(std::span<const std::string> paths) const {
    std::vector<std::optional<std::size_t>> out;
    Walk walk;
    walk.seen.resize(states_.size());
    for (const std::string& path : paths) {
      State found = count_ == 0 ? none : first_match(decode(path), walk);
      if (walk.steps > max_steps)
        throw ValueError(text("lora: module ", in_quotes(path), ": the patterns take too long to match"));
      if (const auto name = names_.find(path); found == none && name != names_.end()) found = name->second;
      out.push_back(found == none ? std::nullopt : std::optional<std::size_t>(found));
    }
    return out;
  }

 private:
  using Text = std::u32string;  // a byte that is not UTF-8 stands above the last code point
  using State = std::uint32_t;
  using Ranges = std::vector<std::pair<char32_t, char32_t>>;

  /// What an edge is passed with: a character, one of these, or first_set + the number of a set of characters.
  static constexpr char32_t no_character = 0x110000, any = 0x110001, begin = 0x110002, end = 0x110003,
                            nothing = 0x110004, first_set = 0x110005;

  struct Edge {
    char32_t with;
    State to, next;  // next: the state's next edge
  };
  struct StateData {
    State edges = none, key = none;  // its first edge; the first key that ends here
  };

  static constexpr State none = static_cast<State>(-1);
  static constexpr std::uint64_t max_steps = 100'000'000;
  static constexpr std::size_t max_depth = 50, max_states = 1'000'000;

  static Text decode(std::string_view characters) {
    Text out;
    for (std::size_t at = 0; at < characters.size();) {
      const CodePoint c = decode_utf8(characters, at);
      out.push_back(c.length != 0 ? c.value : no_character);
      at += std::max<std::size_t>(c.length, 1);
    }
    return out;
  }
  [[noreturn]] static void refuse(std::string_view why) { throw ValueError(text("lora: regular expression: ", why)); }

  // ---- matching ----

  struct Walk {
    std::vector<std::size_t> seen;  // the turn in which a state was last reached
    std::size_t turn = 0;
    std::uint64_t steps = 0;
    std::vector<State> states, last;

    void reach(State state) {
      if (std::exchange(seen[state], turn) != turn) states.push_back(state);
    }
  };

  State first_match(const Text& path, Walk& walk) const {
    State found = none;
    const std::size_t line = path.find(U'\n');  // which `.*` does not pass
    bool starts = true;                         // here, at the beginning or behind a dot
    walk.states.clear();
    ++walk.turn;
    for (std::size_t position = 0; walk.steps <= max_steps; ++position) {
      const bool at_end = position == path.size() || (position + 1 == path.size() && path[position] == U'\n');
      if (starts) walk.reach(0);
      for (std::size_t i = 0; i < walk.states.size(); ++i) {
        const StateData& state = states_[walk.states[i]];
        if (at_end) found = std::min(found, state.key);
        for (State e = state.edges; e != none; e = edges_[e].next, ++walk.steps) {
          const char32_t with = edges_[e].with;
          if (with == nothing || (with == begin && position == 0) || (with == end && at_end)) walk.reach(edges_[e].to);
        }
      }
      if (position == path.size()) break;
      const char32_t c = path[position];
      std::swap(walk.states, walk.last);
      walk.states.clear();
      ++walk.turn;
      for (const State state : walk.last)
        for (State e = states_[state].edges; e != none; e = edges_[e].next)
          if (passes(edges_[e].with, c, walk.steps)) walk.reach(edges_[e].to);
      starts = c == U'.' && position < line;
    }
    return found;
  }
  bool passes(char32_t with, char32_t c, std::uint64_t& steps) const {
    if (with == c) return true;
    if (with < first_set) return with == any && c != U'\n';
    const Ranges& ranges = sets_[with - first_set];
    steps += ranges.size();
    return std::any_of(ranges.begin(), ranges.end(), [c](auto range) { return range.first <= c && c <= range.second; });
  }

  // ---- reading, by recursive descent: each of these returns the state behind what it has read ----

  bool more() const { return at_ < key_.size(); }
  bool next_is(std::u32string_view characters) const { return more() && characters.find(key_[at_]) != Text::npos; }
  bool take(char32_t c) { return more() && key_[at_] == c && (++at_, true); }
  char32_t take() {
    if (!more()) refuse("it ends too early");
    return key_[at_++];
  }
  State new_state() {
    if (states_.size() == max_states) refuse("the patterns of one adapter take too much memory together");
    states_.emplace_back();
    return static_cast<State>(states_.size() - 1);
  }
  State link(State from, char32_t with, State to) {
    edges_.push_back({with, to, states_[from].edges});
    states_[from].edges = static_cast<State>(edges_.size() - 1);
    return to;
  }
  /// A character, any, begin or end: keys that begin alike share these.
  State go_on(State from, char32_t with) {
    for (State e = states_[from].edges; e != none; e = edges_[e].next) {
      if (++built_ > max_steps) refuse("the patterns of one adapter are too many");
      if (edges_[e].with == with) return edges_[e].to;
    }
    return link(from, with, new_state());
  }

  State alternatives(State from, std::size_t depth) {
    if (depth > max_depth) refuse(text("groups nested more than ", max_depth, " deep"));
    const State first = sequence(from, depth);
    if (!next_is(U"|")) return first;
    const State behind = link(first, nothing, new_state());
    while (take(U'|')) link(sequence(from, depth), nothing, behind);
    return behind;
  }
  State sequence(State from, std::size_t depth) {
    while (more() && !next_is(U"|)")) from = piece(from, depth);
    return from;
  }
  State piece(State from, std::size_t depth) {
    if (next_is(U"*+?{")) refuse(text("nothing to repeat at character ", at_));
    State inner = from, last;
    if (take(U'(')) {
      if (take(U'?') && !take(U':')) refuse("of the groups that begin with '(?' only (?: is supported");
      inner = link(from, nothing, new_state());
      last = alternatives(inner, depth + 1);
      if (!take(U')')) refuse("a '(' without its ')'");
    } else {
      const char32_t with = atom();
      const bool repeated = next_is(U"*+?{");
      if (repeated && (with == begin || with == end)) refuse(text("nothing to repeat at character ", at_));
      if (repeated) inner = link(from, nothing, new_state());
      last = with >= first_set ? link(inner, with, new_state()) : go_on(inner, with);
    }
    return next_is(U"*+?{") ? repetition(inner, last) : last;
  }
  State repetition(State inner, State last) {
    const char32_t how = take();
    if (how == U'{') refuse("a '{' that is not escaped: counted repetitions are not supported");
    if (next_is(U"+")) refuse("a possessive repetition is not supported");
    take(U'?');  // lazy: matches the same paths
    if (next_is(U"*+?{")) refuse("a repetition of a repetition");
    const State behind = link(last, nothing, new_state());
    if (how != U'?') link(last, nothing, inner);
    if (how != U'+') link(inner, nothing, behind);
    return behind;
  }

  char32_t atom() {
    switch (const char32_t c = take()) {
      case U'.': return any;
      case U'^': return begin;
      case U'$': return end;
      case U'[': return new_set(read_class());
      case U'\\': {
        const Ranges ranges = escape();
        return ranges.size() == 1 && ranges[0].first == ranges[0].second ? ranges[0].first : new_set(ranges);
      }
      default: return c;
    }
  }
  char32_t new_set(Ranges ranges) {
    sets_.push_back(std::move(ranges));
    return first_set + static_cast<char32_t>(sets_.size() - 1);
  }
  /// What follows a backslash.
  Ranges escape() {
    const char32_t c = take();
    if (c == U'd') return {{U'0', U'9'}};
    if (c == U'w') return {{U'0', U'9'}, {U'A', U'Z'}, {U'_', U'_'}, {U'a', U'z'}, {0x80, no_character}};
    if (c < 0x80 && is_word(c) && c != U'_')
      refuse("an escape that is not supported: of letters and digits only \\d \\w are");
    return {{c, c}};
  }
  /// A class from behind its '[' to its ']'.
  Ranges read_class() {
    Ranges out;
    const bool negated = take(U'^');
    const auto item = [&]() -> Ranges {
      const char32_t c = take();
      return c == U'\\' ? escape() : Ranges{{c, c}};
    };
    for (bool first = true; first || !take(U']'); first = false) {
      Ranges low = item();
      if (next_is(U"-") && at_ + 1 < key_.size() && key_[at_ + 1] != U']') {
        take();
        const Ranges high = item();
        if (low.size() != 1 || high.size() != 1 || low[0].first != low[0].second || high[0].first != high[0].second ||
            low[0].first > high[0].first)
          refuse("a range of characters that is none");
        low[0].second = high[0].first;
      }
      out.insert(out.end(), low.begin(), low.end());
    }
    if (!negated) return out;
    std::sort(out.begin(), out.end());
    Ranges others;
    char32_t next = 0;
    for (const auto& [first, last] : out) {
      if (first > next) others.push_back({next, first - 1});
      next = std::max<char32_t>(next, last + 1);
    }
    if (next <= no_character) others.emplace_back(next, no_character);
    return others;
  }

  State count_ = 0;
  std::vector<StateData> states_{1};
  std::vector<Edge> edges_;
  std::vector<Ranges> sets_;
  std::map<std::string, State, std::less<>> names_;
  std::uint64_t built_ = 0;
  Text key_;  // being read
  std::size_t at_ = 0;
};

}  // namespace io::detail
LORA_NAMESPACE_END
