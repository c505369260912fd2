// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_folder.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC OutputFolder::OutputFolder(std::filesystem::path target, Sync sync)
    : target_(std::move(target)), sync_(sync) {
  if (!target_.has_filename()) target_ = target_.parent_path();  // "folder/"
  if (const auto last = target_.filename(); last.empty() || last == "." || last == "..")
    detail::fail(target_, "expected the name of a folder to write, found one that has none");
  std::error_code error;
  const std::filesystem::file_status found = std::filesystem::symlink_status(target_, error);
  if (std::filesystem::exists(found)) {
    if (!std::filesystem::is_directory(found))
      detail::fail(target_, "expected a new name or an empty folder to write a folder to, found something else");
    if (!std::filesystem::is_empty(target_, error) || error)
      detail::fail(target_, "expected a new name or an empty folder, found a folder that is not empty");
    mode_ = static_cast<unsigned>(found.permissions()) & 0777;
  }
  for (int tries = 0; tries < 1000; ++tries) {
    std::filesystem::path name = detail::name_beside(target_, "tmp");
    detail::make_folder(name, std::filesystem::perms(mode_ | 0700), error);
    if (!error) {
      temporary_ = std::move(name);
      return;
    }
    if (error != std::errc::file_exists) break;
  }
  detail::fail_to_create(target_, target_, error);
}

LORA_FUNC OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

LORA_FUNC std::filesystem::path OutputFolder::place(const std::filesystem::path& relative) const {
  std::filesystem::path whole = temporary_ / relative;
  std::error_code error;
  std::filesystem::create_directories(whole.parent_path(), error);
  if (error) detail::fail_system(whole.parent_path(), "cannot create the folder", error);
  return whole;
}

LORA_FUNC void OutputFolder::commit() {
  if (temporary_.empty()) throw StateError(detail::text("lora: ", printable(utf8_text(target_)), ": committed twice"));
  if (sync_ == Sync::yes) {
    detail::sync_folder(temporary_);
    std::error_code ignored;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(temporary_, ignored))
      if (entry.is_directory(ignored)) detail::sync_folder(entry.path());
  }
  std::error_code error;
  if (mode_ != 0777)  // as the folder it replaces
    std::filesystem::permissions(temporary_, std::filesystem::perms(mode_), error);
  // An empty folder is replaced; one that has got a file since is not.
  detail::rename_folder(temporary_, target_, error);
  if (error) detail::fail_system(target_, "cannot rename", error);
  temporary_.clear();
  if (sync_ == Sync::yes) detail::sync_folder(detail::folder_of(target_));
}

}  // namespace io
LORA_NAMESPACE_END
