// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/input_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
LORA_FUNC InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  file_ = detail::open_to_read(path_, error);
  std::error_code ignored;
  if (error == std::errc::no_such_file_or_directory && std::filesystem::is_symlink(path_, ignored))
    detail::fail(path_, "cannot open for reading: the symbolic link leads to ",
                 detail::in_quotes(utf8_text(std::filesystem::read_symlink(path_, ignored))),
                 ", where nothing is: fetch the file again");
  if (error) detail::fail_system(path_, "cannot open for reading", error);
  const detail::FileStatus status = detail::status_of(file_, error);
  if (error) detail::fail_system(path_, "cannot examine", error);
  if (!status.is_file) detail::fail(path_, "expected a regular file, found ", status.kind());
  size_ = status.size;
  changed_ = status.modified;
}

LORA_FUNC void InputFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset > size_ || into.size() > size_ - offset)
    detail::fail(path_, "expected ", into.size(), " bytes at offset ", offset, ", found a file of ", size_, " bytes");
  while (!into.empty()) {
    std::error_code error;
    const std::size_t count = detail::read_at(file_, offset, into, error);
    if (error) detail::fail_system(path_, detail::text("cannot read at offset ", offset), error);
    if (count == 0)
      detail::fail(path_, "the file became shorter while it was read: expected ", size_, " bytes, found an end at ",
                   offset);
    offset += count;
    into = into.subspan(count);
  }
}

LORA_FUNC void InputFile::expect_unchanged() const {
  std::error_code error;
  const detail::FileStatus status = detail::status_of(file_, error);
  if (error) detail::fail_system(path_, "cannot examine", error);
  if (status.size != size_)
    detail::fail(path_, "the file changed while it was read: expected ", size_, " bytes, found ", status.size);
  if (status.modified != changed_)
    detail::fail(path_, "the file changed while it was read: its time of modification differs");
}

}  // namespace io
LORA_NAMESPACE_END
