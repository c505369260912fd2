// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Strict JSON out of files nobody vouches for: UTF-8, no comments, no NaN, no repeated keys, nesting bounded, and
/// nothing that recurses with the input. The only header that needs nlohmann-json.

#include "lora/io/file/input_file.hpp"

#include <algorithm>
#include <numeric>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Receives the events of parse_json. An integer is one that is written without fraction or exponent and fits.
class JsonEvents {
 public:
  JsonEvents() = default;
  JsonEvents(const JsonEvents&) = delete;
  JsonEvents& operator=(const JsonEvents&) = delete;
  virtual ~JsonEvents() = default;
  virtual void on_null() = 0;
  virtual void on_bool(bool value) = 0;
  virtual void on_integer(std::int64_t value) = 0;
  virtual void on_number(double value, const std::string& spelling) = 0;
  virtual void on_string(std::string& value) = 0;
  virtual void on_key(std::string& value) = 0;
  virtual void begin_object() = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
};

/// Feeds `characters`, one JSON value, to `events`. Throws FileError (naming `file`, `part` of it and the byte) when it
/// is not JSON; what the events throw passes through. The parser keeps its state on the heap: no depth can exhaust the
/// stack.
inline void parse_json(const std::filesystem::path& file, std::string_view part, std::string_view characters,
                       JsonEvents& events) {
  struct Adapter {
    const std::filesystem::path& file;
    std::string_view part;
    JsonEvents& to;

    bool null() { return to.on_null(), true; }
    bool boolean(bool value) { return to.on_bool(value), true; }
    bool number_integer(std::int64_t value) { return to.on_integer(value), true; }
    bool number_unsigned(std::uint64_t value) {
      if (value <= static_cast<std::uint64_t>(INT64_MAX))
        to.on_integer(static_cast<std::int64_t>(value));
      else
        to.on_number(static_cast<double>(value), std::to_string(value));
      return true;
    }
    bool number_float(double value, const std::string& spelling) { return to.on_number(value, spelling), true; }
    bool string(std::string& value) { return to.on_string(value), true; }
    bool binary(nlohmann::json::binary_t&) { return false; }
    bool key(std::string& value) { return to.on_key(value), true; }
    bool start_object(std::size_t) { return to.begin_object(), true; }
    bool end_object() { return to.end_object(), true; }
    bool start_array(std::size_t) { return to.begin_array(), true; }
    bool end_array() { return to.end_array(), true; }
    bool parse_error(std::size_t position, const std::string& token, const nlohmann::json::exception&) {
      fail(file, part, "expected JSON, found ", in_quotes(token), " at byte ", position);
    }
  } adapter{file, part, events};
  // The parser would skip a byte order mark.
  if (characters.substr(0, 3) == "\xef\xbb\xbf") fail(file, part, "expected JSON, found a byte order mark");
  // It would also take a zero byte for the end, whatever follows.
  if (const std::size_t zero = characters.find('\0'); zero != characters.npos)
    fail(file, part, "expected JSON, found a zero byte at byte ", zero + 1);
  nlohmann::json::sax_parse(characters.begin(), characters.end(), &adapter);
}

/// A parsed JSON value; objects keep the order of the file and have no key twice.
struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value = nullptr;

  template <class T>
  const T* as() const {
    return std::get_if<T>(&value);
  }
  const Json* find(std::string_view key) const {
    if (const Object* object = as<Object>())
      for (const auto& [name, member] : *object)
        if (name == key) return &member;
    return nullptr;
  }

  /// What stands there, for messages: "a list", "the string 'x'", "3".
  std::string description() const {
    if (as<std::nullptr_t>()) return "null";
    if (const bool* flag = as<bool>()) return *flag ? "true" : "false";
    if (const auto* integer = as<std::int64_t>()) return std::to_string(*integer);
    if (const double* number = as<double>()) return text("the number ", *number);
    if (const auto* characters = as<std::string>()) return "the string " + in_quotes(*characters);
    return as<Array>() ? "a list" : "an object";
  }

  /// Null, false, 0, "", "none", [] or {}: the ways of a configuration to say that something is not used.
  bool is_unused() const {
    if (const bool* flag = as<bool>()) return !*flag;
    if (const auto* integer = as<std::int64_t>()) return *integer == 0;
    if (const double* number = as<double>()) return *number == 0.0;
    if (const auto* characters = as<std::string>()) return characters->empty() || *characters == "none";
    if (const Array* array = as<Array>()) return array->empty();
    if (const Object* object = as<Object>()) return object->empty();
    return true;
  }
};

