// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/tensor_file_writer.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC TensorFileWriter::TensorFileWriter(std::filesystem::path target, const TensorFile& like, Sync sync,
                                             std::filesystem::path shown)
    : shown_(shown.empty() ? target : shown),
      tensors_(like.tensors()),
      data_begin_(like.data_begin()),
      size_(like.file().size()),
      file_(std::move(target), sync, std::move(shown)) {
  std::vector<std::byte> bytes;
  for (const TensorFile::Part& part : like.frame()) {
    bytes.resize(part.end - part.begin);
    like.file().read(part.begin, bytes);
    write(part.begin, bytes);
  }
}

LORA_FUNC TensorFileWriter::TensorFileWriter(std::filesystem::path target, const SafetensorsHeader& header, Sync sync,
                                             std::filesystem::path shown)
    : shown_(shown.empty() ? target : shown),
      tensors_(header.tensors()),
      data_begin_(header.raw().size()),
      size_(data_begin_ + header.data_bytes()),
      file_(std::move(target), sync, std::move(shown)) {
  write(0, header.raw());
}

LORA_FUNC void TensorFileWriter::write_at(const TensorInfo& tensor, std::uint64_t offset,
                                          std::span<const std::byte> bytes) {
  if (offset > tensor.bytes() || bytes.size() > tensor.bytes() - offset)
    detail::fail(shown_, "tensor ", detail::in_quotes(tensor.name), ": expected at most the ", tensor.bytes(),
                 " bytes of ", name(tensor.dtype), " ", detail::shape_list(tensor.shape), " to be written, found ",
                 bytes.size(), " from byte ", offset, " on");
  write(data_begin_ + tensor.begin + offset, bytes);
}

LORA_FUNC void TensorFileWriter::flush() {
  expect_complete();
  file_.flush();
}

LORA_FUNC void TensorFileWriter::commit() {
  expect_complete();
  file_.commit();
}

LORA_FUNC void TensorFileWriter::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  file_.write_at(offset, bytes);
  written_.add(offset, offset + bytes.size());
}

LORA_FUNC void TensorFileWriter::expect_complete() const {
  const std::uint64_t end = written_.first_gap();
  if (end == size_) return;
  const auto first = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const TensorInfo& tensor) { return data_begin_ + tensor.end > end; });
  detail::fail(shown_, "tensor ", detail::in_quotes(first->name), ": expected all ", size_ - data_begin_,
               " bytes of data to be written before the commit, found none at offset ", end - data_begin_);
}

}  // namespace io
LORA_NAMESPACE_END
