// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#if !defined(_WIN32)

#include "lora/io/file/system.hpp"

#include <cerrno>

#if !defined(__unix__) && !defined(__APPLE__)
#error "lora: lora/io needs a POSIX system (Linux, BSD, macOS) or Windows"
#endif
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The reason for a call that has just failed, or none.
inline void tell(std::error_code& error, bool succeeded) noexcept {
  error = succeeded ? std::error_code() : std::error_code(errno, std::generic_category());
}

inline int number_of(const Descriptor& file) noexcept { return static_cast<int>(file.get()); }

inline Descriptor open_with(const std::filesystem::path& path, int flags, std::error_code& error) noexcept {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC, 0666));
  tell(error, file.is_open());
  return file;
}

LORA_FUNC void Descriptor::close() noexcept {
  if (is_open()) ::close(static_cast<int>(value_));
}

// Without O_NONBLOCK, opening a named pipe would wait for a writer.
LORA_FUNC Descriptor open_to_read(const std::filesystem::path& path, std::error_code& error) noexcept {
  return open_with(path, O_RDONLY | O_NONBLOCK, error);
}

LORA_FUNC Descriptor open_to_update(const std::filesystem::path& path, std::error_code& error) noexcept {
  Descriptor file = open_with(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW, error);
  if (error.value() == EMLINK) error = std::make_error_code(std::errc::too_many_symbolic_link_levels);  // of FreeBSD
  return file;
}

LORA_FUNC Descriptor create_file(const std::filesystem::path& path, std::error_code& error) noexcept {
  return open_with(path, O_WRONLY | O_CREAT | O_EXCL, error);
}

inline FileStatus status_from(const struct stat& found) noexcept {
  FileStatus out;
  out.is_file = S_ISREG(found.st_mode);
  out.is_folder = S_ISDIR(found.st_mode);
  out.is_write_protected = (found.st_mode & 0222) == 0;
  out.permissions = std::filesystem::perms(found.st_mode & 0777);
  out.size = static_cast<std::uint64_t>(found.st_size);
  out.names = found.st_nlink;
#if defined(__APPLE__)
  out.modified = {found.st_mtimespec.tv_sec, found.st_mtimespec.tv_nsec};
#else
  out.modified = {found.st_mtim.tv_sec, found.st_mtim.tv_nsec};
#endif
  return out;
}

LORA_FUNC FileStatus status_of(const Descriptor& file, std::error_code& error) noexcept {
  struct stat found {};
  tell(error, ::fstat(number_of(file), &found) == 0);
  return status_from(found);
}

LORA_FUNC FileStatus status_of(const std::filesystem::path& path, std::error_code& error) noexcept {
  struct stat found {};
  tell(error, ::stat(path.c_str(), &found) == 0);
  FileStatus out = status_from(found);
  if (!error && ::access(path.c_str(), W_OK) != 0) out.is_write_protected = true;
  return out;
}

LORA_FUNC bool has_entry(const std::filesystem::path& path) noexcept {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

LORA_FUNC std::size_t read_at(const Descriptor& file, std::uint64_t offset, std::span<std::byte> into,
                              std::error_code& error) noexcept {
  ssize_t count = -1;
  do count = ::pread(number_of(file), into.data(), into.size(), static_cast<off_t>(offset));
  while (count < 0 && errno == EINTR);
  tell(error, count >= 0);
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

LORA_FUNC std::size_t write_at(const Descriptor& file, std::uint64_t offset, std::span<const std::byte> bytes,
                               std::error_code& error) noexcept {
  ssize_t count = -1;
  do count = ::pwrite(number_of(file), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  while (count < 0 && errno == EINTR);
  tell(error, count >= 0);
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

LORA_FUNC void begin_to_sync([[maybe_unused]] const Descriptor& file, [[maybe_unused]] std::uint64_t offset,
                             [[maybe_unused]] std::size_t size) noexcept {
#if defined(__linux__) && defined(SYNC_FILE_RANGE_WRITE)
  ::sync_file_range(number_of(file), static_cast<off_t>(offset), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE);
#endif
}

LORA_FUNC void sync(const Descriptor& file, std::error_code& error) noexcept {
  tell(error, ::fsync(number_of(file)) == 0);
}

LORA_FUNC void sync_folder(const std::filesystem::path& folder) noexcept {
  std::error_code ignored;
  const Descriptor directory = open_with(folder, O_RDONLY | O_DIRECTORY, ignored);
  if (directory.is_open()) ::fsync(number_of(directory));
}

LORA_FUNC bool try_lock(const Descriptor& file, Lock lock, std::error_code& error) noexcept {
  const bool locked = ::flock(number_of(file), (lock == Lock::exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0;
  tell(error, locked || errno == EWOULDBLOCK);
  return locked;
}

LORA_FUNC void set_permissions(const Descriptor& file, std::filesystem::perms permissions,
                               std::error_code& error) noexcept {
  tell(error, ::fchmod(number_of(file), static_cast<mode_t>(permissions)) == 0);
}

LORA_FUNC void rename_file(const std::filesystem::path& from, const std::filesystem::path& to,
                           std::error_code& error) noexcept {
  tell(error, ::rename(from.c_str(), to.c_str()) == 0);
}

LORA_FUNC void rename_folder(const std::filesystem::path& from, const std::filesystem::path& to,
                             std::error_code& error) noexcept {
  rename_file(from, to, error);
}

LORA_FUNC void add_name(const std::filesystem::path& file, const std::filesystem::path& name,
                        std::error_code& error) noexcept {
  tell(error, ::link(file.c_str(), name.c_str()) == 0);
}

LORA_FUNC void remove_file(const std::filesystem::path& path, std::error_code& error) noexcept {
  tell(error, ::unlink(path.c_str()) == 0);
}

LORA_FUNC void make_folder(const std::filesystem::path& path, std::filesystem::perms permissions,
                           std::error_code& error) noexcept {
  tell(error, ::mkdir(path.c_str(), static_cast<mode_t>(permissions)) == 0);
}

LORA_FUNC void remove_empty_folder(const std::filesystem::path& path) noexcept { ::rmdir(path.c_str()); }

LORA_FUNC std::uint64_t process_number() noexcept { return static_cast<std::uint64_t>(::getpid()); }

}  // namespace io::detail
namespace io {

LORA_FUNC std::string utf8_text(const std::filesystem::path& path) { return path.string(); }

LORA_FUNC std::filesystem::path utf8_path(std::string_view text) { return text; }

}  // namespace io
LORA_NAMESPACE_END

#endif
