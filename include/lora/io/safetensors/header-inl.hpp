// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/sorted.hpp"
#include "lora/io/file/file_kind.hpp"
#include "lora/io/safetensors/header.hpp"
#include "lora/io/safetensors/header_events.hpp"

#include <bit>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC SafetensorsHeader SafetensorsHeader::parse(const std::filesystem::path& file, std::string raw,
                                                     std::uint64_t file_size) {
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

LORA_FUNC SafetensorsHeader SafetensorsHeader::make(const std::filesystem::path& file,
                                                    std::span<const TensorInfo> tensors, const Metadata& metadata) {
  std::string json = "{", metadata_json;
  std::uint64_t end = 0;
  const auto string = [&](std::string& out, std::string_view value) {
    detail::expect_utf8(file, "header: ", value);
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
  const auto prefix = std::bit_cast<std::array<char, 8>>(std::uint64_t{json.size()});
  json.insert(0, prefix.data(), prefix.size());
  const std::uint64_t file_size = json.size() + end;
  return parse(file, std::move(json), file_size);
}

LORA_FUNC void SafetensorsHeader::expect_length(const std::filesystem::path& file, std::string_view raw,
                                                std::uint64_t file_size) {
  if (raw.size() < 8 || file_size < 8)
    detail::fail(file, "expected a safetensors file, found ", file_size,
                 " bytes: too short for the 8 bytes of the header's length");
  if (length(raw) > max_header_bytes)
    detail::fail(file, "header: expected a length of at most ", max_header_bytes, " bytes, found ", length(raw));
  if (length(raw) > file_size - 8)
    detail::fail(file, "header: expected a length of at most ", file_size - 8, " bytes, the rest of the file, found ",
                 length(raw), detail::cut_off);
}

LORA_FUNC std::uint64_t SafetensorsHeader::length(std::string_view raw) {
  std::uint64_t value = 0;
  std::memcpy(&value, raw.data(), 8);
  return value;
}

LORA_FUNC const TensorInfo* SafetensorsHeader::find(std::string_view tensor) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), tensor,
                                   [&](std::uint32_t i, std::string_view key) { return tensors_[i].name < key; });
  return at != by_name_.end() && tensors_[*at].name == tensor ? &tensors_[*at] : nullptr;
}

LORA_FUNC void SafetensorsHeader::check(const std::filesystem::path& file, std::uint64_t data_size) {
  // Two tensors may begin at the same byte when one is empty: it goes first.
  lora::detail::sort_stably(tensors_, [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  by_name_ = lora::detail::sorted_indices(
      tensors_.size(), [&](std::uint32_t a, std::uint32_t b) { return tensors_[a].name < tensors_[b].name; });
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
      complain("expected ", *bytes, " bytes for ", name(tensor.dtype), " ", detail::shape_list(tensor.shape),
               ", found ", tensor.bytes(), " between the data_offsets [", tensor.begin, ", ", tensor.end, "]");
    if (tensor.begin != end)
      complain("expected its data to begin at byte ", end, ", where the tensor before it ends, found ", tensor.begin,
               tensor.begin > end ? ": the bytes between belong to no tensor" : ": the two share bytes");
    if (tensor.end > data_size)
      complain("expected its data to end within the ", data_size, " bytes of data, found an end at ", tensor.end,
               detail::cut_off);
    end = tensor.end;
  }
  if (end != data_size)
    detail::fail(file, "expected ", end, " bytes of data, found ", data_size, ": the last ", data_size - end,
                 " belong to no tensor");
}

}  // namespace io
LORA_NAMESPACE_END
