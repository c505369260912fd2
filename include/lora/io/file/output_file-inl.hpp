// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

LORA_FUNC std::filesystem::path name_beside(const std::filesystem::path& target, std::string_view kind) {
  static std::atomic<unsigned> number{0};
  std::filesystem::path name = target;
  name += text(".", kind, "-", process_number(), "-", number.fetch_add(1, std::memory_order_relaxed));
  return name;
}

LORA_FUNC std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

LORA_FUNC void fail_to_create(const std::filesystem::path& target, const std::filesystem::path& shown,
                              std::error_code reason) {
  std::error_code ignored;
  if (reason == std::errc::no_such_file_or_directory && !std::filesystem::exists(folder_of(target), ignored))
    fail_system(shown, text("cannot create it: there is no folder ", in_quotes(utf8_text(folder_of(shown)))), reason);
  fail_system(shown, "cannot create it", reason);
}

}  // namespace detail

LORA_FUNC OutputFile::OutputFile(std::filesystem::path target, Sync sync, std::filesystem::path shown)
    : target_(std::move(target)), shown_(shown.empty() ? target_ : std::move(shown)), sync_(sync) {
  if (!target_.has_filename()) detail::fail(shown_, "expected the name of a file to write, found a folder");
  // Links are followed for what they protect: one to a file may be replaced, one to a folder or device may not.
  std::error_code error;
  const detail::FileStatus status = detail::status_of(target_, error);
  const bool exists = !error;
  if (exists && !status.is_file)
    detail::fail(shown_, "cannot write: expected a regular file, found ", status.kind(), " of that name");
  if (exists && status.is_write_protected) detail::fail(shown_, "cannot write: the file is write-protected");
  create();
  if (!exists) return;
  detail::set_permissions(file_, status.permissions, error);
  if (error) {
    discard();
    detail::fail_system(shown_, "cannot set the permissions", error);
  }
}

LORA_FUNC void OutputFile::write(std::span<const std::byte> bytes) {
  write_at(position_, bytes);
  position_ += bytes.size();
}

LORA_FUNC void OutputFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (temporary_.empty())
    throw StateError(detail::text("lora: ", printable(utf8_text(shown_)), ": written after commit"));
  is_on_disk_.store(false, std::memory_order_relaxed);
  while (!bytes.empty()) {
    std::error_code error;
    const std::size_t count = detail::write_at(file_, offset, bytes, error);
    if (error) detail::fail_system(shown_, "cannot write", error);
    // The disk begins at once with what flush() would otherwise have to wait for as a whole.
    if (sync_ == Sync::yes && count >= early_bytes) detail::begin_to_sync(file_, offset, count);
    offset += count;
    bytes = bytes.subspan(count);
  }
}

LORA_FUNC void OutputFile::flush() {
  if (sync_ == Sync::no || is_on_disk_) return;
  std::error_code error;
  detail::sync(file_, error);
  if (error) detail::fail_system(shown_, "cannot put on disk", error);
  is_on_disk_ = true;
}

LORA_FUNC void OutputFile::commit() {
  prepare_commit();
  rename();
}

LORA_FUNC void OutputFile::create() {
  std::error_code error;
  for (int tries = 0; tries < 1000; ++tries) {
    std::filesystem::path name = detail::name_beside(target_, "tmp");
    file_ = detail::create_file(name, error);
    if (!error) {
      temporary_ = std::move(name);
      return;
    }
    if (error != std::errc::file_exists) break;
  }
  detail::fail_to_create(target_, shown_, error);
}

LORA_FUNC void OutputFile::prepare_commit() {
  if (temporary_.empty()) throw StateError(detail::text("lora: ", printable(utf8_text(shown_)), ": committed twice"));
  flush();
}

LORA_FUNC void OutputFile::rename() {
  std::error_code error;
  detail::rename_file(temporary_, target_, error);
  if (error) detail::fail_system(shown_, "cannot rename", error);
  temporary_.clear();
  file_ = detail::Descriptor();  // Windows lets nobody rename the folder of a file that is open
  // The file is in place whatever this says: some file systems cannot sync a folder.
  if (sync_ == Sync::yes) detail::sync_folder(detail::folder_of(target_));
}

LORA_FUNC void OutputFile::keep_old() {
  std::error_code error;
  for (int tries = 0; tries < 1000; ++tries) {
    std::filesystem::path name = detail::name_beside(target_, "old");
    detail::add_name(target_, name, error);
    if (error && error != std::errc::file_exists && error != std::errc::no_such_file_or_directory)
      detail::rename_file(target_, name, error);
    if (!error) {
      old_ = std::move(name);
      return;
    }
    if (error == std::errc::no_such_file_or_directory) return;
    if (error != std::errc::file_exists) break;
  }
  detail::fail_system(shown_, "cannot keep the old file beside it", error);
}

LORA_FUNC void OutputFile::take_back() noexcept {
  const bool is_in_place = temporary_.empty();
  std::error_code ignored;
  if (!old_.empty()) {
    detail::rename_file(old_, target_, ignored);
    detail::remove_file(old_, ignored);  // still there when both names were the same file's
  } else if (is_in_place) {
    detail::remove_file(target_, ignored);
  }
  old_.clear();
}

LORA_FUNC void OutputFile::forget_old() noexcept {
  std::error_code ignored;
  if (!old_.empty()) detail::remove_file(old_, ignored);
  old_.clear();
}

LORA_FUNC void OutputFile::discard() noexcept {
  std::error_code ignored;
  file_ = detail::Descriptor();  // on Windows the name of a file that is open may stay until it is closed
  if (!temporary_.empty()) detail::remove_file(temporary_, ignored);
  temporary_.clear();
}

}  // namespace io
LORA_NAMESPACE_END
