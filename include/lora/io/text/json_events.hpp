// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Strict JSON out of files nobody vouches for, event by event: UTF-8, no comments, no NaN, and nothing that recurses with
/// the input. For bodies (-inl.hpp): it brings nlohmann-json with it.

#include "lora/io/error.hpp"

#include <cstdint>

#include <nlohmann/json.hpp>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A value of nlohmann's; its objects keep the order of the file. Made by type and read by reference: its conversions from and
/// to other types cost a second of compile time.
using Json = nlohmann::ordered_json;

/// A value of that type.
template <class T>
Json json_value(Json::value_t type, T value) {
  Json out(type);
  out.get_ref<T&>() = std::move(value);
  return out;
}

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
    bool binary(Json::binary_t&) { return false; }
    bool key(std::string& value) { return to.on_key(value), true; }
    bool start_object(std::size_t) { return to.begin_object(), true; }
    bool end_object() { return to.end_object(), true; }
    bool start_array(std::size_t) { return to.begin_array(), true; }
    bool end_array() { return to.end_array(), true; }
    bool parse_error(std::size_t position, const std::string& token, const Json::exception&) {
      fail(file, part, "expected JSON, found ", in_quotes(token), " at byte ", position);
    }
  } adapter{file, part, events};
  // The parser would skip a byte order mark.
  if (characters.substr(0, 3) == "\xef\xbb\xbf")
    fail(file, part, "expected JSON, found a byte order mark: save the file as UTF-8 without one");
  // It would also take a zero byte for the end, whatever follows.
  if (const std::size_t zero = characters.find('\0'); zero != characters.npos)
    fail(file, part, "expected JSON, found a zero byte at byte ", zero + 1);
  // Json::sax_parse() would bring the readers of all of nlohmann's binary formats with it: a second of compile time. And its own
  // header has the parser for nlohmann::json compiled already.
  auto input = nlohmann::detail::input_adapter(characters.data(), characters.data() + characters.size());
  nlohmann::detail::parser<nlohmann::json, decltype(input)>(std::move(input)).sax_parse(&adapter);
}

/// Throws FileError when a key occurs twice.
inline void expect_unique(const std::filesystem::path& file, std::string_view part,
                          std::vector<std::string_view> keys) {
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) fail(file, part, "expected every key once, found ", in_quotes(*twice), " twice");
}

/// Throws FileError, naming `file` and `part` of it, unless `value` is UTF-8.
inline void expect_utf8(const std::filesystem::path& file, std::string_view part, std::string_view value) {
  for (std::size_t at = 0, length = 0; at < value.size(); at += length)
    if ((length = decode_utf8(value, at).length) == 0) fail(file, part, "expected UTF-8, found ", in_quotes(value));
}

/// Appends `value`, UTF-8, as a JSON string.
inline void append_json_string(std::string& out, std::string_view value) {
  static constexpr std::string_view digits = "0123456789abcdef", escaped = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
  if (!is_utf8(value)) throw ValueError(text("lora: expected UTF-8, found ", in_quotes(value)));
  out += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (const std::size_t at = escaped.find(c); at != escaped.npos)
      out += {'\\', letters[at]};
    else if (byte < 0x20)
      out += {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
    else
      out += c;
  }
  out += '"';
}

}  // namespace io::detail
LORA_NAMESPACE_END
