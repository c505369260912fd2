// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/peft/patterns/pattern_keys.hpp>

#include <chrono>

namespace io = lora::io;
using io::detail::PatternKeys, io::detail::Regex, io::detail::decode_text;
using test::expect_pieces, test::message;

namespace {

struct Case {
  const char* pattern;
  const char* subject;
  bool match, full_match;  // what Python 3.11's re.match and re.fullmatch find
};

constexpr std::size_t max_size = 100'000;

bool match(const std::string& pattern, const std::string& subject, std::uint64_t steps = 3'000'000) {
  return Regex(pattern, max_size).match(decode_text(subject), steps);
}

TEST(Regex, AgreesWithPython) {
  const Case cases[] = {
      {"", "", true, true},
      {"", "a", true, false},
      {"abc", "abc", true, true},
      {"abc", "abcd", true, false},
      {"abc", "xabc", false, false},
      {"a.c", "a\nc", false, false},
      {"a.c", "a\u00e9c", true, true},
      {"a|b|", "b", true, true},
      {"a|b|", "c", true, false},
      {"(a|ab)(c|bcd)", "abcd", true, true},
      {"(?:a|b)*c", "ababc", true, true},
      {"(a*)*b", "aaab", true, true},
      {"(a*)*", "b", true, false},
      {"a*?b", "aab", true, true},
      {"a+?", "aa", true, true},
      {"a{2}", "aaa", true, false},
      {"a{2,3}?", "aaa", true, true},
      {"a{,2}b", "aab", true, true},
      {"a{,2}b", "aaab", false, false},
      {"a{2,}", "a", false, false},
      {"a{0}b", "b", true, true},
      {"(ab){2}", "abab", true, true},
      {"a{x}", "a{x}", true, true},
      {"a{", "a{", true, true},
      {"a{1", "a{1", true, true},
      {"a{,}", "aaaa", true, true},
      {"{a", "{a", true, true},
      {"^a$", "a\n", true, false},
      {"^a\\Z", "a\n", false, false},
      {"a^b", "ab", false, false},
      {"\\Aa", "a", true, true},
      {"a\\b.", "a.", true, true},
      {"a\\bb", "ab", false, false},
      {"a\\Bb", "ab", true, true},
      {"\\d+\\D\\s\\S\\w\\W", "12x y_.", true, true},
      {"\\w", "\u00e9", true, true},
      {"\\s", "\x1c", true, true},
      {"[a-c]+", "abcd", true, false},
      {"[^a-c]+", "xyz", true, true},
      {"[]a]+", "]a", true, true},
      {"[^]a]", "]", false, false},
      {"[a-]+", "a-", true, true},
      {"[\\w.]+", "a.b", true, true},
      {"[\\]\\-\\\\]+", "]-\\", true, true},
      {"[.*+?(){}|^$]+", ".*+?(){}|^$", true, true},
      {"[\\D]", "1", false, false},
      {"\\.\\-\\/\\_\\@", ".-/_@", true, true},
      {".*\\.\\d+\\..*(v_proj|down_proj)", "model.layers.10.mlp.down_proj", true, true},
      {"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q_proj|k_proj).*?)|(?:\\bmodel\\.layers\\.[\\d]{1,}\\.o_proj)",
       "model.layers.12.o_proj", true, true},
      {"(.*\\.)?(a)|(b)$", "ax", true, false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(match(c.pattern, c.subject), c.match) << c.pattern << " match " << c.subject;
    EXPECT_EQ(match("(?:" + std::string(c.pattern) + ")\\Z", c.subject), c.full_match)
        << c.pattern << " all of " << c.subject;
  }
}

/// The message about a pattern that is refused.
std::string refused(const std::string& pattern) {
  return message<lora::ValueError>([&] { Regex(pattern, max_size); });
}

TEST(Regex, RefusesWhatItCannotDo) {
  for (const char* pattern :
       {"(a)\\1", "(?<=a)b", "(?<!a)b",  "(?i)a", "a*+", "a++",   "(?>a)", "(?P=n)", "(?#c)",   "(a", "a)",
        "*a",     "a**",     "a{2}{3}",  "+",     "^*",  "\\b+",  "[a",    "[b-a]",  "[\\d-x]", "\\", "\\q",
        "\\x41",  "a{3,2}",  "(?P<n>a)", "\\07",  "(?",  "(?=a)", "(?!a)", "{2}",    "a|?",     "\\n"})
    expect_pieces(refused(pattern), {"regular expression"});
}

TEST(Regex, SaysWhatIsNotSupported) {
  for (const char* pattern : {"(?i)q_proj", "(?<=a)b", "(?P=n)", "(?!a)"})
    expect_pieces(refused(pattern), {"groups that begin with '(?'", "only (?: is supported"});
  expect_pieces(refused("a++"), {"possessive", "not supported"});
  expect_pieces(refused("\\x41"), {"escape", "not supported"});
}

TEST(Regex, NoPatternTakesForever) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(match("(a+)+b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(a|a)*b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(.*)*(.*)*(.*)*x$", std::string(5000, 'a')));
  EXPECT_TRUE(match("(a?){200}a{200}", std::string(200, 'a')));
  expect_pieces(refused("((a{99}){99}){99}"), {"too many operations"});
  EXPECT_NE(refused("a{99999999999999999999}"), "");
  EXPECT_NE(refused(std::string(4000, '(')), "");
  EXPECT_NE(refused(std::string(1'000'000, 'a')), "");
  expect_pieces(message<lora::ValueError>([&] { match("(a*){900}b", std::string(5000, 'a')); }), {"too long"});
  std::string classes;
  for (int i = 0; i < 2000; ++i) classes += "\\W\\D";
  EXPECT_FALSE(match("[^" + classes + "]*b", std::string(5000, '1'), 50'000'000)) << "a class of many items";
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 60.0);
}

