// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// JSON values out of files: read strictly (see json_events.hpp, and no key twice, nesting bounded), and their members by
/// type. For bodies (-inl.hpp).

#include "lora/core/scalar.hpp"
#include "lora/io/file/file_kind.hpp"
#include "lora/io/text/json_events.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline bool boolean(const Json& json) { return json.get_ref<const bool&>(); }
inline std::int64_t integer(const Json& json) { return json.get_ref<const std::int64_t&>(); }
inline double number(const Json& json) {
  return json.is_number_float() ? json.get_ref<const double&>() : static_cast<double>(integer(json));
}
inline bool is_string(const Json& json, std::string_view expected) {
  return json.is_string() && json.get_ref<const std::string&>() == expected;
}

/// What stands there, for messages: "a list", "the string 'x'", "3".
inline std::string description(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::boolean: return boolean(json) ? "true" : "false";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return std::to_string(integer(json));
    case Json::value_t::number_float: return text("the number ", number(json));
    case Json::value_t::string: return text("the string ", in_quotes(json.get_ref<const std::string&>()));
    case Json::value_t::array: return "a list";
    default: return "an object";
  }
}

/// Builds a value. Nesting deeper than `max_depth`, more than `max_values` values and repeated keys are FileErrors.
class JsonBuilder final : public JsonEvents {
 public:
  JsonBuilder(const std::filesystem::path& file, std::string_view part, std::size_t max_values)
      : file_(file), part_(part), max_values_(max_values) {}
  Json take() { return std::move(root_); }

  void on_null() override { put(Json()); }
  void on_bool(bool value) override { put(json_value(Json::value_t::boolean, value)); }
  void on_integer(std::int64_t value) override { put(json_value(Json::value_t::number_integer, value)); }
  void on_number(double value, const std::string&) override { put(json_value(Json::value_t::number_float, value)); }
  void on_string(std::string& value) override { put(json_value(Json::value_t::string, std::move(value))); }
  void on_key(std::string& value) override {
    members(*open_.back()).emplace_back(std::move(value), Json());  // looks for no other of that name
  }
  void begin_object() override { open(Json::value_t::object); }
  void begin_array() override { open(Json::value_t::array); }
  void end_array() override { open_.pop_back(); }
  void end_object() override {
    std::vector<std::string_view> keys;
    for (const auto& [key, member] : members(*open_.back())) keys.push_back(key);
    expect_unique(file_, part_, std::move(keys));
    open_.pop_back();
  }

 private:
  static constexpr std::size_t max_depth = 64;
  using Members = std::vector<Json::object_t::value_type, Json::object_t::allocator_type>;

  static Members& members(Json& object) { return object.get_ref<Json::object_t&>(); }

  Json* put(Json value) {
    if (values_++ == max_values_) fail(file_, part_, "expected at most ", max_values_, " values, found more");
    Json* place = &root_;
    if (!open_.empty() && open_.back()->is_array())
      place = &open_.back()->get_ref<Json::array_t&>().emplace_back();
    else if (!open_.empty())
      place = &members(*open_.back()).back().second;
    *place = std::move(value);
    return place;
  }
  void open(Json::value_t type) {
    if (open_.size() == max_depth)
      fail(file_, part_, "expected lists and objects nested at most ", max_depth, " deep, found more");
    open_.push_back(put(Json(type)));
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
  std::string characters(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(characters)));
  const bool is_json = characters.find_first_of("{[") == characters.find_first_not_of(" \t\r\n") && !characters.empty();
  if (const std::optional<std::string> kind = kind_of(std::string_view(characters).substr(0, 512), file.size());
      kind && !is_json)
    fail(path, "expected JSON, found ", *kind);
  return read_json(path, "", characters);
}

/// The members of a JSON object by key and type; what does not fit is a FileError that names the file and the key.
class JsonFields {
 public:
  /// Both must outlive it. Throws FileError when the JSON is not an object.
  JsonFields(const std::filesystem::path& file, const Json& json) : file_(file), json_(json) {
    if (!json.is_object()) fail(file, "expected a JSON object, found ", description(json));
  }

  template <class... Pieces>
  [[noreturn]] void refuse(std::string_view key, const Pieces&... pieces) const {
    fail(file_, printable(key), ": ", pieces...);
  }

  const Json::object_t& members() const { return json_.get_ref<const Json::object_t&>(); }

  /// The value of a key, or null when there is no such key.
  const Json* find(std::string_view key) const {
    for (const auto& [name, member] : members())
      if (name == key) return &member;
    return nullptr;
  }
  /// The same, and null as well when the value is null itself.
  const Json* value(std::string_view key) const {
    const Json* found = find(key);
    return found != nullptr && !found->is_null() ? found : nullptr;
  }
  const Json& required(std::string_view key, std::string_view expected) const {
    const Json* found = find(key);
    if (found == nullptr) refuse(key, "expected ", expected, ", found no such key");
    return *found;
  }

  const std::string& string(std::string_view key) const {
    const Json& found = required(key, "a string");
    if (!found.is_string()) refuse(key, "expected a string, found ", description(found));
    return found.get_ref<const std::string&>();
  }
  const Json::array_t& list(std::string_view key) const {
    const Json& found = required(key, "a list");
    if (!found.is_array()) refuse(key, "expected a list, found ", description(found));
    return found.get_ref<const Json::array_t&>();
  }
  /// False when the key is missing or null.
  bool flag(std::string_view key) const {
    const Json* found = value(key);
    if (found != nullptr && !found->is_boolean()) refuse(key, "expected true or false, found ", description(*found));
    return found != nullptr && boolean(*found);
  }
  /// Empty when the key is missing, or no string's.
  std::string string_or_empty(std::string_view key) const {
    const Json* found = find(key);
    return found != nullptr && found->is_string() ? found->get_ref<const std::string&>() : std::string();
  }

  // In these `key` only names the value in messages.

  Index positive(std::string_view key, const Json& json) const {
    if (!json.is_number_integer() || integer(json) < 1)
      refuse(key, "expected an integer of at least 1, found ", description(json));
    return integer(json);
  }
  double finite(std::string_view key, const Json& json) const {
    if (!json.is_number() || !lora::detail::is_finite(number(json)))
      refuse(key, "expected a finite number, found ", description(json));
    return number(json);
  }

 private:
  const std::filesystem::path& file_;
  const Json& json_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
