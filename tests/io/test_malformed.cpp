// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Every file of tests/data/malformed is judged as its index says, with a message that names what is wrong, and without
/// taking memory for what a file only claims.

#include "io/files.hpp"

#include <lora/io/peft/config.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/text/json.hpp>

#include <cstdlib>
#include <map>

namespace io = lora::io;
using test::expect_pieces, test::message;
using Json = io::detail::Json;

namespace {

/// What the message must name.
const std::map<std::string, std::vector<std::string>> rejected{
    {"empty.safetensors", {"an empty file"}},
    {"truncated_data.safetensors", {"tensor 'b'", "within the 40 bytes", "end at 48"}},
    {"truncated_header.safetensors", {"header", "at most 32"}},
    {"header_length_beyond_file.safetensors", {"header", "found 500"}},
    {"header_length_zero.safetensors", {"header", "JSON object"}},
    {"header_length_120_million.safetensors", {"header", "100000000", "120000000"}},
    {"header_not_json.safetensors", {"header", "expected JSON", "at byte 8"}},
    {"offsets_overlap.safetensors", {"tensor 'b'", "begin at byte 24", "found 12", "share"}},
    {"offsets_gap.safetensors", {"tensor 'b'", "begin at byte 24", "found 32", "no tensor"}},
    {"offsets_beyond_data.safetensors", {"tensor 'b'", "end at 4800"}},
    {"shape_negative.safetensors", {"tensor 'b'", "found -2"}},
    {"shape_overflow.safetensors", {"tensor 'b'", "[8589934592, 8589934592]"}},
    {"shape_overflow_bytes.safetensors", {"tensor 'b'", "[4611686018427387910]"}},
    {"byte_count_wrong.safetensors", {"tensor 'b'", "expected 24 bytes", "found 20", "[24, 44]"}},
    {"dtype_unknown.safetensors", {"tensor 'b'", "'F33'"}},
    {"duplicate_key.safetensors", {"'a' twice"}},
    {"deep_nesting.safetensors", {"tensor 'a'", "found a list"}},
    {"name_not_utf8.safetensors", {"header", "\\xff", "at byte"}},
    {"adapter_r_missing", {"adapter_config.json", "r:", "no such key"}},
    {"adapter_r_zero", {"adapter_config.json", "r:", "found 0"}},
    {"adapter_r_string", {"adapter_config.json", "r:", "'2'"}},
    {"adapter_alpha_list", {"adapter_config.json", "lora_alpha:", "a list"}},
    {"adapter_alpha_nan", {"adapter_config.json", "expected JSON", "lora_alpha", "byte 49"}},
    {"adapter_rank_pattern_list", {"adapter_config.json", "rank_pattern:", "a list"}},
    {"adapter_config_not_json", {"adapter_config.json", "expected JSON", "byte 1"}},
    {"adapter_ranks_differ", {"adapter_model.safetensors", "model.layers.0.self_attn.q_proj", "[2, 4]", "[6, 3]"}},
    {"adapter_lora_b_missing", {"adapter_model.safetensors", "model.layers.0.self_attn.q_proj", "no lora_B"}},
    {"adapter_module_absent", {"base.safetensors", "'model.layers.7.self_attn.q_proj.weight'", "none of that name"}},
};

test::fs::path folder() { return test::data() / "malformed"; }

/// Reads a file, or an adapter and the weights it is for. Throws FileError.
void read(const std::string& name) {
  if (!test::fs::is_directory(folder() / name)) {
    const io::Safetensors file = io::Safetensors::open(folder() / name);
    for (const io::TensorInfo& tensor : file.tensors()) EXPECT_EQ(test::data_of(file, tensor).size(), tensor.bytes());
    return;
  }
  const io::Adapter adapter = io::load_adapter(folder() / name);
  const io::Safetensors base = io::Safetensors::open(folder() / "base.safetensors");
  for (const io::AdapterModule& module : adapter.modules) {
    const auto W = base.read_matrix<float>(base.tensor(module.path + ".weight"));
    EXPECT_FALSE(module.is_transposed(W.rows(), W.cols()));
  }
}

TEST(Malformed, EveryFileIsJudgedAsTheIndexSays) {
  const Json index = io::detail::read_json_file(folder() / "index.json", 1 << 20);
  std::size_t refused = 0;
  for (const auto& [name, about] : index.get_ref<const Json::object_t&>()) {
    SCOPED_TRACE(name);
    const std::string text = message([&, &file = name] { read(file); });
    if (about.at("expect") == "accept") {
      EXPECT_EQ(text, "");
      continue;
    }
    ++refused;
    ASSERT_TRUE(rejected.contains(name));
    expect_pieces(text, rejected.at(name));
    for (const char c : text) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
  EXPECT_EQ(refused, rejected.size());
  for (const auto& entry : test::fs::directory_iterator(folder())) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(index.contains(name) || name == "index.json" || name == "README.md" || name == "base.safetensors")
        << name << " is not in the index";
  }
}

// ---- Memory

#if LORA_TEST_POSIX
#if defined(__SANITIZE_ADDRESS__)
constexpr bool is_sanitized = true;
#elif defined(__has_feature)
constexpr bool is_sanitized = __has_feature(address_sanitizer);
#else
constexpr bool is_sanitized = false;
#endif

/// The size of the program's memory in bytes.
std::uint64_t memory_now() {
  std::ifstream status("/proc/self/statm");
  std::uint64_t pages = 0;
  status >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Runs `work`, which may throw FileErrors, with `more` bytes of memory beyond what the program has, and exits.
template <class Work>
[[noreturn]] void run_within(std::uint64_t more, const Work& work) {
  struct rlimit limit {};
  limit.rlim_cur = limit.rlim_max = memory_now() + more;
  ::setrlimit(RLIMIT_AS, &limit);
  try {
    work();
  } catch (const std::bad_alloc&) {
    std::exit(1);
  }
  std::exit(0);
}

std::string repeated(const std::string& text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(MalformedDeathTest, WhatAFileOnlyClaimsTakesNoMemory) {
  if (is_sanitized) GTEST_SKIP() << "AddressSanitizer needs the address space";
  const Json index = io::detail::read_json_file(folder() / "index.json", 1 << 20);
  EXPECT_EXIT(run_within(16 << 20,
                         [&] {
                           for (const auto& entry : index.get_ref<const Json::object_t&>())
                             message([&] { read(entry.first); });
                         }),
              testing::ExitedWithCode(0), "");

  const test::Folder here;
  test::write(here / "long", test::length_prefix(100'000'000) + "{}");
  test::write(here / "empty",
              test::safetensors(R"({"a":{"dtype":"F64","shape":[0,4611686018427387904],"data_offsets":[0,0]}})"));
  test::write(here / "deep", test::safetensors(R"({"a":{"dtype":"U8","data_offsets":[0,0],"shape":[)" +
                                               repeated("1,", 1'000'000) + "1]}}"));
  EXPECT_EXIT(run_within(16 << 20,
                         [&] {
                           if (message([&] { io::Safetensors::open(here / "long"); }).empty()) std::exit(2);
                           if (message([&] { io::Safetensors::open(here / "deep"); }).empty()) std::exit(3);
                           const io::Safetensors empty = io::Safetensors::open(here / "empty");
                           if (empty.read_matrix<float>(empty.tensor("a")).size() != 0) std::exit(4);
                         }),
              testing::ExitedWithCode(0), "");
}

TEST(MalformedDeathTest, ConfigurationsTakeASmallMultipleOfTheirSize) {
  if (is_sanitized) GTEST_SKIP() << "AddressSanitizer needs the address space";
  const std::string begin = R"({"peft_type":"LORA","r":2,"lora_alpha":4,)";
  std::string heavy = begin + R"("rank_pattern":{)", classes = heavy, names = begin + R"("target_modules":[)";
  for (int i = 0; i < 300; ++i) {
    heavy += lora::detail::text(i == 0 ? "" : ",", "\"", i, repeated("((a*)*)+", 1000), "\":2");
    classes += lora::detail::text(i == 0 ? "" : ",", "\"", i, repeated("[^\\\\w\\\\d]", 800), "\":2");
  }
  for (int i = 0; i < 300'000; ++i) names += lora::detail::text(i == 0 ? "\"" : ",\"", "a.very.long.name.", i, "\"");
  const struct {
    std::string text;
    bool is_refused;
  } cases[] = {{heavy + "}}", true},
               {classes + "}}", false},
               {names + "]}", false},
               {begin + "\"x\":[" + repeated("[],", 2'000'000) + "[]]}", true}};
  for (const auto& c : cases)
    EXPECT_EXIT(run_within(128 << 20,
                           [&] {
                             const bool refused =
                                 !message([&] { io::PeftConfig::parse("adapter_config.json", c.text); }).empty();
                             if (refused != c.is_refused) std::exit(2);
                           }),
                testing::ExitedWithCode(0), "")
        << c.text.substr(0, 80);
}
#endif

}  // namespace
