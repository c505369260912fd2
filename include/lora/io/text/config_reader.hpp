// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/scalar.hpp"
#include "lora/io/text/json.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Takes typed values out of a JSON object; what does not fit is a FileError that names the file and the key.
class ConfigReader {
 public:
  /// Both must outlive the reader. Throws FileError when the JSON is not an object.
  ConfigReader(const std::filesystem::path& file, const Json& json) : file_(file), json_(json) {
    if (json.as<Json::Object>() == nullptr) fail(file, "expected a JSON object, found ", json.description());
  }

  template <class... Pieces>
  [[noreturn]] void refuse(std::string_view key, const Pieces&... pieces) const {
    fail(file_, printable(key), ": ", pieces...);
  }

  const Json::Object& members() const { return *json_.as<Json::Object>(); }

  /// The value of a key, or null when it is missing or null itself.
  const Json* value(std::string_view key) const {
    const Json* found = json_.find(key);
    return found != nullptr && found->as<std::nullptr_t>() == nullptr ? found : nullptr;
  }
  const Json& required(std::string_view key, std::string_view expected) const {
    const Json* found = json_.find(key);
    if (found == nullptr) refuse(key, "expected ", expected, ", found no such key");
    return *found;
  }

  // In the following, `key` only names the value in messages.

  Index positive(std::string_view key, const Json& json) const {
    const auto* integer = json.as<std::int64_t>();
    if (integer == nullptr || *integer < 1)
      refuse(key, "expected an integer of at least 1, found ", json.description());
    return static_cast<Index>(*integer);
  }
  double finite(std::string_view key, const Json& json) const {
    if (const auto* integer = json.as<std::int64_t>()) return static_cast<double>(*integer);
    const auto* number = json.as<double>();
    if (number == nullptr || !lora::detail::is_finite(*number))
      refuse(key, "expected a finite number, found ", json.description());
    return *number;
  }
  std::vector<std::string> strings(std::string_view key, const Json& json) const {
    const auto* items = json.as<Json::Array>();
    if (items == nullptr) refuse(key, "expected a string or a list of strings, found ", json.description());
    std::vector<std::string> out;
    for (const Json& item : *items) {
      const auto* name = item.as<std::string>();
      if (name == nullptr) refuse(key, "expected a list of strings, found ", item.description(), " in it");
      out.push_back(*name);
    }
    return out;
  }
  /// Layer numbers: one, or a list.
  std::vector<Index> numbers(std::string_view key, const Json& json) const {
    std::vector<Index> out;
    const auto add = [&](const Json& item) {
      const auto* integer = item.as<std::int64_t>();
      if (integer == nullptr || *integer < 0) refuse(key, "expected numbers from 0 on, found ", item.description());
      out.push_back(static_cast<Index>(*integer));
    };
    if (const auto* items = json.as<Json::Array>())
      for (const Json& item : *items) add(item);
    else
      add(json);
    return out;
  }

  /// False when the key is missing or null.
  bool flag(std::string_view key) const {
    const Json* found = value(key);
    if (found == nullptr) return false;
    const bool* on = found->as<bool>();
    if (on == nullptr) refuse(key, "expected true or false, found ", found->description());
    return *on;
  }

  std::string string_or_empty(std::string_view key) const {
    const Json* found = json_.find(key);
    const auto* characters = found != nullptr ? found->as<std::string>() : nullptr;
    return characters != nullptr ? *characters : std::string();
  }

  /// Runs `use`, and says which key it was when that finds that a pattern cannot be used.
  template <class Use>
  auto with_pattern(std::string_view key, std::string_view pattern, const Use& use) const {
    try {
      return use();
    } catch (const ValueError& error) {
      refuse(key, "pattern ", in_quotes(pattern), ": ", bare(error));
    }
  }

 private:
  const std::filesystem::path& file_;
  const Json& json_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
