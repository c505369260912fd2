// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/sorted.hpp"
#include "lora/io/file/file_kind.hpp"
#include "lora/io/gguf/header.hpp"
#include "lora/io/gguf/header_reader.hpp"

#include <bit>

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC GgufHeader GgufHeader::parse(const std::filesystem::path& file, std::uint64_t file_size, Read read) {
  detail::GgufHeaderReader reader(file, file_size, read);
  GgufHeader header;
  header.version_ = detail::read_gguf_version(file, file_size, reader);
  // The length of a name, dimensions, type and offset; the length of a key, a type and a byte.
  constexpr std::uint64_t least_tensor = 24, least_value = 13;
  const std::uint64_t tensors = reader.count("tensors", least_tensor);
  const std::uint64_t values = reader.count("metadata values", least_value);
  header.metadata_ = detail::read_gguf_metadata(reader, values);
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : header.metadata_) keys.push_back(key);
  detail::expect_unique(file, "metadata: ", std::move(keys));

  if (const GgufValue* const value = header.find_value(alignment_key)) {
    const std::uint32_t* const alignment = std::get_if<std::uint32_t>(value);
    if (alignment == nullptr || *alignment < 8 || !std::has_single_bit(*alignment))
      detail::fail(file, "metadata '", alignment_key, "': expected a power of two from 8 on, as uint32, found ",
                   alignment == nullptr ? std::string(name(value->type())) : detail::text(*alignment));
    header.alignment_ = *alignment;
  }
  reader.set_part("header");
  reader.expect_room(tensors, "tensors", least_tensor);
  for (std::uint64_t i = 0; i < tensors; ++i) header.tensors_.push_back(detail::read_gguf_tensor(reader, i));
  // The padding after the last of them is left out where there is no data.
  header.data_begin_ =
      std::min(detail::aligned(reader.position(), header.alignment_), header.tensors_.empty() ? file_size : UINT64_MAX);
  if (header.data_begin_ > file_size)
    detail::fail(file, "expected data from byte ", header.data_begin_, " on, found a file of ", file_size, " bytes", detail::cut_off);
  header.check(file, file_size - header.data_begin_);
  return header;
}

LORA_FUNC const GgufTensor* GgufHeader::find(std::string_view tensor) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), tensor,
                                   [&](std::uint32_t i, std::string_view key) { return tensors_[i].name < key; });
  return at != by_name_.end() && tensors_[*at].name == tensor ? &tensors_[*at] : nullptr;
}

LORA_FUNC const GgufValue* GgufHeader::find_value(std::string_view key) const {
  const auto at = std::find_if(metadata_.begin(), metadata_.end(), [&](const auto& item) { return item.first == key; });
  return at == metadata_.end() ? nullptr : &at->second;
}

LORA_FUNC void GgufHeader::check(const std::filesystem::path& file, std::uint64_t data_size) {
  // Two tensors may begin at the same byte when one is empty: it goes first.
  lora::detail::sort_stably(tensors_, [](const GgufTensor& a, const GgufTensor& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  by_name_ = lora::detail::sorted_indices(
      tensors_.size(), [&](std::uint32_t a, std::uint32_t b) { return tensors_[a].name < tensors_[b].name; });
  for (std::size_t i = 1; i < by_name_.size(); ++i)
    if (tensors_[by_name_[i - 1]].name == tensors_[by_name_[i]].name)
      detail::fail(file, "header: expected every tensor once, found ", detail::in_quotes(tensors_[by_name_[i]].name),
                   " twice");

  std::uint64_t end = 0;
  for (const GgufTensor& tensor : tensors_) {
    const auto complain = [&](const auto&... pieces) {
      detail::fail(file, "tensor ", detail::in_quotes(tensor.name), ": ", pieces...);
    };
    if (tensor.begin % alignment_ != 0)
      complain("expected an offset that is a multiple of the alignment, ", alignment_, ", found ", tensor.begin);
    if (tensor.end > data_size)
      complain("expected its data to end within the ", data_size, " bytes of data, found an end at ", tensor.end,
               detail::cut_off);
    if (const std::uint64_t next = detail::aligned(end, alignment_); tensor.begin != next)
      complain("expected its data to begin at byte ", next, ", after the tensor before it, found ", tensor.begin,
               tensor.begin > next ? ": the bytes between belong to no tensor" : ": the two share bytes");
    end = tensor.end;
  }
}

namespace detail {

inline void append_value(std::string& out, std::string_view string) {
  const auto length = std::bit_cast<std::array<char, 8>>(std::uint64_t{string.size()});
  out.append(length.data(), length.size()).append(string);
}
template <class Number>
  requires std::is_arithmetic_v<Number>
void append_value(std::string& out, Number number) {
  const auto bytes = std::bit_cast<std::array<char, sizeof(Number)>>(number);
  out.append(bytes.data(), bytes.size());
}
inline void append_value(std::string& out, const GgufArray& array) {
  append_value(out, static_cast<std::uint32_t>(array.type()));
  append_value(out, std::uint64_t{array.size()});
  std::visit(
      [&]<class T>(const std::vector<T>& list) {
        for (std::size_t i = 0; i < list.size(); ++i)
          if constexpr (std::is_same_v<T, bool>)
            append_value(out, static_cast<bool>(list[i]));
          else
            append_value(out, list[i]);
      },
      static_cast<const GgufArray::variant&>(array));
}

LORA_FUNC GgufHeaderBytes gguf_header_bytes(const std::filesystem::path& file, std::span<const GgufTensor> tensors,
                                            const GgufMetadata& metadata) {
  std::string out = "GGUF";
  append_value(out, std::uint32_t{3});
  append_value(out, std::uint64_t{tensors.size()});
  append_value(out, std::uint64_t{metadata.size()});
  std::uint64_t alignment = 32, end = 0;
  for (const auto& [key, value] : metadata) {
    append_value(out, key);
    append_value(out, static_cast<std::uint32_t>(value.type()));
    std::visit([&](const auto& found) { append_value(out, found); }, static_cast<const GgufValue::variant&>(value));
    // What is no alignment is refused when the header is read.
    if (const auto* found = std::get_if<std::uint32_t>(&value); key == GgufHeader::alignment_key && found != nullptr)
      alignment = std::max(*found, 1u);
  }
  for (const GgufTensor& tensor : tensors) {
    const std::optional<std::uint64_t> bytes = tensor_bytes(tensor.type, tensor.shape);
    if (!bytes || *bytes > (std::uint64_t{1} << 62) || end > (std::uint64_t{1} << 61))
      fail(file, "tensor ", in_quotes(tensor.name), ": expected rows of whole blocks of ", block_elements(tensor.type),
           " elements and less than 2^62 bytes, found ", name(tensor.type), " ", shape_list(tensor.shape));
    append_value(out, tensor.name);
    append_value(out, static_cast<std::uint32_t>(tensor.shape.size()));
    for (std::size_t i = tensor.shape.size(); i-- > 0;) append_value(out, tensor.shape[i]);
    append_value(out, static_cast<std::uint32_t>(tensor.type));
    append_value(out, end);
    end = aligned(end + *bytes, alignment);
  }
  out.resize(aligned(out.size(), alignment), '\0');
  return {std::move(out), end};
}

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END
