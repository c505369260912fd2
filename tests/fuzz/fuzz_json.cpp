// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Any bytes as the JSON of a configuration. What is accepted must be the value that nlohmann's own parser finds, come
// back when it is written, and give members or refusals; what is refused must say so in printable characters.

#include "fuzz/fuzz.hpp"

#include <lora/io/text/json.hpp>

#include <optional>

namespace {

namespace io = lora::io;
using fuzz::require;
using io::detail::Json;

template <class Run>
void run_or_refuse(const Run& run) {
  try {
    run();
  } catch (const io::FileError& error) {
    fuzz::require_printable(error.what());
  }
}

void check_members(const Json& json) {
  const std::filesystem::path file = "config.json";
  run_or_refuse([&] {
    const io::detail::JsonFields fields(file, json);
    std::size_t tried = 0;
    for (const auto& member : fields.members()) {
      if (++tried > 16) break;  // every key is looked for among all
      const std::string& key = member.first;
      const Json& value = member.second;
      require(fields.find(key) == &value, "a key that is not found");
      run_or_refuse([&] { (void)fields.string(key); });
      run_or_refuse([&] { (void)fields.list(key); });
      run_or_refuse([&] { (void)fields.flag(key); });
      run_or_refuse([&] { require(fields.positive(key, value) >= 1, "a positive number below 1"); });
      run_or_refuse([&] { require(std::isfinite(fields.finite(key, value)), "a finite number that is none"); });
    }
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  run_or_refuse([&] {
    const Json json = io::detail::read_json("config.json", "", input);
    const Json other = Json::parse(input.begin(), input.end(), nullptr, false);
    require(!other.is_discarded() && other == json, "another value than nlohmann's parser finds");
    const std::string written = json.dump();
    require(io::detail::read_json("config.json", "", written) == json, "a value that changes when it is written");
    check_members(json);
  });
  return 0;
}