TEST(PatternKeys, AllOfThemShareOneLimit) {
  PatternKeys keys;
  std::size_t read = 0;
  const std::string text = message<lora::ValueError>([&] {
    for (; read < 300; ++read) keys.add("(((a{20}){20}){20})" + std::to_string(read));
  });
  expect_pieces(text, {"operations together"});
  EXPECT_GT(read, 10u);
  EXPECT_LT(read, 70u);
  std::uint64_t steps = 3;
  expect_pieces(message<lora::ValueError>([&] { (void)keys.find("aaaa", steps); }), {"too long"});
}

/// Keys with the values 1, 2, 3 ...
struct Map {
  explicit Map(const std::vector<std::string>& all) {
    for (const std::string& key : all) keys.add(key);
  }
  int find(const std::string& path) const {
    std::uint64_t steps = PatternKeys::max_steps;
    const std::optional<std::size_t> found = keys.find(path, steps);
    return found ? static_cast<int>(*found) + 1 : 0;
  }
  PatternKeys keys;
};

TEST(PatternKeys, TheFirstMatchingKeyInOrderWins) {
  const Map map({"q_proj", "self_attn.q_proj", "^layers.0.k_proj", "attn.v_proj", "^v_proj", "x)|(y", "experts[0].w"});
  const auto value = [&](const char* path) { return map.find(path); };
  EXPECT_EQ(value("layers.0.self_attn.q_proj"), 1);
  EXPECT_EQ(value("q_proj"), 1);
  EXPECT_EQ(value("layers.0.my_q_proj"), 0) << "a name is matched from a dot on";
  EXPECT_EQ(value("layers.0.k_proj"), 3);
  EXPECT_EQ(value("model.layers.0.k_proj"), 0) << "^ holds the key to the whole path";
  EXPECT_EQ(value("layers.0.self_attn.v_proj"), 0);
  EXPECT_EQ(value("layers.0.attn.v_proj"), 4);
  EXPECT_EQ(value("v_proj"), 5);
  EXPECT_EQ(value("y"), 6) << "the key is put between parentheses as it is";
  EXPECT_EQ(value("experts0.w"), 7) << "a class of one character";
  EXPECT_EQ(value("experts[0].w"), 7) << "no match of the key, but the very key";
}

/// What PEFT does, key by key: re.match("(.*\\.)?(KEY)$", path), and then the very name.
int find_one_by_one(const std::vector<std::string>& keys, const std::string& path) {
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (match("(.*\\.)?(" + keys[i] + ")$", path)) return static_cast<int>(i) + 1;
  const auto same = std::find(keys.begin(), keys.end(), path);
  return same != keys.end() ? static_cast<int>(same - keys.begin()) + 1 : 0;
}

TEST(PatternKeys, PlainNamesAreFoundAsTheExpressionsTheyAre) {
  const std::vector<std::string> paths{
      "",        "q",          "q\n",    "a.q",       "a.q\n", "a\n.q",    "aq",      "b.a.q",   "b.aXq",      "b.a\nq",
      "aXq",     "l.1.q",      "l.11.q", "x.l.1.q",   "l.1Xq", "\u00e9.q", "\u00e9q", "a-b.q",   ".q",         "q.",
      "a.q\n\n", "l\u00e91.q", "a[0].q", "b.a.q\n.q", "^q",    "a..q",     "a.",      "x\n.a.q", "l.1.q.l.1.q"};
  const std::vector<std::vector<std::string>> maps{{"q"},
                                                   {"a.q"},
                                                   {"^a.q"},
                                                   {"a\\.q"},
                                                   {"^a\\.q"},
                                                   {"l.1.q", "l..q", "q"},
                                                   {"^q", "a.q"},
                                                   {".q", "..q"},
                                                   {"..."},
                                                   {"^...", "."},
                                                   {"a\\-b.q"},
                                                   {"\u00e9.q", "."},
                                                   {"q.", "."},
                                                   {"a[0].q", "q"},
                                                   {"", "q"},
                                                   {"^"},
                                                   {"a.q", "q", "l.1.q"},
                                                   {"q\n", "q"},
                                                   {"a..q", "a.q"},
                                                   {"(q)|(a)", "q"},
                                                   {"l.1.q", "l.[0-9]+.q", "q"},
                                                   {"\\.q", "\\\\"}};
  for (const std::vector<std::string>& keys : maps) {
    const Map map(keys);
    for (const std::string& path : paths)
      EXPECT_EQ(map.find(path), find_one_by_one(keys, path)) << keys.front() << " in " << io::printable(path);
  }
}

TEST(PatternKeys, AKeyForEachOfManyModules) {
  std::vector<std::string> names;
  for (int layer = 0; layer < 60; ++layer)
    for (int expert = 0; expert < 128; ++expert)
      for (const char* name : {"up_proj", "down_proj", "gate_proj"})
        names.push_back("model.layers." + std::to_string(layer) + ".mlp.experts." + std::to_string(expert) + "." +
                        name);
  const Map map(names);
  std::uint64_t steps = PatternKeys::max_steps;  // of all of them together
  for (std::size_t i = 0; i < names.size(); ++i) ASSERT_EQ(map.keys.find("base." + names[i], steps), i);
}

}  // namespace
