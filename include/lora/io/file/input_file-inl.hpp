// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/input_file.hpp"
#include "lora/io/file/posix.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

inline struct stat status_of(const Descriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_system(path, "cannot examine", errno);
  return status;
}

inline std::pair<std::int64_t, std::int64_t> modification_time(const struct stat& status) {
#if defined(__APPLE__)
  return {status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec};
#else
  return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
#endif
}

LORA_FUNC Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

LORA_FUNC void Descriptor::close() noexcept {
  if (value_ >= 0) ::close(value_);
}

}  // namespace detail

LORA_FUNC InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  file_ = detail::Descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file_.get() < 0) detail::fail_system(path_, "cannot open for reading", errno);
  const struct stat status = detail::status_of(file_, path_);
  if (!S_ISREG(status.st_mode)) detail::fail(path_, "expected a regular file, found ", detail::kind_text(status));
  size_ = static_cast<std::uint64_t>(status.st_size);
  changed_ = detail::modification_time(status);
}

LORA_FUNC void InputFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset > size_ || into.size() > size_ - offset)
    detail::fail(path_, "expected ", into.size(), " bytes at offset ", offset, ", found a file of ", size_, " bytes");
  while (!into.empty()) {
    const ssize_t count = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) detail::fail_system(path_, detail::text("cannot read at offset ", offset), errno);
    if (count == 0)
      detail::fail(path_, "the file became shorter while it was read: expected ", size_, " bytes, found an end at ",
                   offset);
    offset += static_cast<std::uint64_t>(count);
    into = into.subspan(static_cast<std::size_t>(count));
  }
}

LORA_FUNC void InputFile::expect_unchanged() const {
  const struct stat status = detail::status_of(file_, path_);
  if (static_cast<std::uint64_t>(status.st_size) != size_)
    detail::fail(path_, "the file changed while it was read: expected ", size_, " bytes, found ", status.st_size);
  if (detail::modification_time(status) != changed_)
    detail::fail(path_, "the file changed while it was read: its time of modification differs");
}

}  // namespace io
LORA_NAMESPACE_END
