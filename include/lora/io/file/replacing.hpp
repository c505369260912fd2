// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files and folders that are put back as they were unless all goes well. For bodies (-inl.hpp).

#include "lora/io/file/output_file.hpp"
#include "lora/io/file/posix.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A file that is about to be replaced, moved aside. Unless it is let go, the destructor puts it back, or removes what
/// has come in its place.
class ReplacedFile {
 public:
  /// Throws FileError.
  explicit ReplacedFile(std::filesystem::path path) : path_(std::move(path)) {
    struct stat taken {};
    do aside_ = name_beside(path_, "old");
    while (::lstat(aside_.c_str(), &taken) == 0);  // left by a process of this number that was killed
    if (::rename(path_.c_str(), aside_.c_str()) == 0)
      existed_ = true;
    else if (errno != ENOENT)
      fail_system(path_, "cannot move aside", errno);
  }
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;
  ~ReplacedFile() {
    if (is_let_go_) return;
    if (existed_)
      ::rename(aside_.c_str(), path_.c_str());
    else
      ::unlink(path_.c_str());
  }
  void let_go() {
    is_let_go_ = true;
    if (existed_) ::unlink(aside_.c_str());
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
    if (is_new_) ::rmdir(path_.c_str());
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
