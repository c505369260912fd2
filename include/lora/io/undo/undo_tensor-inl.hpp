// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/exact/undo_record-inl.hpp"
#include "lora/io/peft/kinds.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Index UndoUpdate::rank() const {
  const detail::KindRow* const row = detail::find_kind(kind);
  if (row != nullptr)
    for (const std::string_view ranked : row->ranked)
      for (const UndoPart& part : parts)
        if (part.name == ranked) return part.rows;
  return 0;
}

template <class Compute>
UndoUpdate undo_update(std::string adapter, const Update<Compute>& update, double coefficient, ScalarType weight) {
  const detail::KindRow& row = detail::kind_of(update);
  UndoUpdate out{std::move(adapter), update.scaling_rule(), coefficient, row.name, {}};
  const std::vector<UpdateTensor> tensors = update.tensors();
  for (const detail::KindPart& part : row.parts)
    if (const UpdateTensor* const tensor = detail::find_part(tensors, part.name))
      out.parts.push_back({part.name, row.undo_version < 3 ? compute_type(weight) : tensor->view.type, tensor->view.rows,
                           tensor->view.cols});
  return out;
}

LORA_FUNC std::vector<std::uint64_t> stored_shape(const UndoTensor& tensor) {
  const auto rows = static_cast<std::uint64_t>(tensor.rows), cols = static_cast<std::uint64_t>(tensor.cols);
  if (tensor.replaced || !tensor.shape.empty()) return tensor.shape;
  return tensor.order == row_major ? std::vector{rows, cols} : std::vector{cols, rows};
}

LORA_FUNC std::vector<std::uint64_t> original_shape(const UndoTensor& tensor) {
  std::vector<std::uint64_t> out = stored_shape(tensor);
  if (tensor.grown_from) out[0] = *tensor.grown_from;
  return out;
}

LORA_FUNC std::uint64_t RestChecksum::of_piece(std::span<const std::byte> piece) {
  return lora::detail::checksum(lora::detail::as_unsigned(piece.data()), piece.size());
}

LORA_FUNC void RestChecksum::add_checksum(std::uint64_t of_piece) {
  using State = lora::detail::ChecksumState;
  value_ = State::mix(value_ * State::step ^ of_piece);
}

LORA_FUNC bool is_undo_file(const Safetensors& file) {
  return std::any_of(file.metadata().begin(), file.metadata().end(),
                     [](const auto& entry) { return entry.first == "format" && entry.second == "lora-undo"; });
}

}  // namespace io
LORA_NAMESPACE_END
