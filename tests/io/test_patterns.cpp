// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/peft/patterns/patterns.hpp>

#include <chrono>

namespace io = lora::io;
using io::PatternBudget;
using io::detail::Regex, io::detail::decode_text;
using test::expect_pieces, test::message;

namespace {

struct Case {
  const char* pattern;
  const char* subject;
  bool match, full_match;  // what Python 3.11's re.match and re.fullmatch find
};

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
      {"(?P<name_1>x)+", "xxx", true, true},
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
      {"[\\x61-\\u0063]", "b", true, true},
      {"\\.\\-\\/\\_\\@", ".-/_@", true, true},
      {"\\t\\n\\r\\f\\v\\a", "\t\n\r\f\v\a", true, true},
      {"(?=ab)a", "ab", true, false},
      {"(?=ab)a", "ac", false, false},
      {"^(?!.*vision).*q_proj$", "model.q_proj", true, true},
      {"^(?!.*vision).*q_proj$", "model.vision.q_proj", false, false},
      {"(?!a(?!b)).*", "ab", true, true},
      {"(?!a(?!b)).*", "ac", false, false},
      {".*\\.\\d+\\..*(v_proj|down_proj)", "model.layers.10.mlp.down_proj", true, true},
      {"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q_proj|k_proj).*?)|(?:\\bmodel\\.layers\\.[\\d]{1,}\\.o_proj)",
       "model.layers.12.o_proj", true, true},
      {"(.*\\.)?(a)|(b)$", "ax", true, false},
  };
  for (const Case& c : cases) {
    PatternBudget budget;
    const Regex regex(c.pattern, budget);
    EXPECT_EQ(regex.match(decode_text(c.subject), budget), c.match) << c.pattern << " match " << c.subject;
    EXPECT_EQ(regex.full_match(decode_text(c.subject), budget), c.full_match)
        << c.pattern << " full_match " << c.subject;
  }
}

/// The message about a pattern that is refused.
std::string refused(const std::string& pattern) {
  PatternBudget budget;
  return message<lora::ValueError>([&] { Regex(pattern, budget); });
}

TEST(Regex, RefusesWhatItCannotDo) {
  for (const char* pattern :
       {"(a)\\1", "(?<=a)b", "(?<!a)b", "(?i)a",   "a*+",      "a++",     "(?>a)", "(?P=n)", "(?#c)", "(a",
        "a)",     "*a",      "a**",     "a{2}{3}", "+",        "^*",      "\\b+",  "[a",     "[b-a]", "[\\d-x]",
        "\\",     "\\q",     "\\x1",    "a{3,2}",  "(?P<1>a)", "(?P<>a)", "\\07",  "(?"})
    expect_pieces(refused(pattern), {"regular expression"});
}

TEST(Regex, SaysWhatIsNotSupported) {
  expect_pieces(refused("(?i)q_proj"), {"flag", "(?i)", "not supported"});
  expect_pieces(refused("(?s-m:q)"), {"flag", "not supported"});
  expect_pieces(refused("(?<=a)b"), {"lookbehind", "not supported"});
  expect_pieces(refused("(?<!a)b"), {"lookbehind", "not supported"});
  expect_pieces(refused("(?P=n)"), {"back reference", "not supported"});
  expect_pieces(refused("(?>a)"), {"atomic", "not supported"});
  expect_pieces(refused("(?(1)a)"), {"condition", "not supported"});
  expect_pieces(refused("(?#a)"), {"comment", "not supported"});
  expect_pieces(refused("(?~a)"), {"unknown", "(?P<name>"});
}

bool match(const std::string& pattern, const std::string& subject) {
  PatternBudget budget;
  budget.spend_steps(PatternBudget::max_steps - 3'000'000);
  return Regex(pattern, budget).match(decode_text(subject), budget);
}

TEST(Regex, NoPatternTakesForever) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(match("(a+)+b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(a|a)*b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(.*)*(.*)*(.*)*x$", std::string(5000, 'a')));
  EXPECT_TRUE(match("(a?){200}a{200}", std::string(200, 'a')));
  expect_pieces(refused("((a{99}){99}){99}"), {"operations together"});
  EXPECT_NE(refused("a{99999999999999999999}"), "");
  EXPECT_NE(refused(std::string(4000, '(')), "");
  EXPECT_NE(refused(std::string(1'000'000, 'a')), "");
  std::string looks, classes;
  for (int i = 0; i < 40; ++i) looks += "(?=.*";
  looks += "x" + std::string(40, ')');
  expect_pieces(message<lora::ValueError>([&] { match(looks, std::string(3000, 'a')); }), {"too long"});
  for (int i = 0; i < 2000; ++i) classes += "\\W\\D";
  EXPECT_FALSE(match("[^" + classes + "]*b", std::string(5000, '1'))) << "a class of many ranges";
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 60.0);
}

