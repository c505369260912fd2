// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/writer.hpp"

#include <algorithm>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// What a reader makes of a file with this header.
inline GgufHeader parse_new_header(const std::filesystem::path& file, const GgufHeaderBytes& header) {
  const auto read = [&](std::uint64_t offset, std::span<std::byte> into) {
    const std::size_t part =
        std::min(into.size(), header.bytes.size() - std::min<std::size_t>(offset, header.bytes.size()));
    std::memcpy(into.data(), header.bytes.data() + offset, part);
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(part), into.end(), std::byte{0});
  };
  return GgufHeader::parse(file, header.bytes.size() + header.data_bytes, read);
}

}  // namespace detail

LORA_FUNC GgufWriter::GgufWriter(const std::filesystem::path& target, const detail::GgufHeaderBytes& header, Sync sync)
    : header_(detail::parse_new_header(target, header)), file_(target, sync) {
  file_.write(header.bytes);
  finish_tensors();
}

LORA_FUNC void GgufWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (tensor_ == header_.tensors().size())
      detail::fail(path(), "expected the bytes of ", tensor_, " tensors, found ", bytes.size(), " more");
    const GgufTensor& tensor = header_.tensors()[tensor_];
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), tensor.bytes() - within_));
    file_.write(bytes.first(part));
    within_ += part;
    bytes = bytes.subspan(part);
    finish_tensors();
  }
}

LORA_FUNC void GgufWriter::flush() {
  expect_complete();
  file_.flush();
}

LORA_FUNC void GgufWriter::commit() {
  expect_complete();
  file_.commit();
}

LORA_FUNC void GgufWriter::finish_tensors() {
  while (tensor_ < header_.tensors().size() && within_ == header_.tensors()[tensor_].bytes()) {
    ++tensor_;
    within_ = 0;
    const std::uint64_t end = detail::aligned(file_.position(), header_.alignment());
    file_.write(std::string(end - file_.position(), '\0'));
  }
}

LORA_FUNC void GgufWriter::expect_complete() const {
  if (tensor_ == header_.tensors().size()) return;
  const GgufTensor& tensor = header_.tensors()[tensor_];
  detail::fail(path(), "tensor ", detail::in_quotes(tensor.name), ": expected all ", tensor.bytes(),
               " bytes to be written before the commit, found ", within_);
}

}  // namespace io
LORA_NAMESPACE_END
