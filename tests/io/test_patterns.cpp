// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/patterns.hpp>

#include <chrono>

namespace io = lora::io;
using io::detail::Regex;
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
    const Regex regex(c.pattern);
    EXPECT_EQ(regex.match(c.subject), c.match) << c.pattern << " match " << c.subject;
    EXPECT_EQ(regex.full_match(c.subject), c.full_match) << c.pattern << " full_match " << c.subject;
  }
}

TEST(Regex, RefusesWhatItCannotDo) {
  for (const char* pattern :
       {"(a)\\1", "(?<=a)b", "(?<!a)b", "(?i)a",   "a*+",      "a++",     "(?>a)", "(?P=n)", "(?#c)", "(a",
        "a)",     "*a",      "a**",     "a{2}{3}", "+",        "^*",      "\\b+",  "[a",     "[b-a]", "[\\d-x]",
        "\\",     "\\q",     "\\x1",    "a{3,2}",  "(?P<1>a)", "(?P<>a)", "\\07",  "(?"})
    expect_pieces(message<lora::ValueError>([&] { Regex{pattern}; }), {"regular expression"});
}

TEST(Regex, NoPatternTakesForever) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(Regex("(a+)+b").match(std::string(5000, 'a')));
  EXPECT_FALSE(Regex("(a|a)*b").match(std::string(5000, 'a')));
  EXPECT_FALSE(Regex("(.*)*(.*)*(.*)*x$").match(std::string(5000, 'a')));
  EXPECT_TRUE(Regex("(a?){200}a{200}").match(std::string(200, 'a')));
  EXPECT_NE(message<lora::ValueError>([] { Regex("((a{99}){99}){99}"); }), "");
  EXPECT_NE(message<lora::ValueError>([] { Regex("a{99999999999999999999}"); }), "");
  EXPECT_NE(message<lora::ValueError>([] { Regex(std::string(4000, '(')); }), "");
  EXPECT_NE(message<lora::ValueError>([] { Regex(std::string(1'000'000, 'a')); }), "");
  std::string looks;
  for (int i = 0; i < 40; ++i) looks += "(?=.*";
  looks += "x";
  for (int i = 0; i < 40; ++i) looks += ")";
  expect_pieces(message<lora::ValueError>([&] { (void)Regex(looks).match(std::string(3000, 'a')); }), {"too long"});
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 30.0);
}

TEST(PatternMap, TheFirstMatchingKeyInOrderWins) {
  io::PatternMap<int> map;
  map.add("q_proj", 1);
  map.add("self_attn.q_proj", 2);
  map.add("^layers.0.k_proj", 3);
  map.add("attn.v_proj", 4);
  map.add("^v_proj", 5);
  map.add("x)|(y", 6);
  map.add("experts[0].w", 7);
  const auto value = [&](const char* path) { return map.find(path) != nullptr ? map.find(path)->value : 0; };
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

TEST(ModuleNames, ListsAndExpressions) {
  const io::ModuleNames list = io::ModuleNames::list({"q_proj", "layers.1.v"});
  EXPECT_TRUE(list.contains("q_proj"));
  EXPECT_TRUE(list.contains("a.q_proj"));
  EXPECT_TRUE(list.contains("model.layers.1.v"));
  EXPECT_FALSE(list.contains("aq_proj"));
  EXPECT_FALSE(list.contains("layers.11.v"));
  EXPECT_FALSE(list.contains("q_proj.x"));
  EXPECT_TRUE(list.has_whole("q_proj"));
  EXPECT_FALSE(list.has_whole("a.q_proj"));
  const io::ModuleNames expression = io::ModuleNames::matching(".*\\.(q|v)_proj");
  EXPECT_TRUE(expression.contains("a.v_proj"));
  EXPECT_FALSE(expression.contains("v_proj"));
  EXPECT_FALSE(expression.contains("a.v_proj.x"));
  EXPECT_FALSE(expression.is_list());
  EXPECT_TRUE(io::ModuleNames().contains("anything"));
}

TEST(LayerFilter, TheNumberBehindThePattern) {
  const io::LayerFilter named({1, 3}, {"layers", "h"});
  EXPECT_TRUE(named.contains("model.layers.1.q"));
  EXPECT_TRUE(named.contains("transformer.h.3.attn.q"));
  EXPECT_FALSE(named.contains("model.layers.11.q"));
  EXPECT_FALSE(named.contains("model.layers.2.experts.1.q")) << "the number of an expert";
  EXPECT_FALSE(named.contains("layers.1.q")) << "PEFT wants something before the pattern";
  EXPECT_FALSE(named.contains("model.blocks.1.q"));
  EXPECT_FALSE(named.contains("model.layers.1"));
  const io::LayerFilter any({1}, {});
  EXPECT_TRUE(any.contains("model.blocks.1.q"));
  EXPECT_TRUE(any.contains("model.layers.2.experts.1.q")) << "the last number counts";
  EXPECT_FALSE(any.contains("model.layers.1.experts.2.q"));
  EXPECT_TRUE(io::LayerFilter().contains("q"));
}

}  // namespace
