// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/mapped_file.hpp"

#include <atomic>

LORA_NAMESPACE_BEGIN
namespace io {

/// A file that appears under its name only when it is complete.
///
/// Bytes go to `<name>.tmp-<process>-<number>` in the target's folder; `commit` puts them on disk and renames. Without
/// a commit the destructor removes the temporary file and the target is as it was. A new file gets the usual
/// permissions (0666 less the umask), a replaced one keeps its own; a symbolic link as target is itself replaced.
class OutputFile {
 public:
  /// Throws FileError when the target is write-protected or not a regular file, or its folder cannot be written to.
  explicit OutputFile(std::filesystem::path target) : target_(std::move(target)) {
    if (!target_.has_filename()) detail::fail(target_, "expected the name of a file to write, found a folder");
    struct stat status {};
    const bool replaces = ::lstat(target_.c_str(), &status) == 0;
    // Followed for what it protects: a link to a file may be replaced, a link to a folder or device may not.
    const bool exists = replaces && ::stat(target_.c_str(), &status) == 0;
    if (exists && !S_ISREG(status.st_mode))
      detail::fail(target_, "cannot write: expected a regular file, found something else of that name");
    if (exists && ((status.st_mode & 0222) == 0 || ::access(target_.c_str(), W_OK) != 0))
      detail::fail(target_, "cannot write: the file is write-protected");
    create();
    if (exists && ::fchmod(file_.get(), status.st_mode & 0777) != 0) {
      const int reason = errno;
      discard();
      detail::fail_system(target_, "cannot set the permissions", reason);
    }
  }
  OutputFile(OutputFile&& other) noexcept
      : target_(std::move(other.target_)),
        temporary_(std::exchange(other.temporary_, {})),
        file_(std::move(other.file_)),
        position_(other.position_),
        synced_(other.synced_) {}
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile() { discard(); }

  /// The name the file will have.
  const std::filesystem::path& path() const { return target_; }

  /// The name it has until then.
  const std::filesystem::path& temporary_path() const { return temporary_; }

  /// Where the next write() goes.
  std::uint64_t position() const { return position_; }

  /// Writes after what write() has written so far. Throws FileError (the disk is full, ...).
  void write(std::span<const std::byte> bytes) {
    write_at(position_, bytes);
    position_ += bytes.size();
  }
  void write(std::string_view characters) { write(std::as_bytes(std::span(characters))); }

  /// Writes at an offset, without moving position().
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (temporary_.empty())
      throw StateError(detail::text("lora: ", printable(target_.string()), ": written after commit"));
    synced_ = false;
    while (!bytes.empty()) {
      const ssize_t count = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) detail::fail_system(target_, "cannot write", errno);
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

  /// Puts everything written on disk: the slow part of a commit, and the last that can fail for lack of space. Programs
  /// that write several files which belong together call it on each before they commit the first.
  void flush() {
    if (synced_) return;
    if (::fsync(file_.get()) != 0) detail::fail_system(target_, "cannot put on disk", errno);
    synced_ = true;
  }

  /// flush(), then the file takes its name. Throws FileError; the target is then as it was.
  void commit() {
    if (temporary_.empty()) throw StateError(detail::text("lora: ", printable(target_.string()), ": committed twice"));
    flush();
    const std::filesystem::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
    const detail::Descriptor directory(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) detail::fail_system(target_, "cannot rename", errno);
    temporary_.clear();
    // The file is in place whatever this says: some file systems cannot sync a folder.
    if (directory.get() >= 0) ::fsync(directory.get());
  }

 private:
  void create() {
    static std::atomic<unsigned> number{0};
    for (int tries = 0; tries < 1000; ++tries) {
      std::filesystem::path name = target_;
      name += detail::text(".tmp-", ::getpid(), "-", number.fetch_add(1, std::memory_order_relaxed));
      file_ = detail::Descriptor(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (file_.get() >= 0) {
        temporary_ = std::move(name);
        return;
      }
      if (errno != EEXIST) break;
    }
    detail::fail_system(target_, "cannot create a file beside it", errno);
  }
  void discard() noexcept {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  std::filesystem::path target_, temporary_;
  detail::Descriptor file_;
  std::uint64_t position_ = 0;
  bool synced_ = false;
};

}  // namespace io
LORA_NAMESPACE_END
