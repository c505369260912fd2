// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/posix.hpp"
#include "lora/io/file/update_file.hpp"

#include <sys/file.h>

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC UpdateFile::UpdateFile(std::filesystem::path path, Sync sync) : path_(std::move(path)), sync_(sync) {
  file_ = detail::Descriptor(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  if (file_.get() < 0 && (errno == ELOOP || errno == EMLINK))
    detail::fail(path_, "cannot change it in place: expected a file, found a symbolic link to one");
  if (file_.get() < 0) detail::fail_system(path_, "cannot open for writing", errno);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) detail::fail_system(path_, "cannot examine", errno);
  if (!S_ISREG(status.st_mode)) detail::fail(path_, "expected a regular file, found ", detail::kind_text(status));
  if ((status.st_mode & 0222) == 0) detail::fail(path_, "cannot write: the file is write-protected");
  if (status.st_nlink > 1)
    detail::fail(path_, "cannot change it in place: expected a file with one name, found one with ", status.st_nlink,
                 " (hard links), which would all change");
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK) detail::fail(path_, "another process is changing it in place: wait until it has ended");
  detail::fail_system(path_, "cannot lock", errno);
}

LORA_FUNC bool UpdateFile::is_locked(const std::filesystem::path& path) {
  const detail::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return file.get() >= 0 && ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

LORA_FUNC void UpdateFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  expect_within(offset, into.size());
  while (!into.empty()) {
    const ssize_t count = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) detail::fail_system(path_, detail::text("cannot read at offset ", offset), errno);
    if (count == 0) detail::fail(path_, "the file became shorter while it was read");
    offset += static_cast<std::uint64_t>(count);
    into = into.subspan(static_cast<std::size_t>(count));
  }
}

LORA_FUNC void UpdateFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  expect_within(offset, bytes.size());
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) detail::fail_system(path_, "cannot write", errno);
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

LORA_FUNC void UpdateFile::flush() {
  if (sync_ == Sync::yes && ::fsync(file_.get()) != 0) detail::fail_system(path_, "cannot put on disk", errno);
}

LORA_FUNC void UpdateFile::expect_within(std::uint64_t offset, std::size_t size) const {
  if (offset > size_ || size > size_ - offset)
    detail::fail(path_, "expected ", size, " bytes at offset ", offset, ", found a file of ", size_, " bytes");
}

}  // namespace io
LORA_NAMESPACE_END
