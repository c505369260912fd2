// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/input_file.hpp"

#include <atomic>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace io {

/// Whether a commit waits until what it names is on disk. With `no` it is as complete for every reader, but may be gone
/// or cut after a power failure soon afterwards.
enum class Sync : bool { no, yes };

namespace detail {

/// `<target>.<kind>-<process>-<number>`: a name beside a target that no other process uses.
std::filesystem::path name_beside(const std::filesystem::path& target, std::string_view kind);

/// The folder a path lies in.
std::filesystem::path folder_of(const std::filesystem::path& path);

/// Throws FileError: nothing can be created at `target`, which messages call `shown`.
[[noreturn]] void fail_to_create(const std::filesystem::path& target, const std::filesystem::path& shown,
                                 std::error_code reason);

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
  explicit OutputFile(std::filesystem::path target, Sync sync = Sync::yes, std::filesystem::path shown = {});
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
  void write(std::span<const std::byte> bytes);
  void write(std::string_view characters) { write(detail::bytes_of(characters)); }

  /// Writes at an offset, without moving position().
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Puts everything written on disk: the slow part of a commit, and the last that can fail for lack of space. Programs
  /// that write several files which belong together call it on each before they commit the first. Nothing with Sync::no.
  void flush();

  /// flush(), then the file takes its name. Throws FileError; the target is then as it was.
  void commit();

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
    forget_old();
  }

 private:
  static constexpr std::size_t early_bytes = 1 << 20;

  void create();
  void prepare_commit();
  void rename();
  // A second name for the file that is to be replaced; where there are no hard links, its only one for the time.
  void keep_old();
  void take_back() noexcept;
  void forget_old() noexcept;
  void discard() noexcept;

  std::filesystem::path target_, shown_, temporary_, old_;
  detail::Descriptor file_;
  std::uint64_t position_ = 0;
  Sync sync_;
  std::atomic<bool> is_on_disk_{false};
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/file/output_file-inl.hpp"
#endif
