// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The whole tensors in an adapter's file: copies of the base's are passed over, others refused. For bodies (-inl.hpp).

#include "lora/core/function_ref.hpp"
#include "lora/io/model/bound_module.hpp"
#include "lora/io/model/tied_head.hpp"
#include "lora/io/safetensors/convert.hpp"
#include "lora/io/safetensors/visit_type.hpp"

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
  return visit_type(*to, [&]<class T>(std::type_identity<T>) {
    std::vector<T> wanted(count), found(count);
    convert_elements(*from, base.data(), *to, wanted.data(), count);
    std::memcpy(found.data(), copy.data(), copy.size());
    for (std::size_t i = 0; i < count; ++i)
      if (wanted[i] < found[i] || wanted[i] > found[i] || lora::detail::is_nan(wanted[i]) != lora::detail::is_nan(found[i]))
        return false;
    return true;
  });
}

/// Whether a tensor of a GGUF file has numbers that no copy can be compared with.
inline bool is_stored_in_blocks(const Model& model, const ModelTensor& tensor) {
  return model.shard_of(tensor).is_quantized(*tensor.info);
}

/// Whether the whole tensor of the adapter's file is that of the base. A GGUF file may have rounded it, and of one that
/// it has quantised only the shape is compared.
inline bool is_copy(const Safetensors& file, const TensorInfo& copy, const Model& model, const ModelTensor& tensor,
                    ReadBase read) {
  const TensorInfo& base = *tensor.info;
  const Gguf* const gguf = model.shard_of(tensor).gguf();
  if (is_stored_in_blocks(model, tensor)) return copy.shape == gguf->tensor(base.name).shape;
  if (copy.shape != base.shape) return false;
  if (copy.dtype != base.dtype && (!scalar_type(copy.dtype) || !scalar_type(base.dtype))) return false;
  const bool is_same_type = copy.dtype == base.dtype;
  const std::uint64_t copy_size = is_same_type ? 1 : bits(copy.dtype) / 8, base_size = is_same_type ? 1 : bits(base.dtype) / 8;
  const std::uint64_t elements = copy.bytes() / copy_size, step = std::uint64_t{1} << 18;
  std::vector<std::byte> ours, theirs;
  for (std::uint64_t at = 0; at < elements; at += step) {
    const std::uint64_t count = std::min(step, elements - at);
    ours.resize(count * base_size);
    theirs.resize(count * copy_size);
    read(tensor, at * base_size, ours);
    file.read(copy, at * copy_size, theirs);
    if (!are_copies(copy.dtype, theirs, base.dtype, ours, count) &&
        (gguf == nullptr || !are_copies(base.dtype, ours, copy.dtype, theirs, count)))
      return false;
  }
  return true;
}

/// Whether two tensors of a file, which replace one of the base, are the same.
inline bool are_equal(const Safetensors& file, const BaseCopy& a, const BaseCopy& b) {
  const TensorInfo &one = file.tensor(a.name), &other = file.tensor(b.name);
  if (one.dtype != other.dtype || one.shape != other.shape || a.rows != b.rows) return false;
  std::vector<std::byte> bytes(one.bytes()), others(other.bytes());
  file.read(one, 0, bytes);
  file.read(other, 0, others);
  return bytes == others;
}

/// Whether a trained tensor, or its rows, fit the base's: the same shape, and types that can be converted.
inline bool can_replace(const TensorInfo& info, const BaseCopy& copy, const TensorInfo& base) {
  if (!copy.is_trained || (info.dtype != base.dtype && (!scalar_type(info.dtype) || !scalar_type(base.dtype)))) return false;
  if (copy.rows.empty()) return info.shape == base.shape;
  return base.shape.size() == 2 && scalar_type(base.dtype) && info.shape[1] == base.shape[1] &&
         std::all_of(copy.rows.begin(), copy.rows.end(), [&](std::uint64_t row) { return row < base.shape[0]; });
}

/// What an adapter's whole tensors, and rows of tensors, replace: those that were trained, as its configuration says,
/// and that are not what the base has. Throws FileError, naming the tensor and both shapes, for others that are not,
/// and for those that have no place in the base. `find` gives the base's tensor for a name in the adapter's words, or
/// null; `read` its bytes. `warnings` gets a sentence about those that could not be compared.
template <class Find>
std::vector<Replacement> find_replacements(const Model& base, const Adapter& adapter, const Find& find, ReadBase read,
                                           std::vector<std::string>& warnings) {
  std::vector<Replacement> out;
  std::vector<const ModelTensor*> embeddings;
  for (const ModelTensor& tensor : base.tensors()) {
    const std::string_view name = tensor.info->name;
    if (is_embedding(name.substr(0, name.rfind('.')))) embeddings.push_back(&tensor);
  }
  for (const BaseCopy& copy : adapter.base_copies) {
    const TensorInfo& info = adapter.file->tensor(copy.name);
    const auto refuse = [&](const auto&... found) {
      fail(adapter.file->path(), "tensor ", in_quotes(info.name), ": expected a copy of the base's ", in_quotes(copy.tensor), ", found ",
           name(info.dtype), " ", shape_list(info.shape), found...,
           ": the adapter was made for another base");
    };
    if (const ModelTensor* const tensor = find(copy.tensor)) {
      if (can_replace(info, copy, *tensor->info)) {
        if (!copy.rows.empty() || !is_copy(*adapter.file, info, base, *tensor, read)) out.push_back({tensor, &copy});
        continue;
      }
      if (!is_copy(*adapter.file, info, base, *tensor, read))
        refuse(tensor->info->shape == info.shape ? " with other numbers than the base's " : " where the base has ",
               name(tensor->info->dtype), " ", shape_list(tensor->info->shape));
      if (is_stored_in_blocks(base, *tensor))
        warnings.push_back(
            text("the adapter ", printable(adapter.name), ": passed over ", in_quotes(info.name),
                 " as a copy of the base's ", in_quotes(tensor->info->name),
                 ": its shape is the same, its numbers could not be compared, since the base's are quantised"));
      continue;
    }
    // Of tied layers a model's file has one, PEFT writes both.
    const std::string_view module = std::string_view(copy.tensor).substr(0, copy.tensor.rfind('.'));
    const bool is_tied = (is_head(module) || module == "output") &&  // GGUF's
                         std::any_of(embeddings.begin(), embeddings.end(), [&](const ModelTensor* tensor) {
                           return is_copy(*adapter.file, info, base, *tensor, read);
                         });
    if (!is_tied && copy.is_trained)
      refuse(" where the base has no such tensor: one that was trained (modules_to_save) can only take the place of the base's; or");
    if (!is_tied) refuse(" where the base has no such tensor");
  }
  if (adapter.file != nullptr) adapter.file->file().expect_unchanged();
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
