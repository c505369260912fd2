// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The header of a safetensors file: u64 length (little-endian), then a JSON object name -> {dtype, shape, data_offsets}
/// with an optional "__metadata__" of strings, then the data. Read and checked completely before anything is believed.

#include "lora/io/dtype.hpp"
#include "lora/io/json.hpp"

#include <bit>
#include <cstring>
#include <limits>

LORA_NAMESPACE_BEGIN
namespace io {

/// One tensor of a safetensors file.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::uint64_t> shape;  ///< slowest dimension first; empty: a scalar
  std::uint64_t begin = 0, end = 0;  ///< bytes from the beginning of the data

  std::uint64_t bytes() const { return end - begin; }
};

/// String to string, in the order of the file.
using Metadata = std::vector<std::pair<std::string, std::string>>;

namespace detail {

inline constexpr std::uint64_t max_header_bytes = 100'000'000;

/// "[2, 3]"
inline std::string shape_list(std::span<const std::uint64_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size() && i < 8; ++i) out += text(i == 0 ? "" : ", ", shape[i]);
  return out + (shape.size() > 8 ? text(", ... ", shape.size(), " dimensions]") : "]");
}

/// The bytes of a tensor, or nothing when they are not a whole number or come near 2^63.
inline std::optional<std::uint64_t> tensor_bytes(DType dtype, std::span<const std::uint64_t> shape) {
  constexpr std::uint64_t limit = std::uint64_t{1} << 63;
  std::uint64_t count = 1;
  for (const std::uint64_t extent : shape) {
    if (extent >= limit || (extent != 0 && count > (limit - 1) / extent)) return std::nullopt;
    count *= extent;
  }
  const unsigned width = bits(dtype);
  // Eight elements are `width` whole bytes, whatever the width.
  if (count / 8 > (limit - 1) / width - 1 || (count % 8) * width % 8 != 0) return std::nullopt;
  return count / 8 * width + count % 8 * width / 8;
}

/// Collects the tensors and metadata out of the header's JSON; anything the format does not have is a FileError.
class HeaderEvents final : public JsonEvents {
 public:
  explicit HeaderEvents(const std::filesystem::path& file) : file_(file) {}
  std::vector<TensorInfo> tensors;
  Metadata metadata;

  void on_null() override { unexpected("null"); }
  void on_bool(bool) override { unexpected("true or false"); }
  void on_number(double, const std::string& spelling) override { unexpected(printable(spelling)); }
  void on_integer(std::int64_t value) override {
    if (value < 0 || (state_ != State::shape && state_ != State::offsets)) unexpected(std::to_string(value));
    const auto number = static_cast<std::uint64_t>(value);
    if (state_ == State::shape) {
      tensors.back().shape.push_back(number);
    } else {
      if (offsets_ == 2) unexpected("a third offset");
      (offsets_++ == 0 ? tensors.back().begin : tensors.back().end) = number;
    }
  }
  void on_string(std::string& value) override {
    if (state_ == State::metadata) {
      metadata.back().second = std::move(value);
    } else if (state_ == State::dtype) {
      const std::optional<DType> dtype = dtype_named(value);
      if (!dtype) fail(file_, where(), "expected a dtype as F32, BF16 or U8, found ", in_quotes(value));
      tensors.back().dtype = *dtype;
      state_ = State::tensor;
    } else {
      unexpected("the string " + in_quotes(value));
    }
  }
  void on_key(std::string& key) override {
    if (state_ == State::top) {
      if (key == "__metadata__") {
        if (has_metadata_) fail(file_, "header: expected one __metadata__, found two");
        has_metadata_ = true;
        state_ = State::metadata_value;
      } else {
        tensors.emplace_back().name = std::move(key);
        fields_ = 0;
        state_ = State::tensor_value;
      }
    } else if (state_ == State::metadata) {
      metadata.emplace_back(std::move(key), std::string());
    } else {
      const int field = key == "dtype" ? 1 : key == "shape" ? 2 : key == "data_offsets" ? 4 : 0;
      if (field == 0) fail(file_, where(), "expected only dtype, shape and data_offsets, found ", in_quotes(key));
      if ((fields_ & field) != 0) fail(file_, where(), "expected ", key, " once, found it twice");
      fields_ |= field;
      state_ = field == 1 ? State::dtype : field == 2 ? State::shape_value : State::offsets_value;
    }
  }
  void begin_object() override {
    if (state_ == State::start)
      state_ = State::top;
    else if (state_ == State::metadata_value)
      state_ = State::metadata;
    else if (state_ == State::tensor_value)
      state_ = State::tensor;
    else
      unexpected("an object");
  }
  void end_object() override {
    if (state_ == State::tensor && fields_ != 7)
      fail(file_, where(), "expected dtype, shape and data_offsets, found no ",
           (fields_ & 1) == 0 ? "dtype" : (fields_ & 2) == 0 ? "shape" : "data_offsets");
    state_ = State::top;
  }
  void begin_array() override {
    if (state_ == State::shape_value) {
      state_ = State::shape;
    } else if (state_ == State::offsets_value) {
      state_ = State::offsets;
      offsets_ = 0;
    } else {
      unexpected("a list");
    }
  }
  void end_array() override {
    if (state_ == State::offsets && offsets_ != 2)
      fail(file_, where(), "expected two data_offsets, found ", offsets_);
    state_ = State::tensor;
  }

