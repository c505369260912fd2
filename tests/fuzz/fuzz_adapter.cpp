// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// An adapter_config.json and, from two bytes before the first zero byte on (where the length of a header of 256 to
// 65535 bytes begins), an adapter_model.safetensors. What a configuration says of modules must be what its patterns
// say, one by one; a folder that loads must save and load again as the same adapter, and save again to the same bytes. An
// input that begins with such a header is a single file of another program's, of which the same must hold.

#include "fuzz/fuzz.hpp"

#include <lora/io/adapters/formats.hpp>
#include <lora/io/peft/config.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/peft/patterns.hpp>
#include <lora/io/peft/save_adapter.hpp>
#include <lora/io/text/json.hpp>

#include <fstream>

namespace {

namespace io = lora::io;
namespace fs = std::filesystem;
using fuzz::require;

constexpr const char* names[] = {"q_proj",
                                      "model.layers.0.self_attn.q_proj",
                                      "model.layers.11.mlp.down_proj",
                                      "base.h.1.c_attn",
                                      "a\n",
                                      "x\n.q_proj",
                                      "\u00e9.\u6f22"};

std::size_t config_size(std::span<const std::uint8_t> input) {
  const auto zero = static_cast<std::size_t>(std::find(input.begin(), input.end(), 0) - input.begin());
  return zero == input.size() || zero < 2 ? zero : zero - 2;
}

/// What rank_pattern, key by key, has for a module.
lora::Index rank_one_by_one(const io::detail::Json& json, const std::string& module) {
  const auto patterns = json.find("rank_pattern");
  if (patterns != json.end() && patterns->is_object()) {
    for (const auto& [key, value] : patterns->items()) {
      io::detail::PatternKeys alone;
      alone.add("(" + key + ")");  // which is no module's name
      if (alone.find(std::span(&module, 1)).front()) return value.get<lora::Index>();
    }
    if (const auto same = patterns->find(module); same != patterns->end()) return same->get<lora::Index>();
  }
  return json.at("r").get<lora::Index>();
}

void check_config(std::string_view text) {
  std::optional<io::PeftConfig> config;
  try {
    config = io::PeftConfig::parse("adapter_config.json", text);
  } catch (const io::FileError& error) {
    return fuzz::require_printable(error.what());
  }
  if (config->peft_type() == "IA3") return require(config->module("a").rank == 0, "a rank of IA3");
  if (config->peft_type() == "LN_TUNING" || config->peft_type() == "TRAINABLE_TOKENS") return;  // no modules
  const io::detail::Json json = io::detail::read_json("adapter_config.json", "", text);
  try {
    for (const char* const name : names) {
      const io::PeftConfig::Module module = config->module(name);
      require(module.rank >= 1, "a rank below 1");
      require(std::isfinite(module.scaling.value()), "an alpha that is not finite");
      require(module.rank == rank_one_by_one(json, name), "another rank than the patterns say");
    }
  } catch (const lora::ValueError& error) {
    fuzz::require_printable(error.what());  // the steps
  }
}

class Folder {
 public:
  Folder() {
    std::string name = fs::exists("/dev/shm") ? "/dev/shm/fuzz-XXXXXX" : "/tmp/fuzz-XXXXXX";
    require(::mkdtemp(name.data()) != nullptr, "no temporary folder");
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void write(const fs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}
std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool same_bits(const lora::MatrixView& a, const lora::MatrixView& b) {
  return a.rows == b.rows && a.cols == b.cols && a.type == b.type &&
         (a.rows * a.cols == 0 ||
          std::memcmp(a.data, b.data, static_cast<std::size_t>(a.rows * a.cols) * lora::detail::element_size(a.type)) == 0);
}

bool same(const io::AdapterModule& a, const io::AdapterModule& b) {
  if (a.update.index() != b.update.index() || a.scaling() != b.scaling() || a.fan_in_fan_out != b.fan_in_fan_out ||
      a.a_dtype != b.a_dtype || a.b_dtype != b.b_dtype || a.magnitude_dtype != b.magnitude_dtype)
    return false;
  const auto tensors = [](const io::AdapterUpdate& update) {
    return std::visit([](const auto& shared) { return shared->tensors(); }, update);
  };
  return std::ranges::equal(tensors(a.update), tensors(b.update), [](const auto& one, const auto& other) {
    return one.name == other.name && same_bits(one.view, other.view);
  });
}

void check_folder(std::string_view config, std::string_view weights) {
  static const Folder folder, saved, again;
  write(folder.path() / "adapter_config.json", config);
  write(folder.path() / "adapter_model.safetensors", weights);
  std::optional<io::Adapter> adapter;
  try {
    adapter = io::load_adapter(folder.path());
    io::save_adapter(*adapter, saved.path());
  } catch (const io::FileError& error) {
    return fuzz::require_printable(error.what());
  }
  const io::Adapter loaded = io::load_adapter(saved.path());
  require(loaded.modules.size() == adapter->modules.size(), "modules that get lost");
  for (const io::AdapterModule& module : adapter->modules) {
    const auto other = std::find_if(loaded.modules.begin(), loaded.modules.end(), [&](const io::AdapterModule& one) {
      return one.tensor_name() == module.tensor_name() && one.expert == module.expert;
    });
    require(other != loaded.modules.end() && same(module, *other), "a module that changes");
  }
  io::save_adapter(loaded, again.path());
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors"})
    require(read(saved.path() / name) == read(again.path() / name), "other bytes when it is saved again");
}

/// A file of kohya's or diffusers' names, written in kohya's.
void check_file(std::string_view content) {
  static const Folder folder;
  const fs::path given = folder.path() / "given", saved = folder.path() / "saved", again = folder.path() / "again", third = folder.path() / "third";
  write(given, content);
  std::optional<io::Adapter> adapter;
  try {
    adapter = io::load_adapter(given);
    io::save_adapter_as(*adapter, saved, "kohya");
  } catch (const io::FileError& error) {
    return fuzz::require_printable(error.what());
  }
  const io::Adapter loaded = io::load_adapter(saved);
  require(loaded.modules.size() == adapter->modules.size(), "modules that get lost");
  if (io::adapter_format(given) == "kohya")
    for (const io::AdapterModule& module : adapter->modules)
      require(std::ranges::any_of(loaded.modules, [&](const io::AdapterModule& other) {
                return other.tensor_name() == module.tensor_name() && other.component == module.component && same(module, other);
              }), "a module that changes");
  // Modules take the order of their widest tensors once.
  io::save_adapter_as(loaded, again, "kohya");
  io::save_adapter_as(io::load_adapter(again), third, "kohya");
  require(read(again) == read(third), "other bytes when it is saved again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view config = input.substr(0, config_size({data, size}));
  if (config.empty() && size != 0) {
    check_file(input);
    return 0;
  }
  check_config(config);
  if (config.size() != size) check_folder(config, input.substr(config.size()));
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t capacity,
                                               unsigned seed) {
  const std::size_t config = config_size({data, size});
  if (config == 0 && size != 0) return fuzz::mutate_safetensors(data, size, capacity, seed);
  if (config == size || seed % 8 == 0) return LLVMFuzzerMutate(data, size, capacity);
  if (seed % 2 == 0)
    return config + fuzz::mutate_safetensors(data + config, size - config, capacity - config, seed / 8);
  const std::string weights(reinterpret_cast<const char*>(data) + config, size - config);
  const std::size_t mutated = LLVMFuzzerMutate(data, config, capacity - weights.size());
  std::memcpy(data + mutated, weights.data(), weights.size());
  return mutated + weights.size();
}
