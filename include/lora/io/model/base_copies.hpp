// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Whole tensors in adapters' files, compared with the base's and with each other. For bodies (-inl.hpp).

#include "lora/core/function_ref.hpp"
#include "lora/io/model/bound_module.hpp"
#include "lora/io/safetensors/convert.hpp"

#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Copies bytes of a base's tensor, from an offset on, as they were before any merge.
using ReadBase = FunctionRef<void(const ModelTensor&, std::uint64_t, std::span<std::byte>)>;

/// Whether `count` elements of a copy are those of the base, which are converted to the copy's type first.
inline bool are_copies(DType copy_type, std::span<const std::byte> copy, DType base_type, std::span<const std::byte> base,
                       std::size_t count) {
  if (copy_type == base_type) return std::memcmp(copy.data(), base.data(), copy.size()) == 0;
  const std::optional<ScalarType> from = scalar_type(base_type), to = scalar_type(copy_type);
  if (!from || !to) return false;
  std::vector<std::byte> rounded(copy.size());
  convert_elements(*from, base.data(), *to, rounded.data(), count);
  std::vector<double> wanted(count), found(count);  // of any type, exactly
  convert_elements(*to, rounded.data(), ScalarType::float64, wanted.data(), count);
  convert_elements(*to, copy.data(), ScalarType::float64, found.data(), count);
  for (std::size_t i = 0; i < count; ++i)
    if (wanted[i] < found[i] || wanted[i] > found[i] || lora::detail::is_nan(wanted[i]) != lora::detail::is_nan(found[i]))
      return false;
  return true;
}

/// Whether a tensor of a GGUF file has numbers that no copy can be compared with.
inline bool is_stored_in_blocks(const Model& model, const ModelTensor& tensor) {
  return model.shard_of(tensor).is_quantized(*tensor.info);
}

/// Whether the first elements of a whole tensor of the adapter's file, as many as the base's has, are those of the base. A GGUF file
/// may have rounded them.
inline bool begins_as(const Safetensors& file, const TensorInfo& copy, const Model& model, const ModelTensor& tensor,
                      ReadBase read) {
  const TensorInfo& base = *tensor.info;
  const bool may_be_rounded = model.shard_of(tensor).gguf() != nullptr;
  if (copy.dtype != base.dtype && (!scalar_type(copy.dtype) || !scalar_type(base.dtype))) return false;
  const bool is_same_type = copy.dtype == base.dtype;
  const std::uint64_t copy_size = is_same_type ? 1 : bits(copy.dtype) / 8, base_size = is_same_type ? 1 : bits(base.dtype) / 8;
  const std::uint64_t elements = base.bytes() / base_size, step = std::uint64_t{1} << 18;
  if (copy.bytes() / copy_size < elements) return false;
  std::vector<std::byte> ours, theirs;
  for (std::uint64_t at = 0; at < elements; at += step) {
    const std::uint64_t count = std::min(step, elements - at);
    ours.resize(count * base_size);
    theirs.resize(count * copy_size);
    read(tensor, at * base_size, ours);
    file.read(copy, at * copy_size, theirs);
    if (!are_copies(copy.dtype, theirs, base.dtype, ours, count) &&
        (!may_be_rounded || !are_copies(base.dtype, ours, copy.dtype, theirs, count)))
      return false;
  }
  return true;
}

/// Whether the whole tensor of the adapter's file is that of the base; of one that is quantised only the shape is compared.
inline bool is_copy(const Safetensors& file, const TensorInfo& copy, const Model& model, const ModelTensor& tensor,
                    ReadBase read) {
  if (is_stored_in_blocks(model, tensor)) return copy.shape == model.shard_of(tensor).gguf()->tensor(tensor.info->name).shape;
  return copy.shape == tensor.info->shape && begins_as(file, copy, model, tensor, read);
}

/// Reads a tensor's bytes from an offset on.
using ReadBytes = FunctionRef<void(std::uint64_t, std::span<std::byte>)>;

/// Whether two tensors of so many bytes are the same. Takes 2 MiB at most.
inline bool have_same_bytes(std::uint64_t size, ReadBytes read, ReadBytes read_other) {
  constexpr std::uint64_t step = std::uint64_t{1} << 20;
  std::vector<std::byte> bytes, others;
  for (std::uint64_t at = 0; at < size; at += step) {
    bytes.resize(static_cast<std::size_t>(std::min(step, size - at)));
    others.resize(bytes.size());
    read(at, bytes);
    read_other(at, others);
    if (bytes != others) return false;
  }
  return true;
}

/// Whether two tensors of adapters' files, which stand for one of the base, or for tied ones, are the same.
inline bool are_equal(const Adapter& adapter_a, const BaseCopy& a, const Adapter& adapter_b, const BaseCopy& b) {
  const TensorInfo &one = adapter_a.file->tensor(a.name), &other = adapter_b.file->tensor(b.name);
  return one.dtype == other.dtype && one.shape == other.shape && a.rows == b.rows &&
         have_same_bytes(
             one.bytes(), [&](std::uint64_t at, std::span<std::byte> into) { adapter_a.file->read(one, at, into); },
             [&](std::uint64_t at, std::span<std::byte> into) { adapter_b.file->read(other, at, into); });
}

}  // namespace io::detail
LORA_NAMESPACE_END
