// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the JSON of a safetensors header is taken apart. For bodies (-inl.hpp).

#include "lora/io/safetensors/tensor_info.hpp"
#include "lora/io/text/json_events.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

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
      if (tensors.back().shape.size() == max_dimensions)
        fail(file_, where(), "expected a shape of at most ", max_dimensions, " dimensions, found more");
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
      unexpected(text("the string ", in_quotes(value)));
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
           (fields_ & 1) == 0   ? "dtype"
           : (fields_ & 2) == 0 ? "shape"
                                : "data_offsets");
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
    if (state_ == State::offsets && offsets_ != 2) fail(file_, where(), "expected two data_offsets, found ", offsets_);
    state_ = State::tensor;
  }

 private:
  // As many as PyTorch and numpy have.
  static constexpr std::size_t max_dimensions = 64;

  // What comes next: the whole, a key of the whole, the value of __metadata__ or of a tensor, a pair of the metadata, a
  // key of a tensor, one of its three values, a number of the two lists.
  enum class State {
    start,
    top,
    metadata_value,
    metadata,
    tensor_value,
    tensor,
    dtype,
    shape_value,
    shape,
    offsets_value,
    offsets
  };

  std::string where() const {
    if (state_ == State::start || state_ == State::top) return "header: ";
    if (state_ == State::metadata_value) return "header: __metadata__: ";
    if (state_ == State::metadata) return text("header: __metadata__: key ", in_quotes(metadata.back().first), ": ");
    return text("tensor ", in_quotes(tensors.back().name), ": ");
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
}  // namespace io
LORA_NAMESPACE_END
