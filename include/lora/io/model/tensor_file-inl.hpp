// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/tensor_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// A GGUF tensor as safetensors would list it.
inline TensorInfo tensor_info(const GgufTensor& tensor) {
  TensorInfo out{tensor.name, DType::U8, tensor.shape, tensor.begin, tensor.end};
  switch (tensor.type) {
    case GgmlType::I8: out.dtype = DType::I8; break;
    case GgmlType::I16: out.dtype = DType::I16; break;
    case GgmlType::I32: out.dtype = DType::I32; break;
    case GgmlType::I64: out.dtype = DType::I64; break;
    default:
      if (const std::optional<ScalarType> type = scalar_type(tensor.type))
        out.dtype = dtype_of(*type);
      else
        out.shape.back() = out.shape.back() / block_elements(tensor.type) * block_bytes(tensor.type);
  }
  return out;
}

/// A value written out.
inline std::string value_text(const GgufValue& value) {
  return std::visit(
      []<class T>(const T& found) -> std::string {
        if constexpr (std::is_same_v<T, std::string>)
          return found;
        else if constexpr (std::is_same_v<T, GgufArray>)
          return text(found.size(), " x ", name(found.type()));
        else if constexpr (std::is_same_v<T, bool>)
          return found ? "true" : "false";
        else
          return text(found);
      },
      static_cast<const GgufValue::variant&>(value));
}

}  // namespace detail

LORA_FUNC TensorFile TensorFile::open(const std::filesystem::path& path) {
  if (is_gguf_file(path)) return TensorFile(Gguf::open(path));
  return TensorFile(Safetensors::open(path));
}

LORA_FUNC TensorFile::TensorFile(Gguf file) : file_(std::move(file)) {
  const Gguf& found = *gguf();
  for (const GgufTensor& tensor : found.tensors()) infos_.push_back(detail::tensor_info(tensor));
  const std::uint64_t end = infos_.empty() ? 0 : infos_.back().end;
  if (found.file().size() > found.header().data_begin() + detail::aligned(end, found.header().alignment()))
    detail::fail(path(), "expected ", end, " bytes of data, found ", found.file().size() - found.header().data_begin(),
                 ": the last belong to no tensor");
}

LORA_FUNC const InputFile& TensorFile::file() const {
  return gguf() != nullptr ? gguf()->file() : safetensors()->file();
}

LORA_FUNC const std::vector<TensorInfo>& TensorFile::tensors() const {
  return gguf() != nullptr ? infos_ : safetensors()->tensors();
}

LORA_FUNC const TensorInfo* TensorFile::find(std::string_view name) const {
  if (gguf() == nullptr) return safetensors()->find(name);
  const GgufTensor* const found = gguf()->find(name);
  return found == nullptr ? nullptr : &infos_[static_cast<std::size_t>(found - gguf()->tensors().data())];
}

LORA_FUNC std::string_view TensorFile::type_name(const TensorInfo& tensor) const {
  return gguf() != nullptr ? name(gguf()->tensor(tensor.name).type) : name(tensor.dtype);
}

LORA_FUNC bool TensorFile::is_quantized(const TensorInfo& tensor) const {
  return gguf() != nullptr && block_elements(gguf()->tensor(tensor.name).type) > 1;
}

LORA_FUNC Metadata TensorFile::metadata() const {
  if (gguf() == nullptr) return safetensors()->metadata();
  Metadata out;
  for (const auto& [key, value] : gguf()->metadata()) out.emplace_back(key, detail::value_text(value));
  return out;
}

LORA_FUNC std::uint64_t TensorFile::data_begin() const {
  return gguf() != nullptr ? gguf()->header().data_begin() : safetensors()->header().raw().size();
}

LORA_FUNC std::uint64_t TensorFile::data_bytes() const {
  std::uint64_t sum = 0;
  for (const TensorInfo& tensor : tensors()) sum += tensor.bytes();
  return sum;
}

LORA_FUNC void TensorFile::read(const TensorInfo& tensor, std::uint64_t offset, std::span<std::byte> into) const {
  if (gguf() == nullptr) return safetensors()->read(tensor, offset, into);
  gguf()->read(gguf()->tensor(tensor.name), offset, into);
}

LORA_FUNC std::vector<TensorFile::Part> TensorFile::frame() const {
  std::vector<Part> out;
  std::uint64_t end = 0;
  const auto add = [&](std::uint64_t begin) {
    if (begin > end) out.push_back({end, begin});
  };
  for (const TensorInfo& tensor : tensors()) {
    add(file_offset(tensor));
    end = file_offset(tensor) + tensor.bytes();
  }
  add(file().size());
  return out;
}

}  // namespace io
LORA_NAMESPACE_END
