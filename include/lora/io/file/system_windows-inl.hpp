// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#if defined(_WIN32)

#include "lora/io/file/system.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <cwchar>
#include <new>
#include <vector>

#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The reason for a call that has just failed, or none.
inline void tell(std::error_code& error, bool succeeded) noexcept {
  error = succeeded ? std::error_code() : std::error_code(static_cast<int>(::GetLastError()), std::system_category());
}

inline HANDLE handle_of(const Descriptor& file) noexcept { return reinterpret_cast<HANDLE>(file.get()); }

/// Calls call(path...) with paths as Windows' calls take them, and tells what came of it. Beyond 259 characters they must
/// be absolute, in backslashes and marked.
template <class Call, class... Paths>
bool with_native(std::error_code& error, const Call& call, const Paths&... paths) noexcept {
  constexpr std::size_t longest = 247;  // a folder's, which leaves room for a file's name of 8 + 3
  const auto native = [](const std::filesystem::path& path) -> std::wstring {
    if (path.native().size() <= longest || path.native().starts_with(L"\\\\?\\")) return path.native();
    const std::wstring whole = std::filesystem::absolute(path).lexically_normal().make_preferred().native();
    return whole.starts_with(L"\\\\") ? L"\\\\?\\UNC" + whole.substr(1) : L"\\\\?\\" + whole;
  };
  try {
    const bool succeeded = call(native(paths).c_str()...);
    tell(error, succeeded);
    return succeeded;
  } catch (const std::filesystem::filesystem_error& caught) {
    error = caught.code();
  } catch (const std::bad_alloc&) {
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return false;
}

inline constexpr DWORD everybody = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

inline Descriptor open_with(const std::filesystem::path& path, DWORD access, DWORD how, DWORD flags,
                            std::error_code& error) noexcept {
  HANDLE handle = INVALID_HANDLE_VALUE;
  with_native(
      error,
      [&](const wchar_t* name) {
        handle = ::CreateFileW(name, access, everybody, nullptr, how, flags, nullptr);
        return handle != INVALID_HANDLE_VALUE;
      },
      path);
  return Descriptor(reinterpret_cast<std::intptr_t>(handle));
}

LORA_FUNC void Descriptor::close() noexcept {
  if (is_open()) ::CloseHandle(reinterpret_cast<HANDLE>(value_));
}

// With FILE_FLAG_BACKUP_SEMANTICS a folder can be opened, and is then told from a file.
LORA_FUNC Descriptor open_to_read(const std::filesystem::path& path, std::error_code& error) noexcept {
  return open_with(path, GENERIC_READ, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, error);
}

LORA_FUNC Descriptor open_to_update(const std::filesystem::path& path, std::error_code& error) noexcept {
  Descriptor file = open_with(path, GENERIC_READ | GENERIC_WRITE, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, error);
  if (!file.is_open()) return file;
  FILE_ATTRIBUTE_TAG_INFO found{};
  if (::GetFileInformationByHandleEx(handle_of(file), FileAttributeTagInfo, &found, sizeof found) != 0 &&
      found.ReparseTag == IO_REPARSE_TAG_SYMLINK) {
    error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    return Descriptor();
  }
  // Other reparse points (of cloud folders, of deduplication) are files like any other, but opened in the plain way.
  if (found.ReparseTag != 0) file = open_with(path, GENERIC_READ | GENERIC_WRITE, OPEN_EXISTING, 0, error);
  return file;
}

LORA_FUNC Descriptor create_file(const std::filesystem::path& path, std::error_code& error) noexcept {
  return open_with(path, GENERIC_WRITE, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, error);
}

LORA_FUNC FileStatus status_of(const Descriptor& file, std::error_code& error) noexcept {
  FileStatus out;
  BY_HANDLE_FILE_INFORMATION found{};
  const bool is_disk = ::GetFileType(handle_of(file)) == FILE_TYPE_DISK;
  if (!is_disk) {
    error.clear();
    return out;
  }
  tell(error, ::GetFileInformationByHandle(handle_of(file), &found) != 0);
  if (error) return out;
  out.is_folder = (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  out.is_file = !out.is_folder;
  out.is_write_protected = (found.dwFileAttributes & FILE_ATTRIBUTE_READONLY) != 0;
  out.size = std::uint64_t{found.nFileSizeHigh} << 32 | found.nFileSizeLow;
  out.names = found.nNumberOfLinks;
  out.modified = {found.ftLastWriteTime.dwHighDateTime, found.ftLastWriteTime.dwLowDateTime};
  return out;
}

LORA_FUNC FileStatus status_of(const std::filesystem::path& path, std::error_code& error) noexcept {
  const Descriptor file = open_with(path, 0, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, error);
  return error ? FileStatus() : status_of(file, error);
}

LORA_FUNC bool has_entry(const std::filesystem::path& path) noexcept {
  std::error_code ignored;
  return with_native(
      ignored, [](const wchar_t* name) { return ::GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES; }, path);
}

/// Where a call reads or writes; the handle's own position does not matter.
inline OVERLAPPED at_offset(std::uint64_t offset) noexcept {
  OVERLAPPED out{};
  out.Offset = static_cast<DWORD>(offset);
  out.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return out;
}

/// As much as one call takes.
inline DWORD piece(std::size_t size) noexcept { return static_cast<DWORD>(std::min(size, std::size_t{1} << 30)); }

LORA_FUNC std::size_t read_at(const Descriptor& file, std::uint64_t offset, std::span<std::byte> into,
                              std::error_code& error) noexcept {
  OVERLAPPED where = at_offset(offset);
  DWORD count = 0;
  const bool succeeded = ::ReadFile(handle_of(file), into.data(), piece(into.size()), &count, &where) != 0;
  tell(error, succeeded || ::GetLastError() == ERROR_HANDLE_EOF);
  return count;
}

LORA_FUNC std::size_t write_at(const Descriptor& file, std::uint64_t offset, std::span<const std::byte> bytes,
                               std::error_code& error) noexcept {
  OVERLAPPED where = at_offset(offset);
  DWORD count = 0;
  tell(error, ::WriteFile(handle_of(file), bytes.data(), piece(bytes.size()), &count, &where) != 0);
  return count;
}

LORA_FUNC void begin_to_sync(const Descriptor&, std::uint64_t, std::size_t) noexcept {}

LORA_FUNC void sync(const Descriptor& file, std::error_code& error) noexcept {
  tell(error, ::FlushFileBuffers(handle_of(file)) != 0);
}

// A rename is written through (below), and a folder cannot be flushed without an administrator's rights.
LORA_FUNC void sync_folder(const std::filesystem::path&) noexcept {}

// Locks bind everybody on Windows: one byte is locked that no file has.
LORA_FUNC bool try_lock(const Descriptor& file, Lock lock, std::error_code& error) noexcept {
  OVERLAPPED where = at_offset(std::uint64_t{1} << 62);
  const DWORD how = LOCKFILE_FAIL_IMMEDIATELY | (lock == Lock::exclusive ? DWORD{LOCKFILE_EXCLUSIVE_LOCK} : DWORD{0});
  const bool locked = ::LockFileEx(handle_of(file), how, 0, 1, 0, &where) != 0;
  tell(error, locked || ::GetLastError() == ERROR_LOCK_VIOLATION || ::GetLastError() == ERROR_IO_PENDING);
  return locked;
}

LORA_FUNC void set_permissions(const Descriptor&, std::filesystem::perms, std::error_code& error) noexcept {
  error.clear();
}

/// As POSIX removes (Windows 10 and newer, NTFS): the name of a file that is open goes at once.
inline bool remove_as_posix(const wchar_t* name) {
  constexpr DWORD flags = 1 | 2;  // FILE_DISPOSITION_FLAG_DELETE, ..._POSIX_SEMANTICS
  constexpr auto disposition_ex = FILE_INFO_BY_HANDLE_CLASS(21);  // FileDispositionInfoEx
  const Descriptor file(reinterpret_cast<std::intptr_t>(
      ::CreateFileW(name, DELETE, everybody, nullptr, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, nullptr)));
  DWORD value = flags;
  return file.is_open() && ::SetFileInformationByHandle(handle_of(file), disposition_ex, &value, sizeof value) != 0;
}

/// As POSIX renames (Windows 10 and newer, NTFS): a file that is open, in place of one that is open.
inline bool rename_as_posix(const wchar_t* from, const wchar_t* to) {
  constexpr DWORD replace = 1, as_posix = 2;                     // FILE_RENAME_FLAG_...
  constexpr auto rename_ex = FILE_INFO_BY_HANDLE_CLASS(22);      // FileRenameInfoEx
  const std::size_t length = std::wcslen(to) * sizeof(wchar_t);  // in bytes
  const Descriptor file(reinterpret_cast<std::intptr_t>(
      ::CreateFileW(from, DELETE | SYNCHRONIZE, everybody, nullptr, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, nullptr)));
  if (!file.is_open()) return false;
  std::vector<std::byte> bytes(sizeof(FILE_RENAME_INFO) + length);
  FILE_RENAME_INFO about{};
  about.FileNameLength = static_cast<DWORD>(length);
  constexpr DWORD flags = replace | as_posix;
  std::memcpy(bytes.data(), &about, sizeof about);
  std::memcpy(bytes.data(), &flags, sizeof flags);  // a union with ReplaceIfExists
  std::memcpy(bytes.data() + offsetof(FILE_RENAME_INFO, FileName), to, length);
  return ::SetFileInformationByHandle(handle_of(file), rename_ex, bytes.data(), static_cast<DWORD>(bytes.size())) != 0;
}

/// Where that cannot be: a file that is open can still be moved aside. Its name is free then.
inline std::wstring name_aside(const wchar_t* name) {
  static std::atomic<unsigned> number{0};
  return name + (L".gone-" + std::to_wstring(::GetCurrentProcessId())) + L"-" + std::to_wstring(number++);
}

/// The file is gone when the last who has it open closes it; its name, at once.
inline bool remove_aside(const wchar_t* name) {
  const std::wstring aside = name_aside(name);
  if (::MoveFileExW(name, aside.c_str(), 0) == 0) return ::DeleteFileW(name) != 0;
  if (::DeleteFileW(aside.c_str()) != 0) return true;
  const DWORD reason = ::GetLastError();
  ::MoveFileExW(aside.c_str(), name, 0);
  ::SetLastError(reason);
  return false;
}

inline bool rename_over_open(const wchar_t* from, const wchar_t* to) {
  if (::MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) != 0) return true;
  const DWORD reason = ::GetLastError();
  const std::wstring aside = name_aside(to);
  if ((reason != ERROR_ACCESS_DENIED && reason != ERROR_SHARING_VIOLATION) || ::MoveFileExW(to, aside.c_str(), 0) == 0) {
    ::SetLastError(reason);
    return false;
  }
  if (::MoveFileExW(from, to, MOVEFILE_WRITE_THROUGH) == 0) {
    ::MoveFileExW(aside.c_str(), to, 0);
    ::SetLastError(reason);
    return false;
  }
  ::DeleteFileW(aside.c_str());
  return true;
}

LORA_FUNC void rename_file(const std::filesystem::path& from, const std::filesystem::path& to,
                           std::error_code& error) noexcept {
  with_native(
      error,
      [](const wchar_t* old_name, const wchar_t* new_name) {
        return rename_as_posix(old_name, new_name) || rename_over_open(old_name, new_name);
      },
      from, to);
}

LORA_FUNC void rename_folder(const std::filesystem::path& from, const std::filesystem::path& to,
                             std::error_code& error) noexcept {
  with_native(
      error,
      [](const wchar_t* old_name, const wchar_t* new_name) {
        const bool was_there = ::RemoveDirectoryW(new_name) != 0;  // if it is an empty folder
        if (::MoveFileExW(old_name, new_name, MOVEFILE_WRITE_THROUGH) != 0) return true;
        const DWORD reason = ::GetLastError();
        if (was_there) ::CreateDirectoryW(new_name, nullptr);
        ::SetLastError(reason);
        return false;
      },
      from, to);
}

LORA_FUNC void add_name(const std::filesystem::path& file, const std::filesystem::path& name,
                        std::error_code& error) noexcept {
  with_native(
      error,
      [](const wchar_t* old_name, const wchar_t* new_name) { return ::CreateHardLinkW(new_name, old_name, nullptr) != 0; },
      file, name);
}

LORA_FUNC void remove_file(const std::filesystem::path& path, std::error_code& error) noexcept {
  with_native(
      error, [](const wchar_t* name) { return remove_as_posix(name) || remove_aside(name); }, path);
}

LORA_FUNC void make_folder(const std::filesystem::path& path, std::filesystem::perms, std::error_code& error) noexcept {
  with_native(
      error, [](const wchar_t* name) { return ::CreateDirectoryW(name, nullptr) != 0; }, path);
}

LORA_FUNC void remove_empty_folder(const std::filesystem::path& path) noexcept {
  std::error_code ignored;
  with_native(
      ignored, [](const wchar_t* name) { return ::RemoveDirectoryW(name) != 0; }, path);
}

LORA_FUNC std::uint64_t process_number() noexcept { return ::GetCurrentProcessId(); }

}  // namespace io::detail
namespace io {

LORA_FUNC std::string utf8_text(const std::filesystem::path& path) {
  const std::wstring wide = path.generic_wstring();
  const int length = static_cast<int>(std::min<std::size_t>(wide.size(), 1 << 16));
  const int size = ::WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<std::size_t>(std::max(size, 0)), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, out.data(), size, nullptr, nullptr);
  return out;
}

LORA_FUNC std::filesystem::path utf8_path(std::string_view text) {
  const int length = static_cast<int>(std::min<std::size_t>(text.size(), 1 << 16));
  const int size = ::MultiByteToWideChar(CP_UTF8, 0, text.data(), length, nullptr, 0);
  std::wstring out(static_cast<std::size_t>(std::max(size, 0)), L'\0');
  ::MultiByteToWideChar(CP_UTF8, 0, text.data(), length, out.data(), size);
  return out;
}

}  // namespace io
LORA_NAMESPACE_END

#endif
