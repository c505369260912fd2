// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/update_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC UpdateFile::UpdateFile(std::filesystem::path path, Sync sync) : path_(std::move(path)), sync_(sync) {
  static constexpr std::string_view instead = "write the result elsewhere (--out), or put a copy of the file in its place first";
  std::error_code error;
  file_ = detail::open_to_update(path_, error);
  if (error == std::errc::too_many_symbolic_link_levels)
    detail::fail(
        path_,
        "cannot change it in place: expected a file, found a symbolic link to one, which others may use as well: ",
        instead);
  if (error) detail::fail_system(path_, "cannot open for writing", error);
  const detail::FileStatus status = detail::status_of(file_, error);
  if (error) detail::fail_system(path_, "cannot examine", error);
  if (!status.is_file) detail::fail(path_, "expected a regular file, found ", status.kind());
  if (status.is_write_protected) detail::fail(path_, "cannot write: the file is write-protected");
  if (status.names > 1)
    detail::fail(path_, "cannot change it in place: expected a file with one name, found one with ", status.names,
                 " (hard links), which would all change: ", instead);
  size_ = status.size;
  if (detail::try_lock(file_, detail::Lock::exclusive, error)) return;
  if (error) detail::fail_system(path_, "cannot lock", error);
  detail::fail(path_, "another process is changing it in place: wait until it has ended");
}

LORA_FUNC bool UpdateFile::is_locked(const std::filesystem::path& path) {
  std::error_code error;
  const detail::Descriptor file = detail::open_to_read(path, error);
  return file.is_open() && !detail::try_lock(file, detail::Lock::shared, error) && !error;
}

LORA_FUNC void UpdateFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  expect_within(offset, into.size());
  while (!into.empty()) {
    std::error_code error;
    const std::size_t count = detail::read_at(file_, offset, into, error);
    if (error) detail::fail_system(path_, detail::text("cannot read at offset ", offset), error);
    if (count == 0) detail::fail(path_, "the file became shorter while it was read");
    offset += count;
    into = into.subspan(count);
  }
}

LORA_FUNC void UpdateFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  expect_within(offset, bytes.size());
  while (!bytes.empty()) {
    std::error_code error;
    const std::size_t count = detail::write_at(file_, offset, bytes, error);
    if (error) detail::fail_system(path_, "cannot write", error);
    offset += count;
    bytes = bytes.subspan(count);
  }
}

LORA_FUNC void UpdateFile::flush() {
  if (sync_ == Sync::no) return;
  std::error_code error;
  detail::sync(file_, error);
  if (error) detail::fail_system(path_, "cannot put on disk", error);
}

LORA_FUNC void UpdateFile::expect_within(std::uint64_t offset, std::size_t size) const {
  if (offset > size_ || size > size_ - offset)
    detail::fail(path_, "expected ", size, " bytes at offset ", offset, ", found a file of ", size_, " bytes");
}

}  // namespace io
LORA_NAMESPACE_END