TEST(PatternBudget, IsSharedByAllPatterns) {
  PatternBudget budget;
  std::size_t read = 0;
  const std::string text = message<lora::ValueError>([&] {
    for (; read < 300; ++read) Regex("(((a{20}){20}){20})" + std::to_string(read), budget);
  });
  expect_pieces(text, {"operations together"});
  EXPECT_GT(read, 10u);
  EXPECT_LT(read, 70u);
  PatternBudget steps;
  steps.spend_steps(PatternBudget::max_steps);
  EXPECT_NE(message<lora::ValueError>([&] { steps.spend_steps(1); }), "");
}

/// Keys with the values 1, 2, 3 ...
struct Map {
  explicit Map(const std::vector<std::string>& keys) {
    for (const std::string& key : keys) map.add(key, ++count, budget);
  }
  int find(const std::string& path) const {
    PatternBudget steps;
    const auto* entry = map.find(path, steps);
    return entry != nullptr ? entry->value : 0;
  }
  PatternBudget budget;
  int count = 0;
  io::PatternMap<int> map;
};

TEST(PatternMap, TheFirstMatchingKeyInOrderWins) {
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
  PatternBudget budget;
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (Regex("(.*\\.)?(" + keys[i] + ")$", budget).match(decode_text(path), budget)) return static_cast<int>(i) + 1;
  const auto same = std::find(keys.begin(), keys.end(), path);
  return same != keys.end() ? static_cast<int>(same - keys.begin()) + 1 : 0;
}

TEST(PatternMap, PlainNamesAreFoundAsTheExpressionsTheyAre) {
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

TEST(PatternMap, AKeyForEachOfManyModules) {
  std::vector<std::string> names;
  for (int layer = 0; layer < 60; ++layer)
    for (int expert = 0; expert < 128; ++expert)
      for (const char* name : {"up_proj", "down_proj", "gate_proj"})
        names.push_back("model.layers." + std::to_string(layer) + ".mlp.experts." + std::to_string(expert) + "." +
                        name);
  const Map map(names);
  const io::ModuleNames list = io::ModuleNames::list(names);
  PatternBudget budget;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto* entry = map.map.find("base." + names[i], budget);
    ASSERT_NE(entry, nullptr);
    ASSERT_EQ(entry->value, static_cast<int>(i) + 1);
    ASSERT_TRUE(list.contains("base." + names[i], budget));
  }
}

TEST(ModuleNames, AnyPathEndsInTime) {
  const std::string dots(4096, '.');
  const io::ModuleNames list = io::ModuleNames::list({dots.substr(1) + "x", dots});
  PatternBudget budget;
  budget.spend_steps(PatternBudget::max_steps - 20'000'000);
  const std::string text = message<lora::ValueError>([&] {
    for (int i = 0; i < 100'000; ++i) EXPECT_FALSE(list.contains("x" + dots + "y", budget));
  });
  expect_pieces(text, {"too long"});
}

TEST(ModuleNames, ListsAndExpressions) {
  PatternBudget budget;
  const io::ModuleNames list = io::ModuleNames::list({"q_proj", "layers.1.v"});
  EXPECT_TRUE(list.contains("q_proj", budget));
  EXPECT_TRUE(list.contains("a.q_proj", budget));
  EXPECT_TRUE(list.contains("model.layers.1.v", budget));
  EXPECT_FALSE(list.contains("aq_proj", budget));
  EXPECT_FALSE(list.contains("layers.11.v", budget));
  EXPECT_FALSE(list.contains("q_proj.x", budget));
  EXPECT_TRUE(list.has_whole("q_proj"));
  EXPECT_FALSE(list.has_whole("a.q_proj"));
  const io::ModuleNames expression = io::ModuleNames::matching(".*\\.(q|v)_proj", budget);
  EXPECT_TRUE(expression.contains("a.v_proj", budget));
  EXPECT_FALSE(expression.contains("v_proj", budget));
  EXPECT_FALSE(expression.contains("a.v_proj.x", budget));
  EXPECT_FALSE(expression.is_list());
  EXPECT_TRUE(io::ModuleNames().contains("anything", budget));
}

TEST(LayerFilter, TheNumberBehindThePattern) {
  PatternBudget budget;
  const io::LayerFilter named({1, 3}, {"layers", "h"}, budget);
  EXPECT_TRUE(named.contains("model.layers.1.q", budget));
  EXPECT_TRUE(named.contains("transformer.h.3.attn.q", budget));
  EXPECT_FALSE(named.contains("model.layers.11.q", budget));
  EXPECT_FALSE(named.contains("model.layers.2.experts.1.q", budget)) << "the number of an expert";
  EXPECT_FALSE(named.contains("layers.1.q", budget)) << "PEFT wants something before the pattern";
  EXPECT_FALSE(named.contains("model.blocks.1.q", budget));
  EXPECT_FALSE(named.contains("model.layers.1", budget));
  const io::LayerFilter any({1}, {}, budget);
  EXPECT_TRUE(any.contains("model.blocks.1.q", budget));
  EXPECT_TRUE(any.contains("model.layers.2.experts.1.q", budget)) << "the last number counts";
  EXPECT_FALSE(any.contains("model.layers.1.experts.2.q", budget));
  EXPECT_TRUE(io::LayerFilter().contains("q", budget));
}

}  // namespace
