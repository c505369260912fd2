// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/safetensors/writer.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC SafetensorsWriter::SafetensorsWriter(std::filesystem::path target, SafetensorsHeader header, Sync sync,
                                               std::filesystem::path shown)
    : header_(std::move(header)), file_(std::move(target), sync, std::move(shown)) {
  file_.write(header_.raw());
}

LORA_FUNC void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  write_at(next_, bytes);
  next_ += bytes.size();
}

LORA_FUNC void SafetensorsWriter::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t size = header_.data_bytes();
  if (offset > size || bytes.size() > size - offset)
    detail::fail(path(), "expected at most ", size, " bytes of data, found ", bytes.size(), " at offset ", offset);
  file_.write_at(header_.raw().size() + offset, bytes);
  written_.add(offset, offset + bytes.size());
}

LORA_FUNC void SafetensorsWriter::flush() {
  expect_complete();
  file_.flush();
}

LORA_FUNC void SafetensorsWriter::commit() {
  expect_complete();
  file_.commit();
}

LORA_FUNC void SafetensorsWriter::expect_complete() const {
  const std::uint64_t end = written_.first_gap();
  if (end == header_.data_bytes()) return;
  const auto& tensors = header_.tensors();
  const auto first = std::find_if(tensors.begin(), tensors.end(), [&](const TensorInfo& t) { return t.end > end; });
  detail::fail(path(), "tensor ", detail::in_quotes(first->name), ": expected all ", header_.data_bytes(),
               " bytes of data to be written before the commit, found none at offset ", end);
}

}  // namespace io
LORA_NAMESPACE_END
