// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_file.hpp"
#include "lora/io/file/posix.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC std::filesystem::path name_beside(const std::filesystem::path& target, std::string_view kind) {
  static std::atomic<unsigned> number{0};
  std::filesystem::path name = target;
  name += text(".", kind, "-", ::getpid(), "-", number.fetch_add(1, std::memory_order_relaxed));
  return name;
}

LORA_FUNC std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

LORA_FUNC void fail_to_create(const std::filesystem::path& target, const std::filesystem::path& shown, int reason) {
  std::error_code ignored;
  if (reason == ENOENT && !std::filesystem::exists(folder_of(target), ignored))
    fail_system(shown, text("cannot create it: there is no folder ", in_quotes(folder_of(shown).string())), reason);
  fail_system(shown, "cannot create it", reason);
}

LORA_FUNC void sync_folder(const std::filesystem::path& folder) {
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (directory.get() >= 0) ::fsync(directory.get());
}

}  // namespace detail

LORA_FUNC OutputFile::OutputFile(std::filesystem::path target, Sync sync, std::filesystem::path shown)
    : target_(std::move(target)), shown_(shown.empty() ? target_ : std::move(shown)), sync_(sync) {
  if (!target_.has_filename()) detail::fail(shown_, "expected the name of a file to write, found a folder");
  struct stat status {};
  const bool replaces = ::lstat(target_.c_str(), &status) == 0;
  // Followed for what it protects: a link to a file may be replaced, a link to a folder or device may not.
  const bool exists = replaces && ::stat(target_.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode))
    detail::fail(shown_, "cannot write: expected a regular file, found ", detail::kind_text(status), " of that name");
  if (exists && ((status.st_mode & 0222) == 0 || ::access(target_.c_str(), W_OK) != 0))
    detail::fail(shown_, "cannot write: the file is write-protected");
  create();
  if (exists && ::fchmod(file_.get(), status.st_mode & 0777) != 0) {
    const int reason = errno;
    discard();
    detail::fail_system(shown_, "cannot set the permissions", reason);
  }
}

LORA_FUNC void OutputFile::write(std::span<const std::byte> bytes) {
  write_at(position_, bytes);
  position_ += bytes.size();
}

LORA_FUNC void OutputFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (temporary_.empty())
    throw StateError(detail::text("lora: ", printable(shown_.string()), ": written after commit"));
  is_on_disk_.store(false, std::memory_order_relaxed);
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) detail::fail_system(shown_, "cannot write", errno);
#if defined(__linux__)
    // The disk begins at once with what flush() would otherwise have to wait for as a whole.
    if (sync_ == Sync::yes && static_cast<std::size_t>(count) >= early_bytes)
      ::sync_file_range(file_.get(), static_cast<off_t>(offset), count, SYNC_FILE_RANGE_WRITE);
#endif
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

LORA_FUNC void OutputFile::flush() {
  if (sync_ == Sync::no || is_on_disk_) return;
  if (::fsync(file_.get()) != 0) detail::fail_system(shown_, "cannot put on disk", errno);
  is_on_disk_ = true;
}

LORA_FUNC void OutputFile::commit() {
  prepare_commit();
  rename();
}

LORA_FUNC void OutputFile::create() {
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

LORA_FUNC void OutputFile::prepare_commit() {
  if (temporary_.empty()) throw StateError(detail::text("lora: ", printable(shown_.string()), ": committed twice"));
  flush();
}

LORA_FUNC void OutputFile::rename() {
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) detail::fail_system(shown_, "cannot rename", errno);
  temporary_.clear();
  // The file is in place whatever this says: some file systems cannot sync a folder.
  if (sync_ == Sync::yes) detail::sync_folder(detail::folder_of(target_));
}

LORA_FUNC void OutputFile::keep_old() {
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

LORA_FUNC void OutputFile::take_back() noexcept {
  const bool is_in_place = temporary_.empty();
  if (!old_.empty()) {
    ::rename(old_.c_str(), target_.c_str());
    ::unlink(old_.c_str());  // still there when both names were the same file's
  } else if (is_in_place) {
    ::unlink(target_.c_str());
  }
  old_.clear();
}

LORA_FUNC void OutputFile::forget_old() noexcept {
  if (!old_.empty()) ::unlink(old_.c_str());
  old_.clear();
}

LORA_FUNC void OutputFile::discard() noexcept {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

}  // namespace io
LORA_NAMESPACE_END
