// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What files with tensors check alike, whatever their tensors are. For bodies (-inl.hpp).

#include "lora/io/file/input_file.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The tensor that find() gave for a name. Throws FileError when that is null.
template <class Tensor>
const Tensor& expect_found(const std::filesystem::path& file, const Tensor* found, std::string_view name) {
  if (found == nullptr) fail(file, "expected a tensor ", in_quotes(name), ", found none of that name");
  return *found;
}

/// Copies bytes of a tensor, from byte `offset` of it on; its first one is byte `begin` of the file. Throws FileError.
template <class Tensor>
void read_bytes(const InputFile& file, const Tensor& tensor, std::uint64_t begin, std::uint64_t offset,
                std::span<std::byte> into) {
  if (offset > tensor.bytes() || into.size() > tensor.bytes() - offset)
    fail(file.path(), "tensor ", in_quotes(tensor.name), ": expected at most ", tensor.bytes(),
         " bytes to be read, found ", into.size(), " from byte ", offset, " on");
  file.read(begin + offset, into);
}

/// Throws FileError unless the tensor has one dimension, or two.
template <class Tensor>
void expect_dimension_count(const std::filesystem::path& file, const Tensor& tensor, std::size_t count) {
  if (tensor.shape.size() != count)
    fail(file, "tensor ", in_quotes(tensor.name), ": expected ", count == 1 ? "one dimension" : "two dimensions",
         ", found the shape ", shape_list(tensor.shape));
}

}  // namespace io::detail
LORA_NAMESPACE_END
