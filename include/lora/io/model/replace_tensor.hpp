// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Whole tensors, or rows of them, out of an adapter's file into a model's. For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/model/plan.hpp"
#include "lora/io/model/tasks.hpp"
#include "lora/io/safetensors/convert.hpp"
#include "lora/io/safetensors/finite.hpp"
#include "lora/io/undo/undo_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Elements of an adapter's whole tensor, from byte `begin` on, where these are counted as those of `dtype`: rounded once where the
/// types differ. Returns how many of the numbers, which are finite, are infinite in that type. Beyond `out` it takes 64 KiB at most.
LORA_ON_CALL_DECLARED inline std::uint64_t read_converted(const WholeTensor& tensor, DType dtype, std::uint64_t begin,
                                                          std::span<std::byte> out) {
  const TensorInfo& from = tensor.info();
  if (from.dtype == dtype) {
    tensor.file().read(from, begin, out);
    return 0;
  }
  const std::uint64_t size = bits(dtype) / 8, from_size = bits(from.dtype) / 8, step = 65536 / from_size;
  std::vector<std::byte> piece;
  for (std::uint64_t at = 0, count = out.size() / size; at < count; at += step) {
    const std::uint64_t part = std::min(step, count - at);
    piece.resize(part * from_size);
    tensor.file().read(from, (begin / size + at) * from_size, piece);
    convert_elements(*scalar_type(from.dtype), piece.data(), *scalar_type(dtype), out.data() + at * size, part);
  }
  return count_not_finite(*scalar_type(dtype), out);
}

/// The bytes of a target as the merge finds them: the base's, then those that are added.
LORA_ON_CALL_DECLARED inline void read_extended(const Model& model, const MergeTarget& target, std::uint64_t offset,
                                                std::span<std::byte> into) {
  const std::uint64_t all = target.original_bytes();
  const std::uint64_t own = std::min<std::uint64_t>(all - std::min(all, offset), into.size());
  model.read(*target.tensor, std::min(all, offset), into.first(own));
  if (own < into.size()) read_converted(target.added_rows, target.tensor->info->dtype, offset + own, into.subspan(own));
}

/// Appends the rows that are added to a tensor, whose bytes are the first ones. Returns as read_converted().
LORA_ON_CALL_DECLARED inline std::uint64_t add_rows(const MergeTarget& target, std::span<std::byte> bytes) {
  if (!target.added_rows) return 0;
  const std::uint64_t begin = target.original_bytes();
  return read_converted(target.added_rows, target.tensor->info->dtype, begin, bytes.subspan(begin, target.bytes() - begin));
}

/// Puts the adapter's tensor, or its rows, in the place of the base's; `narrowed` grows by what read_converted() returns. The bytes that
/// go into `undo` are read from `model` again, where `is_model` says that it has them; else they are kept until then.
LORA_ON_CALL_DECLARED inline Finish replace_tensor(const Model& model, const MergeTarget& target,
                                                   std::span<std::byte> bytes, UndoFileWriter* undo, bool is_model,
                                                   std::uint64_t& narrowed) {
  std::vector<std::byte> original;
  if (undo != nullptr && !is_model)
    original.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(target.original_bytes()));
  const DType dtype = target.tensor->info->dtype;
  if (target.copied != nullptr) model.read(*target.copied, 0, bytes.first(target.bytes()));
  if (target.replacement) {
    const std::vector<std::uint64_t>& rows = target.replacement.copy->rows;
    const std::uint64_t size = rows.empty() ? target.bytes() : target.bytes() / target.shape[0];
    if (rows.empty()) narrowed += read_converted(target.replacement, dtype, 0, bytes.first(size));
    for (std::size_t i = 0; i < rows.size(); ++i)
      narrowed += read_converted(target.replacement, dtype, i * size, bytes.subspan(rows[i] * size, size));
  }
  if (undo == nullptr) return {};
  RestChecksum merged;
  merged.add_all(bytes.first(target.bytes()));
  return [&model, &target, undo, is_model, merged, original = std::move(original)] {
    undo->add_replaced(merged, [&](std::uint64_t offset, std::span<std::byte> into) {
      if (is_model) return model.read(*target.tensor, offset, into);
      std::copy_n(original.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    });
  };
}

}  // namespace io::detail
LORA_NAMESPACE_END
