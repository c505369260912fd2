// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The pieces of a GGUF header, one after the other. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/io/file/file_kind.hpp"
#include "lora/io/gguf/tensor.hpp"
#include "lora/io/gguf/value.hpp"
#include "lora/io/safetensors/tensor_info.hpp"
#include "lora/io/text/json_events.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Reads numbers, strings and values; each is checked against what is left of the file before memory is taken for it.
class GgufHeaderReader {
 public:
  GgufHeaderReader(const std::filesystem::path& file, std::uint64_t size, GgufRead read)
      : file_(file), size_(size), end_(std::min(size, GgufLimits::max_header_bytes)), read_(read) {}

  std::uint64_t position() const { return buffer_begin_ + at_; }

  /// What messages name from now on: "metadata 'general.name'".
  void set_part(std::string part) { part_ = std::move(part); }

  template <class... Pieces>
  [[noreturn]] void refuse(const Pieces&... pieces) const {
    fail(file_, part_, ": ", pieces...);
  }

  template <class T>
  T number(std::string_view what) {
    std::array<std::byte, sizeof(T)> bytes{};
    if (sizeof(T) > left()) refuse("expected ", what, ", found ", left(), " bytes before ", end_name());
    copy(bytes);
    return std::bit_cast<T>(bytes);
  }

  /// A number of things ("elements") that take at least so many bytes each. Throws FileError where that is more than is
  /// left.
  std::size_t count(std::string_view things, std::uint64_t bytes_each) {
    const auto found = number<std::uint64_t>("a number");
    expect_room(found, things, bytes_each);
    return found;
  }
  void expect_room(std::uint64_t count, std::string_view things, std::uint64_t bytes_each) const {
    if (count > left() / bytes_each)
      refuse("expected ", count, " ", things, ", found ", left(), " bytes before ", end_name());
  }

  std::string string(std::string_view what) {
    const auto size = number<std::uint64_t>("a length");
    if (size > left()) refuse("expected ", size, " bytes of ", what, ", found ", left(), " bytes before ", end_name());
    std::string out(size, '\0');
    copy(std::as_writable_bytes(std::span(out)));
    // Most strings are ASCII, and a tokenizer has hundreds of thousands.
    if (std::any_of(out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }))
      expect_utf8(file_, text(part_, ": ", what, ": "), out);
    return out;
  }

  GgufType type() {
    const auto found = number<std::uint32_t>("a type");
    if (found >= gguf_types.size()) refuse("expected a type below ", gguf_types.size(), ", found ", found);
    return static_cast<GgufType>(found);
  }

  GgufValue value() {
    switch (type()) {
      case GgufType::uint8: return made<std::uint8_t>(number<std::uint8_t>(a_number));
      case GgufType::int8: return made<std::int8_t>(number<std::int8_t>(a_number));
      case GgufType::uint16: return made<std::uint16_t>(number<std::uint16_t>(a_number));
      case GgufType::int16: return made<std::int16_t>(number<std::int16_t>(a_number));
      case GgufType::uint32: return made<std::uint32_t>(number<std::uint32_t>(a_number));
      case GgufType::int32: return made<std::int32_t>(number<std::int32_t>(a_number));
      case GgufType::float32: return made<float>(number<float>(a_number));
      case GgufType::boolean: return made<bool>(boolean());
      case GgufType::string: return made<std::string>(string("a string"));
      case GgufType::array: return made<GgufArray>(array(1));
      case GgufType::uint64: return made<std::uint64_t>(number<std::uint64_t>(a_number));
      case GgufType::int64: return made<std::int64_t>(number<std::int64_t>(a_number));
      case GgufType::float64: break;
    }
    return made<double>(number<double>(a_number));
  }

 private:
  static constexpr std::size_t buffer_bytes = 65536;

  static constexpr std::string_view a_number = "a number";

  bool boolean() {
    const auto found = number<std::uint8_t>("a bool");
    if (found > 1) refuse("expected a bool, 0 or 1, found ", found);
    return found == 1;
  }

  GgufArray array(std::size_t depth) {
    if (depth > GgufLimits::max_nesting)
      refuse("expected at most ", GgufLimits::max_nesting, " arrays within each other, found more");
    switch (type()) {
      case GgufType::uint8: return numbers<std::uint8_t>();
      case GgufType::int8: return numbers<std::int8_t>();
      case GgufType::uint16: return numbers<std::uint16_t>();
      case GgufType::int16: return numbers<std::int16_t>();
      case GgufType::uint32: return numbers<std::uint32_t>();
      case GgufType::int32: return numbers<std::int32_t>();
      case GgufType::float32: return numbers<float>();
      case GgufType::boolean: return list<bool>(1, [&] { return boolean(); });
      case GgufType::string: return list<std::string>(8, [&] { return string("a string"); });  // its length
      case GgufType::array: return list<GgufArray>(12, [&] { return array(depth + 1); });      // its type and length
      case GgufType::uint64: return numbers<std::uint64_t>();
      case GgufType::int64: return numbers<std::int64_t>();
      case GgufType::float64: break;
    }
    return numbers<double>();
  }

  // By type: the variants' conversions would try every other one as well, a second of compile time.
  template <class T>
  static GgufValue made(T value) {
    return GgufValue(std::in_place_type<T>, std::move(value));
  }

  template <class T>
  GgufArray numbers() {
    std::vector<T> out(count("elements", sizeof(T)));
    copy(std::as_writable_bytes(std::span(out)));
    return GgufArray(std::in_place_type<std::vector<T>>, std::move(out));
  }
  /// Elements of at least so many bytes each.
  template <class T, class Read>
  GgufArray list(std::uint64_t least, const Read& read) {
    std::vector<T> out;
    for (std::size_t rest = count("elements", least); rest > 0; --rest) out.push_back(read());
    return GgufArray(std::in_place_type<std::vector<T>>, std::move(out));
  }

  std::uint64_t left() const { return end_ - position(); }
  std::string end_name() const {
    return size_ > end_ ? text("the end of a header of at most ", GgufLimits::max_header_bytes, " bytes")
                        : text("the end of the file", cut_off);
  }

  /// The caller has seen that they are there.
  void copy(std::span<std::byte> into) {
    while (!into.empty()) {
      if (at_ == filled_) fill();
      const std::size_t part = std::min(into.size(), filled_ - at_);
      std::memcpy(into.data(), buffer_.data() + at_, part);
      at_ += part;
      into = into.subspan(part);
    }
  }
  void fill() {
    buffer_begin_ += filled_;
    at_ = 0;
    filled_ = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_bytes, end_ - buffer_begin_));
    buffer_.resize(filled_);
    read_(buffer_begin_, buffer_);
  }

  const std::filesystem::path& file_;
  std::uint64_t size_, end_;
  GgufRead read_;
  std::string part_ = "header";
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_begin_ = 0;
  std::size_t at_ = 0, filled_ = 0;
};

