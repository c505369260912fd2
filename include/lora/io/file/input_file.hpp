// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"

#include <cerrno>
#include <cstdint>
#include <span>
#include <utility>

#if !defined(__unix__) && !defined(__APPLE__)
#error "lora: lora/io needs a POSIX system (Linux, BSD, macOS)"
#endif
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Owns a file descriptor.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_ = -1;
};

}  // namespace detail

/// A regular file, open for reading.
///
/// Its bytes are copied out, never mapped: reading beyond the end of a mapping that somebody has shortened ends the
/// program with a signal, where a read ends in an exception. Replacing the file by renaming another one over it (as
/// OutputFile does) is harmless: the old one stays readable.
class InputFile {
 public:
  /// Throws FileError when the file cannot be opened, or is not a regular file.
  explicit InputFile(std::filesystem::path path) : path_(std::move(path)) {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    file_ = detail::Descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file_.get() < 0) detail::fail_system(path_, "cannot open for reading", errno);
    const struct stat status = look();
    if (!S_ISREG(status.st_mode)) detail::fail(path_, "expected a regular file, found something else");
    size_ = static_cast<std::uint64_t>(status.st_size);
    changed_ = modification_time(status);
  }

  const std::filesystem::path& path() const { return path_; }

  /// In bytes, when it was opened.
  std::uint64_t size() const { return size_; }

  /// Copies `into.size()` bytes from `offset` on. May run on several threads at once. Throws FileError when the file
  /// ends before or cannot be read.
  void read(std::uint64_t offset, std::span<std::byte> into) const {
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

  /// Throws FileError when the file was written to or cut since it was opened (its size or time of change differs).
  void expect_unchanged() const {
    const struct stat status = look();
    if (static_cast<std::uint64_t>(status.st_size) != size_)
      detail::fail(path_, "the file changed while it was read: expected ", size_, " bytes, found ", status.st_size);
    if (modification_time(status) != changed_)
      detail::fail(path_, "the file changed while it was read: its time of modification differs");
  }

 private:
  struct stat look() const {
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) detail::fail_system(path_, "cannot examine", errno);
    return status;
  }
  static std::pair<std::int64_t, std::int64_t> modification_time(const struct stat& status) {
#if defined(__APPLE__)
    return {status.st_mtimespec.tv_sec, status.st_mtimespec.tv_nsec};
#else
    return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
#endif
  }

  std::filesystem::path path_;
  detail::Descriptor file_;
  std::uint64_t size_ = 0;
  std::pair<std::int64_t, std::int64_t> changed_{};
};

}  // namespace io
LORA_NAMESPACE_END