 private:
  // What comes next: the whole, a key of the whole, the value of __metadata__ or of a tensor, a pair of the metadata, a key
  // of a tensor, one of its three values, a number of the two lists.
  enum class State {
    start, top, metadata_value, metadata, tensor_value, tensor, dtype, shape_value, shape, offsets_value, offsets
  };

  std::string where() const {
    if (state_ == State::start || state_ == State::top) return "header: ";
    if (state_ == State::metadata_value) return "header: __metadata__: ";
    if (state_ == State::metadata) return "header: __metadata__: key " + in_quotes(metadata.back().first) + ": ";
    return "tensor " + in_quotes(tensors.back().name) + ": ";
  }
  [[noreturn]] void unexpected(std::string_view found) const {
    const char* expected = "a JSON object";
    if (state_ == State::metadata) expected = "a string";
    if (state_ == State::dtype) expected = "a dtype, a string";
    if (state_ == State::shape_value) expected = "a shape, a list of integers";
    if (state_ == State::offsets_value) expected = "data_offsets, a list of two integers";
    if (state_ == State::shape) expected = "a shape of integers from 0 to 2^63 - 1";
    if (state_ == State::offsets) expected = "two data_offsets from 0 to 2^63 - 1";
    fail(file_, where(), "expected ", expected, ", found ", found);
  }

  const std::filesystem::path& file_;
  State state_ = State::start;
  bool has_metadata_ = false;
  int fields_ = 0, offsets_ = 0;
};

}  // namespace detail

/// A safetensors header that has passed every check.
class SafetensorsHeader {
 public:
  /// Checks `raw` (length prefix and JSON) against a file of `file_size` bytes; `file` names it in messages. The JSON is
  /// strict and repeats no name; shapes and types give exactly the bytes of the offsets (checked arithmetic, zero extents
  /// allowed); in offset order the tensors cover the data from 0 to its end without gap or overlap. Time n log n, memory a
  /// small multiple of the header. Throws FileError.
  static SafetensorsHeader parse(const std::filesystem::path& file, std::string raw, std::uint64_t file_size) {
    expect_length(file, raw, file_size);
    if (raw.size() - 8 != length(raw))
      detail::fail(file, "header: expected ", length(raw), " bytes of JSON, found ", raw.size() - 8);
    const std::string_view json = std::string_view(raw).substr(8);
    if (json.empty() || json.front() != '{') detail::fail(file, "header: expected a JSON object, found something else");
    detail::HeaderEvents events(file);
    detail::parse_json(file, "header: ", json, events);

    SafetensorsHeader header;
    header.tensors_ = std::move(events.tensors);
    header.metadata_ = std::move(events.metadata);
    header.raw_ = std::move(raw);
    header.check(file, file_size - header.raw_.size());
    return header;
  }

  /// The header for new tensors, one after the other in the order given (offsets are set here), padded with spaces so that
  /// the data begins at a multiple of 8. `file` names it in messages. Throws FileError when a name is given twice or is not
  /// UTF-8, or a size overflows.
  static SafetensorsHeader make(const std::filesystem::path& file, std::span<const TensorInfo> tensors,
                                const Metadata& metadata = {}) {
    std::string json = "{", metadata_json;
    std::uint64_t end = 0;
    const auto string = [&](std::string& out, std::string_view value) {
      for (std::size_t at = 0, length = 0; at < value.size(); at += length)
        if ((length = detail::decode_utf8(value, at).length) == 0)
          detail::fail(file, "header: expected UTF-8, found ", detail::in_quotes(value));
      detail::append_json_string(out, value);
    };
    for (const auto& [key, value] : metadata) {
      metadata_json += metadata_json.empty() ? "" : ",";
      string(metadata_json, key);
      metadata_json += ':';
      string(metadata_json, value);
    }
    if (!metadata.empty()) json += detail::text("\"__metadata__\":{", metadata_json, "}");
    for (const TensorInfo& tensor : tensors) {
      const std::optional<std::uint64_t> bytes = detail::tensor_bytes(tensor.dtype, tensor.shape);
      if (tensor.name == "__metadata__") detail::fail(file, "header: a tensor cannot be named __metadata__");
      if (!bytes || *bytes > (std::uint64_t{1} << 62) || end > (std::uint64_t{1} << 62))
        detail::fail(file, "tensor ", detail::in_quotes(tensor.name), ": expected less than 2^62 whole bytes, found ",
                     name(tensor.dtype), " ", detail::shape_list(tensor.shape));
      if (json.size() > 1) json += ',';
      string(json, tensor.name);
      json += detail::text(":{\"dtype\":\"", name(tensor.dtype), "\",\"shape\":[");
      for (std::size_t i = 0; i < tensor.shape.size(); ++i) json += detail::text(i == 0 ? "" : ",", tensor.shape[i]);
      json += detail::text("],\"data_offsets\":[", end, ",", end + *bytes, "]}");
      end += *bytes;
    }
    json += '}';
    json.append((8 - json.size() % 8) % 8, ' ');
    const auto prefix = std::bit_cast<std::array<char, 8>>(static_cast<std::uint64_t>(json.size()));
    json.insert(0, prefix.data(), prefix.size());
    const std::uint64_t file_size = json.size() + end;
    return parse(file, std::move(json), file_size);
  }