/// Throws FileError when a key occurs twice.
inline void expect_unique(const std::filesystem::path& file, std::string_view part,
                          std::vector<std::string_view> keys) {
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) fail(file, part, "expected every key once, found ", in_quotes(*twice), " twice");
}

/// Builds a Json. Nesting deeper than `max_depth`, more than `max_values` values and repeated keys are FileErrors.
class JsonBuilder final : public JsonEvents {
 public:
  JsonBuilder(const std::filesystem::path& file, std::string_view part, std::size_t max_values)
      : file_(file), part_(part), max_values_(max_values) {}
  Json take() { return std::move(root_); }

  void on_null() override { put({nullptr}); }
  void on_bool(bool value) override { put({value}); }
  void on_integer(std::int64_t value) override { put({value}); }
  void on_number(double value, const std::string&) override { put({value}); }
  void on_string(std::string& value) override { put({std::move(value)}); }
  void on_key(std::string& value) override {
    std::get<Json::Object>(open_.back()->value).emplace_back(std::move(value), Json{});
  }
  void begin_object() override { open({Json::Object{}}); }
  void begin_array() override { open({Json::Array{}}); }
  void end_array() override { open_.pop_back(); }
  void end_object() override {
    std::vector<std::string_view> keys;
    for (const auto& [key, member] : std::get<Json::Object>(open_.back()->value)) keys.push_back(key);
    expect_unique(file_, part_, std::move(keys));
    open_.pop_back();
  }

 private:
  static constexpr std::size_t max_depth = 64;

  Json* put(Json value) {
    if (values_++ == max_values_) fail(file_, part_, "expected at most ", max_values_, " values, found more");
    Json* place = &root_;
    if (!open_.empty()) {
      if (auto* array = std::get_if<Json::Array>(&open_.back()->value))
        place = &array->emplace_back();
      else
        place = &std::get<Json::Object>(open_.back()->value).back().second;
    }
    *place = std::move(value);
    return place;
  }
  void open(Json value) {
    if (open_.size() == max_depth)
      fail(file_, part_, "expected lists and objects nested at most ", max_depth, " deep, found more");
    open_.push_back(put(std::move(value)));
  }

  const std::filesystem::path& file_;
  std::string_view part_;
  std::size_t max_values_, values_ = 0;
  Json root_;
  std::vector<Json*> open_;  // a value does not move while it is open: only the innermost grows
};

/// The value in `characters`, `part` ("header: " or nothing) of `file` in messages. Throws FileError, also when there
/// are more values than real files have (one in 8 bytes), so that it takes a small multiple of the characters' memory.
inline Json read_json(const std::filesystem::path& file, std::string_view part, std::string_view characters) {
  JsonBuilder builder(file, part, 4096 + characters.size() / 8);
  parse_json(file, part, characters, builder);
  return builder.take();
}

/// A JSON file of at most `max_bytes`. Throws FileError.
inline Json read_json_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes) fail(path, "expected a JSON file of at most ", max_bytes, " bytes, found ", file.size());
  std::string characters(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(characters)));
  return read_json(path, "", characters);
}

/// Throws FileError, naming `file` and `part` of it, unless `value` is UTF-8.
inline void expect_utf8(const std::filesystem::path& file, std::string_view part, std::string_view value) {
  for (std::size_t at = 0, length = 0; at < value.size(); at += length)
    if ((length = decode_utf8(value, at).length) == 0) fail(file, part, "expected UTF-8, found ", in_quotes(value));
}

/// Appends `value`, UTF-8, as a JSON string.
inline void append_json_string(std::string& out, std::string_view value) {
  out += nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
}

}  // namespace io::detail
LORA_NAMESPACE_END