/// Throws FileError unless the file begins as a GGUF file of a version that is read does, and gives the version.
inline std::uint32_t read_gguf_version(const std::filesystem::path& file, std::uint64_t size,
                                       GgufHeaderReader& reader) {
  if (size < 24) fail(file, "expected a GGUF file, found ", size, " bytes: too short for its header");
  const auto magic = reader.number<std::array<char, 4>>("the magic");
  if (std::string_view(magic.data(), magic.size()) != "GGUF")
    fail(file, "expected a GGUF file, which begins with 'GGUF', found ",
         in_quotes(std::string_view(magic.data(), magic.size())));
  const auto version = reader.number<std::uint32_t>("a version");
  if ((version & 0xffffu) == 0 && version != 0)
    fail(file, "header: expected a little-endian file, found a big-endian one: turn it around with llama.cpp's gguf_convert_endian.py");
  if (version != 2 && version != 3)
    fail(file, "header: expected version 2 or 3, found ", version,
         version == 1 ? ": convert the original model again, with today's llama.cpp" : ": a later version, or no GGUF file");
  return version;
}

inline GgufMetadata read_gguf_metadata(GgufHeaderReader& reader, std::uint64_t count) {
  GgufMetadata out;
  for (std::uint64_t i = 0; i < count; ++i) {
    reader.set_part(text("metadata value ", i));
    std::string key = reader.string("a key");
    if (key.empty() || key.size() > GgufLimits::max_key_bytes)
      reader.refuse("expected a key of 1 to ", GgufLimits::max_key_bytes, " bytes, found ", key.size());
    reader.set_part(text("metadata ", in_quotes(key)));
    GgufValue value = reader.value();
    out.emplace_back(std::move(key), std::move(value));
  }
  return out;
}

/// The offset is where the tensor begins; its end is not known to be right yet.
inline GgufTensor read_gguf_tensor(GgufHeaderReader& reader, std::uint64_t number) {
  reader.set_part(text("tensor ", number));
  GgufTensor out;
  out.name = reader.string("a name");
  if (out.name.empty() || out.name.size() > GgufLimits::max_name_bytes)
    reader.refuse("expected a name of 1 to ", GgufLimits::max_name_bytes, " bytes, found ", out.name.size());
  reader.set_part(text("tensor ", in_quotes(out.name)));
  const auto dimensions = reader.number<std::uint32_t>("a number of dimensions");
  if (dimensions > GgufLimits::max_dimensions)
    reader.refuse("expected at most ", GgufLimits::max_dimensions, " dimensions, found ", dimensions);
  for (std::uint32_t i = 0; i < dimensions; ++i) out.shape.push_back(reader.number<std::uint64_t>("a dimension"));
  std::reverse(out.shape.begin(), out.shape.end());
  const auto type = reader.number<std::uint32_t>("a type");
  const std::optional<GgmlType> known = ggml_type_numbered(type);
  if (!known) reader.refuse("expected the number of one of ggml's types, found ", type);
  out.type = *known;
  out.begin = reader.number<std::uint64_t>("an offset");
  const std::optional<std::uint64_t> bytes = tensor_bytes(out.type, out.shape);
  if (!bytes)
    reader.refuse("expected a shape with rows of whole blocks of ", block_elements(out.type),
                  " elements, and bytes that 63 bits can count, found ", name(out.type), " ", shape_list(out.shape));
  constexpr std::uint64_t limit = std::uint64_t{1} << 63;
  if (out.begin >= limit || *bytes >= limit - out.begin)
    reader.refuse("expected its data to end at an offset that 63 bits can hold, found ", *bytes, " bytes from ",
                  out.begin, " on");
  out.end = out.begin + *bytes;
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
