// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/tensor_bytes.hpp"
#include "lora/io/gguf/gguf.hpp"
#include "lora/io/safetensors/convert.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Gguf Gguf::open(const std::filesystem::path& path) {
  InputFile file(path);
  const auto read = [&](std::uint64_t offset, std::span<std::byte> into) { file.read(offset, into); };
  GgufHeader header = GgufHeader::parse(path, file.size(), read);
  return {std::move(file), std::move(header)};
}

LORA_FUNC const GgufTensor& Gguf::tensor(std::string_view name) const {
  return detail::expect_found(path(), find(name), name);
}

LORA_FUNC std::optional<std::uint64_t> Gguf::unsigned_value(std::string_view key) const {
  const GgufValue* const found = header_.find_value(key);
  if (found == nullptr) return std::nullopt;
  return std::visit(
      [&]<class T>(const T& value) -> std::uint64_t {
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (std::is_unsigned_v<T> || value >= T{0}) return static_cast<std::uint64_t>(value);
          detail::fail(path(), "metadata ", detail::in_quotes(key), ": expected a number that is not negative, found ",
                       value);
        }
        refuse_type(key, "an integer", *found);
      },
      static_cast<const GgufValue::variant&>(*found));
}

LORA_FUNC void Gguf::read(const GgufTensor& tensor, std::uint64_t offset, std::span<std::byte> into) const {
  detail::read_bytes(file_, tensor, file_offset(tensor), offset, into);
}

LORA_FUNC void Gguf::refuse_type(std::string_view key, std::string_view expected, const GgufValue& found) const {
  detail::fail(path(), "metadata ", detail::in_quotes(key), ": expected ", expected, ", found ", name(found.type()));
}

LORA_FUNC void Gguf::expect_dimensions(const GgufTensor& tensor, std::size_t count) const {
  detail::expect_dimension_count(path(), tensor, count);
  if (!is_readable(tensor.type))
    detail::fail(path(), "tensor ", detail::in_quotes(tensor.name),
                 ": expected numbers, or one of the quantised types that ",
                 "can be read (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q8_K), found ", name(tensor.type),
                 ": take the file that it was quantised from, or one in F16 or BF16");
}

LORA_FUNC void Gguf::read_elements(const GgufTensor& tensor, ScalarType type, void* out) const {
  std::byte* const to = static_cast<std::byte*>(out);
  if (scalar_type(tensor.type) == type) return read(tensor, 0, {to, tensor.bytes()});
  const std::size_t bytes = block_bytes(tensor.type), elements = block_elements(tensor.type);
  const std::size_t to_size = bits(dtype_of(type)) / 8;
  const std::uint64_t blocks = tensor.bytes() / bytes, step = 65536 / elements;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(blocks, step)) * bytes);
  std::vector<float> floats(scalar_type(tensor.type) ? 0 : static_cast<std::size_t>(std::min(blocks, step)) * elements);
  for (std::uint64_t at = 0; at < blocks; at += step) {
    const auto part = static_cast<std::size_t>(std::min(step, blocks - at));
    read(tensor, at * bytes, std::span(buffer).first(part * bytes));
    if (!floats.empty()) detail::dequantize(tensor.type, buffer.data(), part, floats.data());
    detail::convert_elements(scalar_type(tensor.type).value_or(ScalarType::float32),
                             floats.empty() ? static_cast<const void*>(buffer.data()) : floats.data(), type,
                             to + at * elements * to_size, part * elements);
  }
}

LORA_FUNC bool is_gguf_file(const std::filesystem::path& path) {
  if (path.extension() == ".safetensors") return false;
  try {
    const InputFile file(path);
    std::array<char, 4> magic{};
    if (file.size() < magic.size()) return false;
    file.read(0, std::as_writable_bytes(std::span(magic)));
    return std::string_view(magic.data(), magic.size()) == "GGUF";
  } catch (const FileError&) {
    return false;
  }
}

}  // namespace io
LORA_NAMESPACE_END
