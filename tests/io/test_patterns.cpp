// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/peft/patterns.hpp>

#include <chrono>

namespace io = lora::io;
using io::detail::PatternKeys;
using test::expect_pieces, test::message;

namespace {

/// The number of the first key that a path matches, from 1; else 0.
int find(const std::vector<std::string>& all, const std::string& path) {
  PatternKeys keys;
  for (const std::string& key : all) keys.add(key);
  const std::optional<std::size_t> found = keys.find(std::span(&path, 1)).front();
  return found ? static_cast<int>(*found) + 1 : 0;
}
/// In parentheses, so that no path is the very key.
bool match(const std::string& key, const std::string& path) { return find({"(" + key + ")"}, path) != 0; }

TEST(PatternKeys, AgreeWithPython) {
  struct Case {
    const char *key, *path;
    bool match;  // what Python 3.11 finds: re.match(rf"(.*\.)?({key})$", path)
  };
  const Case cases[] = {
      {"", "", true},
      {"", "a", false},
      {"abc", "abc", true},
      {"abc", "abcd", false},
      {"abc", "xabc", false},
      {"abc", "x.abc", true},
      {"a.c", "a\nc", false},
      {"a.c", "a\u00e9c", true},
      {"a|b|", "b", true},
      {"a|b|", "c", false},
      {"(a|ab)(c|bcd)", "abcd", true},
      {"(a|ab)(c|bcd)", "x.acc", false},
      {"(?:a|b)*c", "ababc", true},
      {"(a*)*b", "aaab", true},
      {"(a*)*", "b", false},
      {"(a*)*", "b.", true},
      {"()*a", "a", true},
      {"a*?b", "aab", true},
      {"a+?", "aa", true},
      {"a+", "b.aaa", true},
      {"a??b", "ab", true},
      {"a?b", "aab", false},
      {"a}", "a}", true},
      {"]", "]", true},
      {"^a$", "a\n", true},
      {"a^b", "ab", false},
      {"(^a|b)c", "x.ac", false},
      {"(^a|b)c", "x.bc", true},
      {"(^a|b)c", "ac", true},
      {"a$|b", "a", true},
      {"a$b", "ab", false},
      {"(^)*a", "x.a", true},
      {"\\d+\\w", "12x", true},
      {"\\d+\\w", "12", true},
      {"\\w", "\u00e9", true},
      {"\\w\\d", "_7", true},
      {"[a-c]+", "abcd", false},
      {"[^a-c]+", "xyz", true},
      {"[^a-c]+", "xaz", false},
      {"[]a]+", "]a", true},
      {"[^]a]", "]", false},
      {"[^]a]", "b", true},
      {"[a-]+", "a-", true},
      {"[\\w.]+", "a.b", true},
      {"[^\\w.]+", "-/", true},
      {"[^\\w]+", "\u00e9", false},
      {"[\\]\\-\\\\]+", "]-\\", true},
      {"[.*+?(){}|^$]+", ".*+?(){}|^$", true},
      {"[^0-9a-f]", "g", true},
      {"[^0-9a-f]", "c", false},
      {"[^-a]+", "b-", false},
      {"\\.\\-\\/\\_\\@", ".-/_@", true},
      {".*\\.\\d+\\..*(v_proj|down_proj)", "model.layers.10.mlp.down_proj", true},
      {".*\\.\\d+\\..*(v_proj|down_proj)", "model.layers.x.mlp.down_proj", false},
      {"layers\\.(1[0-9]|2[0-3])\\.mlp\\.up_proj", "model.layers.23.mlp.up_proj", true},
      {"layers\\.(1[0-9]|2[0-3])\\.mlp\\.up_proj", "model.layers.24.mlp.up_proj", false},
      {"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q_proj|k_proj).*?)|(?:model\\.layers\\.[\\d]+\\.o_proj)",
       "model.layers.12.o_proj", true},
      {"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q_proj|k_proj).*?)|(?:model\\.layers\\.[\\d]+\\.o_proj)",
       "language_model.1.mlp.k_proj", true},
      {"q", "a\n.q", false},
      {"(a|)+b", "aaab", true},
      {"((a|b)|(ab?))+", "abba", true},
      {"((a|b)|(ab?))+", "abca", false},
  };
  for (const Case& c : cases) EXPECT_EQ(match(c.key, c.path), c.match) << c.key << " in " << io::printable(c.path);
}

/// The message about a key that is refused.
std::string refused(const std::string& key) {
  return message<lora::ValueError>([&] { PatternKeys().add(key); });
}

TEST(PatternKeys, RefuseWhatTheyCannotDo) {
  for (const char* key : {"(a)\\1",   "(?<=a)b", "(?<!a)b", "(?i)a", "a*+",  "a++",   "(?>a)", "(?P=n)", "(?#c)",
                          "(a",       "a)",      "*a",      "a**",   "a*?*", "a{2}",  "+",     "^*",     "$?",
                          "[a",       "[b-a]",   "[\\d-x]", "\\",    "\\q",  "\\x41", "\\07",  "(?",     "(?=a)",
                          "(?P<n>a)", "(?!a)",   "{2}",     "a|?",   "\\n",  "a{2,",  "[",     "x)|(y",  "(*a)"})
    expect_pieces(refused(key), {"regular expression"});
}

TEST(PatternKeys, SayWhatIsNotSupported) {
  for (const char* key : {"(?i)q_proj", "(?<=a)b", "(?P=n)", "(?!a)"})
    expect_pieces(refused(key), {"groups that begin with '(?'", "only (?: is supported"});
  expect_pieces(refused("a++"), {"possessive", "not supported"});
  for (const char* key : {"\\x41", "\\bq", "\\Aq", "\\s"}) expect_pieces(refused(key), {"escape", "not supported"});
  for (const char* key : {"a{2}", "a{,3}", "\\d{1,2}", "a{x}"}) expect_pieces(refused(key), {"'{'", "not supported"});
}

TEST(PatternKeys, NoKeyTakesForever) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(match("(a+)+b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(a|a)*b", std::string(5000, 'a')));
  EXPECT_FALSE(match("(.*)*(.*)*(.*)*x$", std::string(5000, 'a')));
  std::string optional;
  for (int i = 0; i < 200; ++i) optional += "a?";
  EXPECT_TRUE(match(optional + std::string(200, 'a'), std::string(200, 'a')));
  EXPECT_NE(refused(std::string(4000, '(')), "");
  EXPECT_EQ(find({std::string(900'000, 'a')}, "a"), 0);
  expect_pieces(refused(std::string(1'100'000, 'a')), {"too much memory"});
  std::string classes;
  for (int i = 0; i < 2000; ++i) classes += "\\w\\d";
  EXPECT_FALSE(match("[^" + classes + "]*b", std::string(5000, '-')));
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 60.0);
}

/// Each harmless alone.
TEST(PatternKeys, AllOfThemShareOneLimit) {
  PatternKeys keys;
  std::string key;
  for (int i = 0; i < 900; ++i) key += "a*";
  keys.add(key + "b");
  std::vector<std::string> paths{std::string(100, 'a')};
  EXPECT_EQ(keys.find(paths).front(), std::nullopt);
  paths.insert(paths.end(), 20, std::string(5000, 'a'));
  expect_pieces(message<lora::ValueError>([&] { (void)keys.find(paths); }), {"module 'aaa", "take too long"});
  PatternKeys many;
  expect_pieces(message<lora::ValueError>([&] {
                  for (char32_t c = 0x1000; c < 0x9000; ++c)  // no two begin alike
                    many.add({static_cast<char>(0xe0 | (c >> 12)), static_cast<char>(0x80 | (c >> 6 & 63)),
                              static_cast<char>(0x80 | (c & 63))});
                }),
                {"too many"});
}

TEST(PatternKeys, TheFirstMatchingKeyInOrderWins) {
  const std::vector<std::string> keys{"q_proj",      "self_attn.q_proj", "^layers.0.k_proj",
                                      "attn.v_proj", "^v_proj",          "experts[0].w"};
  const auto value = [&](const char* path) { return find(keys, path); };
  EXPECT_EQ(value("layers.0.self_attn.q_proj"), 1);
  EXPECT_EQ(value("q_proj"), 1);
  EXPECT_EQ(value("layers.0.my_q_proj"), 0) << "a name is matched from a dot on";
  EXPECT_EQ(value("layers.0.k_proj"), 3);
  EXPECT_EQ(value("model.layers.0.k_proj"), 0) << "^ holds the key to the whole path";
  EXPECT_EQ(value("layers.0.self_attn.v_proj"), 0);
  EXPECT_EQ(value("layers.0.attn.v_proj"), 4);
  EXPECT_EQ(value("v_proj"), 5);
  EXPECT_EQ(value("experts0.w"), 6) << "a class of one character";
  EXPECT_EQ(value("experts[0].w"), 6) << "no match of the key, but the very key";
}

/// What PEFT does, key by key, and then the very name.
int find_one_by_one(const std::vector<std::string>& keys, const std::string& path) {
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (match(keys[i], path)) return static_cast<int>(i) + 1;
  const auto same = std::find(keys.begin(), keys.end(), path);
  return same != keys.end() ? static_cast<int>(same - keys.begin()) + 1 : 0;
}

TEST(PatternKeys, KeysTogetherMatchAsEachAlone) {
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
                                                   {"l.1.q|a", "l.1.(q|a)", "l.1.?q", "l.1.*", "l.11.q"},
                                                   {"a*.q", "a.q", "aa.q|b", "a(.q)+", "a+\\.q"},
                                                   {"\\.q", "\\\\"}};
  for (const std::vector<std::string>& keys : maps) {
    for (const std::string& path : paths)
      EXPECT_EQ(find(keys, path), find_one_by_one(keys, path)) << keys.front() << " in " << io::printable(path);
  }
}

TEST(PatternKeys, AKeyForEachOfManyModules) {
  std::vector<std::string> names;
  for (int layer = 0; layer < 60; ++layer)
    for (int expert = 0; expert < 128; ++expert)
      for (const char* name : {"up_proj", "down_proj", "gate_proj"})
        names.push_back("model.layers." + std::to_string(layer) + ".mlp.experts." + std::to_string(expert) + "." +
                        name);
  PatternKeys keys;
  for (const std::string& name : names) keys.add(name);
  std::vector<std::string> paths;
  for (const std::string& name : names) paths.push_back("base." + name);
  const auto found = keys.find(paths);
  for (std::size_t i = 0; i < names.size(); ++i) ASSERT_EQ(found[i], i);
}

}  // namespace
