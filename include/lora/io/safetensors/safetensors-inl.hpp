// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/file_kind.hpp"
#include "lora/io/file/tensor_bytes.hpp"
#include "lora/io/safetensors/convert.hpp"
#include "lora/io/safetensors/safetensors.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Throws FileError for what cannot be a safetensors file and says by its first bytes what it is.
inline void expect_no_other_kind(const InputFile& file) {
  const std::string first = first_bytes(file);
  const std::uint64_t length = first.size() < 9 ? 0 : SafetensorsHeader::length(first);
  if (first.size() > 8 && length <= SafetensorsHeader::max_header_bytes && length <= file.size() - 8 && first[8] == '{')
    return;
  if (const std::optional<std::string> kind = kind_of(first, file.size()))
    fail(file.path(), "header: expected a safetensors file, found ", *kind);
  if (first.size() >= 8 && is_text(std::string_view(first).substr(0, 64)))
    fail(
        file.path(),
        "header: expected a safetensors file, found text, as a download that was refused leaves: fetch the file again");
  if (first.size() > 8 && length > SafetensorsHeader::max_header_bytes)
    fail(file.path(), "header: expected a safetensors file, whose first 8 bytes are the length of its header (at most ",
         SafetensorsHeader::max_header_bytes, "), found another kind of file, or a damaged one (", length, ")");
}

}  // namespace detail

LORA_FUNC Safetensors Safetensors::open(const std::filesystem::path& path) {
  InputFile file(path);
  detail::expect_no_other_kind(file);
  std::string raw(file.size() < 8 ? 0 : 8, '\0');
  file.read(0, std::as_writable_bytes(std::span(raw)));
  SafetensorsHeader::expect_length(path, raw, file.size());
  raw.resize(8 + SafetensorsHeader::length(raw));
  file.read(0, std::as_writable_bytes(std::span(raw)));
  SafetensorsHeader header = SafetensorsHeader::parse(path, std::move(raw), file.size());
  return {std::move(file), std::move(header)};
}

LORA_FUNC const TensorInfo& Safetensors::tensor(std::string_view name) const {
  return detail::expect_found(path(), find(name), name);
}

LORA_FUNC void Safetensors::read(const TensorInfo& tensor, std::uint64_t offset, std::span<std::byte> into) const {
  detail::read_bytes(file_, tensor, file_offset(tensor), offset, into);
}

LORA_FUNC void Safetensors::expect_dimensions(const TensorInfo& tensor, std::size_t count) const {
  detail::expect_dimension_count(path(), tensor, count);
  if (!scalar_type(tensor.dtype))
    detail::fail(path(), "tensor ", detail::in_quotes(tensor.name), ": expected F16, BF16, F32 or F64, found ",
                 name(tensor.dtype));
}

LORA_FUNC void Safetensors::read_elements(const TensorInfo& tensor, ScalarType type, void* out) const {
  std::byte* const to = static_cast<std::byte*>(out);
  const std::uint64_t count = tensor.bytes() * 8 / bits(tensor.dtype);
  if (tensor.dtype == dtype_of(type)) return read(tensor, 0, {to, tensor.bytes()});
  const std::size_t from_size = bits(tensor.dtype) / 8, to_size = bits(dtype_of(type)) / 8;
  const std::uint64_t step = 65536 / from_size;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(count, step)) * from_size);
  for (std::uint64_t at = 0; at < count; at += step) {
    const auto part = static_cast<std::size_t>(std::min(step, count - at));
    read(tensor, at * from_size, std::span(buffer).first(part * from_size));
    detail::convert_elements(*scalar_type(tensor.dtype), buffer.data(), type, to + at * to_size, part);
  }
}

}  // namespace io
LORA_NAMESPACE_END
