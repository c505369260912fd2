// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files and folders that are put back as they were unless all goes well. For bodies (-inl.hpp).

#include "lora/io/file/output_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A file that is about to be replaced, moved aside. Unless it is let go, the destructor puts it back, or removes what
/// has come in its place.
class ReplacedFile {
 public:
  /// Throws FileError.
  explicit ReplacedFile(std::filesystem::path path) : path_(std::move(path)) {
    do aside_ = name_beside(path_, "old");
    while (has_entry(aside_));  // left by a process of this number that was killed
    std::error_code error;
    rename_file(path_, aside_, error);
    existed_ = !error;
    if (error && error != std::errc::no_such_file_or_directory) fail_system(path_, "cannot move aside", error);
  }
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;
  ~ReplacedFile() {
    if (is_let_go_) return;
    std::error_code ignored;
    if (existed_)
      rename_file(aside_, path_, ignored);
    else
      remove_file(path_, ignored);
  }
  void let_go() {
    is_let_go_ = true;
    std::error_code ignored;
    if (existed_) remove_file(aside_, ignored);
  }

 private:
  std::filesystem::path path_, aside_;
  bool existed_ = false, is_let_go_ = false;
};

/// A folder, made where there is none. Unless it is kept, the destructor removes one that was made.
class FolderToFill {
 public:
  /// Throws FileError when there is no folder and none can be made.
  explicit FolderToFill(std::filesystem::path path) : path_(std::move(path)) {
    if (!path_.has_filename()) path_ = path_.parent_path();  // "folder/"
    std::error_code error;
    is_new_ = std::filesystem::create_directory(path_, error);
    std::error_code ignored;
    if (!std::filesystem::is_directory(path_, ignored))
      fail(path_, "cannot make the folder: ", error ? error.message() : "a file of that name exists");
  }
  FolderToFill(const FolderToFill&) = delete;
  FolderToFill& operator=(const FolderToFill&) = delete;
  ~FolderToFill() {
    if (is_new_) remove_empty_folder(path_);
  }
  void keep() {
    if (is_new_) sync_folder(folder_of(path_));
    is_new_ = false;
  }

 private:
  std::filesystem::path path_;
  bool is_new_ = false;
};

}  // namespace io::detail
LORA_NAMESPACE_END
