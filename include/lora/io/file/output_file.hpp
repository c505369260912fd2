// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/input_file.hpp"

#include <atomic>

LORA_NAMESPACE_BEGIN
namespace io {

/// Whether a commit waits until what it names is on disk. With `no` it is as complete for every reader, but may be gone
/// or cut after a power failure soon afterwards.
enum class Sync : bool { no, yes };

namespace detail {

/// `<target>.<kind>-<process>-<number>`: a name beside a target that no other process uses.
inline std::filesystem::path name_beside(const std::filesystem::path& target, std::string_view kind) {
  static std::atomic<unsigned> number{0};
  std::filesystem::path name = target;
  name += text(".", kind, "-", ::getpid(), "-", number.fetch_add(1, std::memory_order_relaxed));
  return name;
}

/// The folder a path lies in.
inline std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

/// Throws FileError: nothing can be created at `target`, which messages call `shown`.
[[noreturn]] inline void fail_to_create(const std::filesystem::path& target, const std::filesystem::path& shown,
                                        int reason) {
  std::error_code ignored;
  if (reason == ENOENT && !std::filesystem::exists(folder_of(target), ignored))
    fail_system(shown, text("cannot create it: there is no folder ", in_quotes(folder_of(shown).string())), reason);
  fail_system(shown, "cannot create it", reason);
}

/// Puts a folder's entries on disk where the file system can.
inline void sync_folder(const std::filesystem::path& folder) {
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (directory.get() >= 0) ::fsync(directory.get());
}

}  // namespace detail

/// A file that appears under its name only when it is complete.
///
/// Bytes go to `<name>.tmp-<process>-<number>` in the target's folder; `commit` puts them on disk and renames. Without
/// a commit the destructor removes the temporary file and the target is as it was. A new file gets the usual
/// permissions (0666 less the umask), a replaced one keeps its own; a symbolic link as target is itself replaced.
/// write_at may run on several threads at once, everything else on one.
class OutputFile {
 public:
  /// Throws FileError when the target is write-protected or not a regular file, or its folder cannot be written to.
  /// Messages call it `shown` where that is not empty: what a file will be called in the end.
  explicit OutputFile(std::filesystem::path target, Sync sync = Sync::yes, std::filesystem::path shown = {})
      : target_(std::move(target)), shown_(shown.empty() ? target_ : std::move(shown)), sync_(sync) {
    if (!target_.has_filename()) detail::fail(shown_, "expected the name of a file to write, found a folder");
    struct stat status {};
    const bool replaces = ::lstat(target_.c_str(), &status) == 0;
    // Followed for what it protects: a link to a file may be replaced, a link to a folder or device may not.
    const bool exists = replaces && ::stat(target_.c_str(), &status) == 0;
    if (exists && !S_ISREG(status.st_mode))
      detail::fail(shown_, "cannot write: expected a regular file, found something else of that name");
    if (exists && ((status.st_mode & 0222) == 0 || ::access(target_.c_str(), W_OK) != 0))
      detail::fail(shown_, "cannot write: the file is write-protected");
    create();
    if (exists && ::fchmod(file_.get(), status.st_mode & 0777) != 0) {
      const int reason = errno;
      discard();
      detail::fail_system(shown_, "cannot set the permissions", reason);
    }
  }
  OutputFile(OutputFile&& other) noexcept
      : target_(std::move(other.target_)),
        shown_(std::move(other.shown_)),
        temporary_(std::exchange(other.temporary_, {})),
        file_(std::move(other.file_)),
        position_(other.position_),
        sync_(other.sync_),
        is_on_disk_(other.is_on_disk_.load()) {}
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
      throw StateError(detail::text("lora: ", printable(shown_.string()), ": written after commit"));
    is_on_disk_.store(false, std::memory_order_relaxed);
    while (!bytes.empty()) {
      const ssize_t count = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) detail::fail_system(shown_, "cannot write", errno);
#if defined(__linux__)
      // The disk begins at once with what flush() would otherwise have to wait for as a whole.
      if (sync_ == Sync::yes && count >= early_bytes)
        ::sync_file_range(file_.get(), static_cast<off_t>(offset), count, SYNC_FILE_RANGE_WRITE);
#endif
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

  /// Puts everything written on disk: the slow part of a commit, and the last that can fail for lack of space. Programs
  /// that write several files which belong together call it on each before they commit the first. Nothing with Sync::no.
  void flush() {
    if (sync_ == Sync::no || is_on_disk_) return;
    if (::fsync(file_.get()) != 0) detail::fail_system(shown_, "cannot put on disk", errno);
    is_on_disk_ = true;
  }

  /// flush(), then the file takes its name. Throws FileError; the target is then as it was.
  void commit() {
    prepare_commit();
    rename();
  }

  /// commit(), then next(): for a file that must be in place before another one is. Until next() has returned, a file
  /// that is replaced is kept as `<name>.old-<process>-<number>`; when next() throws it gets its name back. So whenever
  /// the program is killed, the old file is there under one of the two names.
  template <class Next>
  void commit_before(const Next& next) {
    prepare_commit();
    keep_old();
    try {
      rename();
      next();
    } catch (...) {
      take_back();
      throw;
    }
    if (!old_.empty()) ::unlink(old_.c_str());
    old_.clear();
  }

 private:
  static constexpr ssize_t early_bytes = 1 << 20;

  void create() {
    for (int tries = 0; tries < 1000; ++tries) {
      std::filesystem::path name = detail::name_beside(target_, "tmp");
      file_ = detail::Descriptor(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (file_.get() >= 0) {
        temporary_ = std::move(name);
        return;
      }
      if (errno != EEXIST) break;
    }
    detail::fail_to_create(target_, shown_, errno);
  }
  void prepare_commit() {
    if (temporary_.empty()) throw StateError(detail::text("lora: ", printable(shown_.string()), ": committed twice"));
    flush();
  }
  void rename() {
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) detail::fail_system(shown_, "cannot rename", errno);
    temporary_.clear();
    // The file is in place whatever this says: some file systems cannot sync a folder.
    if (sync_ == Sync::yes) detail::sync_folder(detail::folder_of(target_));
  }
  // A second name for the file that is to be replaced; where there are no hard links, its only one for the time.
  void keep_old() {
    for (int tries = 0; tries < 1000; ++tries) {
      std::filesystem::path name = detail::name_beside(target_, "old");
      if (::link(target_.c_str(), name.c_str()) == 0 ||
          (errno != EEXIST && errno != ENOENT && ::rename(target_.c_str(), name.c_str()) == 0)) {
        old_ = std::move(name);
        return;
      }
      if (errno == ENOENT) return;
      if (errno != EEXIST) break;
    }
    detail::fail_system(shown_, "cannot keep the old file beside it", errno);
  }
  void take_back() noexcept {
    const bool is_in_place = temporary_.empty();
    if (!old_.empty()) {
      ::rename(old_.c_str(), target_.c_str());
      ::unlink(old_.c_str());  // still there when both names were the same file's
    } else if (is_in_place) {
      ::unlink(target_.c_str());
    }
    old_.clear();
  }
  void discard() noexcept {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  std::filesystem::path target_, shown_, temporary_, old_;
  detail::Descriptor file_;
  std::uint64_t position_ = 0;
  Sync sync_;
  std::atomic<bool> is_on_disk_{false};
};

}  // namespace io
LORA_NAMESPACE_END