  /// Throws FileError unless `raw`, the first bytes of a file, holds a header length that fits the file.
  static void expect_length(const std::filesystem::path& file, std::string_view raw, std::uint64_t file_size) {
    if (raw.size() < 8 || file_size < 8)
      detail::fail(file, "expected a safetensors file, found ", file_size,
                   " bytes: too short for the 8 bytes of the header's length");
    if (length(raw) > detail::max_header_bytes)
      detail::fail(file, "header: expected a length of at most ", detail::max_header_bytes, " bytes, found ", length(raw));
    if (length(raw) > file_size - 8)
      detail::fail(file, "header: expected a length of at most ", file_size - 8, " bytes, the rest of the file, found ",
                   length(raw));
  }
  /// The header's length as its first 8 bytes say.
  static std::uint64_t length(std::string_view raw) {
    std::uint64_t value = 0;
    std::memcpy(&value, raw.data(), 8);
    return value;
  }

  /// In the order of their data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

  /// Length prefix and JSON, byte for byte.
  std::span<const std::byte> raw() const { return std::as_bytes(std::span(raw_)); }

  /// The size of all data.
  std::uint64_t data_bytes() const { return tensors_.empty() ? 0 : tensors_.back().end; }

  /// The tensor of exactly that name, or null.
  const TensorInfo* find(std::string_view tensor) const {
    const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), tensor,
                                     [&](std::uint32_t i, std::string_view key) { return tensors_[i].name < key; });
    return at != by_name_.end() && tensors_[*at].name == tensor ? &tensors_[*at] : nullptr;
  }

 private:
  void check(const std::filesystem::path& file, std::uint64_t data_size) {
    // Two tensors may begin at the same byte when one is empty: it goes first.
    std::stable_sort(tensors_.begin(), tensors_.end(), [](const TensorInfo& a, const TensorInfo& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    by_name_.resize(tensors_.size());
    std::iota(by_name_.begin(), by_name_.end(), std::uint32_t{0});
    std::sort(by_name_.begin(), by_name_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return tensors_[a].name < tensors_[b].name; });
    for (std::size_t i = 1; i < by_name_.size(); ++i)
      if (tensors_[by_name_[i - 1]].name == tensors_[by_name_[i]].name)
        detail::fail(file, "header: expected every tensor once, found ", detail::in_quotes(tensors_[by_name_[i]].name),
                     " twice");
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : metadata_) keys.push_back(key);
    detail::expect_unique(file, "header: __metadata__: ", std::move(keys));

    std::uint64_t end = 0;
    for (const TensorInfo& tensor : tensors_) {
      const auto complain = [&](const auto&... pieces) {
        detail::fail(file, "tensor ", detail::in_quotes(tensor.name), ": ", pieces...);
      };
      if (tensor.end < tensor.begin)
        complain("expected data_offsets in order, found [", tensor.begin, ", ", tensor.end, "]");
      const std::optional<std::uint64_t> bytes = detail::tensor_bytes(tensor.dtype, tensor.shape);
      if (!bytes)
        complain("expected a shape of whole bytes that 63 bits can count, found ", name(tensor.dtype), " ",
                 detail::shape_list(tensor.shape));
      if (*bytes != tensor.bytes())
        complain("expected ", *bytes, " bytes for ", name(tensor.dtype), " ", detail::shape_list(tensor.shape), ", found ",
                 tensor.bytes(), " between the data_offsets [", tensor.begin, ", ", tensor.end, "]");
      if (tensor.begin != end)
        complain("expected its data to begin at byte ", end, ", where the tensor before it ends, found ", tensor.begin,
                 tensor.begin > end ? ": the bytes between belong to no tensor" : ": the two share bytes");
      if (tensor.end > data_size)
        complain("expected its data to end within the ", data_size, " bytes of data, found an end at ", tensor.end);
      end = tensor.end;
    }
    if (end != data_size)
      detail::fail(file, "expected ", end, " bytes of data, found ", data_size, ": the last ", data_size - end,
                   " belong to no tensor");
  }

  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
  std::vector<std::uint32_t> by_name_;
  std::string raw_;
};

}  // namespace io
LORA_NAMESPACE_END
