// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The calls of the operating system that files need: POSIX's, or Windows'. Here alone the two differ. A call that fails
/// says why in `error`, which is cleared by one that succeeds, and throws nothing.

#include "lora/core/config.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Owns an open file: a file descriptor, on Windows a handle.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(std::intptr_t value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() { close(); }
  bool is_open() const { return value_ != -1; }
  std::intptr_t get() const { return value_; }

 private:
  void close() noexcept;

  std::intptr_t value_ = -1;
};

struct FileStatus {
  bool is_file = false;  ///< a regular one
  bool is_folder = false;
  bool is_write_protected = false;
  std::filesystem::perms permissions = std::filesystem::perms::all;  ///< Windows has none of these
  std::uint64_t size = 0;       ///< in bytes
  std::uint64_t names = 1;      ///< hard links
  std::pair<std::int64_t, std::int64_t> modified{};  ///< when it was last written to; only ever compared

  /// What is no regular file, in words.
  std::string_view kind() const { return is_folder ? "a folder" : "something else"; }
};

/// Opens what is there, for reading; folders and devices too. Others may read, write, rename and remove it meanwhile.
Descriptor open_to_read(const std::filesystem::path& path, std::error_code& error) noexcept;
/// Opens a file for reading and writing. Of a symbolic link, error is too_many_symbolic_link_levels.
Descriptor open_to_update(const std::filesystem::path& path, std::error_code& error) noexcept;
/// Makes a file that was not there, open for writing.
Descriptor create_file(const std::filesystem::path& path, std::error_code& error) noexcept;

FileStatus status_of(const Descriptor& file, std::error_code& error) noexcept;
/// Symbolic links are followed.
FileStatus status_of(const std::filesystem::path& path, std::error_code& error) noexcept;
/// Whether there is anything of that name, a symbolic link to nothing too.
bool has_entry(const std::filesystem::path& path) noexcept;

/// Reads at most into.size() bytes, from offset on; returns how many. 0: the file ends there. Threads may read at once.
std::size_t read_at(const Descriptor& file, std::uint64_t offset, std::span<std::byte> into,
                    std::error_code& error) noexcept;
/// Writes at least one of the bytes, at an offset; returns how many. Threads may write at once.
std::size_t write_at(const Descriptor& file, std::uint64_t offset, std::span<const std::byte> bytes,
                     std::error_code& error) noexcept;
/// Lets the disk begin with what was written, where the system can.
void begin_to_sync(const Descriptor& file, std::uint64_t offset, std::size_t size) noexcept;
/// Returns when everything written is on disk.
void sync(const Descriptor& file, std::error_code& error) noexcept;
/// Puts a folder's entries on disk where the file system can.
void sync_folder(const std::filesystem::path& folder) noexcept;

/// Locks a file until it is closed: against all other locks, or against exclusive ones. False, without an error, when
/// another one has it. A locked file can be read and written by who does not ask.
enum class Lock : bool { shared, exclusive };
bool try_lock(const Descriptor& file, Lock lock, std::error_code& error) noexcept;

void set_permissions(const Descriptor& file, std::filesystem::perms permissions, std::error_code& error) noexcept;
/// Gives a file another name, in place of the file that has it, which stays what it is for those who have it open.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to, std::error_code& error) noexcept;
/// Gives a folder another name, in place of an empty folder that has it.
void rename_folder(const std::filesystem::path& from, const std::filesystem::path& to, std::error_code& error) noexcept;
/// Gives a file a second name (a hard link), which nothing may have.
void add_name(const std::filesystem::path& file, const std::filesystem::path& name, std::error_code& error) noexcept;
void remove_file(const std::filesystem::path& path, std::error_code& error) noexcept;
void make_folder(const std::filesystem::path& path, std::filesystem::perms permissions,
                 std::error_code& error) noexcept;
void remove_empty_folder(const std::filesystem::path& path) noexcept;

/// A number that no other process has now.
std::uint64_t process_number() noexcept;

}  // namespace io::detail
namespace io {

/// A path in UTF-8 as files hold it and messages show it; on Windows in '/', and U+FFFD where it is not UTF-16.
std::string utf8_text(const std::filesystem::path& path);

/// The path that a text in UTF-8 names. (On Windows std::filesystem::path takes a std::string for something else.)
std::filesystem::path utf8_path(std::string_view text);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/file/system-inl.hpp"
#endif
