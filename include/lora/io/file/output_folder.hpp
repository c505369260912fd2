// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// A folder that appears under its name only when it is complete.
///
/// Files are written into `<name>.tmp-<process>-<number>` beside the target; `commit` renames it. Without a commit the
/// destructor removes it with all that is in it, and the target is as it was.
class OutputFolder {
 public:
  /// Throws FileError when the target exists and is not an empty folder, or the folder it lies in cannot be written to. An
  /// empty folder is replaced, by one of its permissions.
  explicit OutputFolder(std::filesystem::path target, Sync sync = Sync::yes) : target_(std::move(target)), sync_(sync) {
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
      mode_ = static_cast<mode_t>(found.permissions()) & 0777;
    }
    for (int tries = 0; tries < 1000; ++tries) {
      std::filesystem::path name = detail::name_beside(target_, "tmp");
      if (::mkdir(name.c_str(), mode_ | 0700) == 0) {
        temporary_ = std::move(name);
        return;
      }
      if (errno != EEXIST) break;
    }
    detail::fail_to_create(target_, target_, errno);
  }
  OutputFolder(OutputFolder&& other) noexcept
      : target_(std::move(other.target_)),
        temporary_(std::exchange(other.temporary_, {})),
        sync_(other.sync_),
        mode_(other.mode_) {}
  OutputFolder& operator=(OutputFolder&&) = delete;
  ~OutputFolder() {
    std::error_code ignored;
    if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
  }

  /// The name the folder will have.
  const std::filesystem::path& path() const { return target_; }

  /// Where a file of it, `relative` to the folder, is to be written; makes the folders between. Throws FileError.
  std::filesystem::path place(const std::filesystem::path& relative) const {
    std::filesystem::path whole = temporary_ / relative;
    std::error_code error;
    std::filesystem::create_directories(whole.parent_path(), error);
    if (error) detail::fail_system(whole.parent_path(), "cannot create the folder", error.value());
    return whole;
  }

  /// The folder takes its name, once its files have been committed. Throws FileError; the target is then as it was.
  void commit() {
    if (temporary_.empty()) throw StateError(detail::text("lora: ", printable(target_.string()), ": committed twice"));
    if (sync_ == Sync::yes) {
      detail::sync_folder(temporary_);
      std::error_code ignored;
      for (const auto& entry : std::filesystem::recursive_directory_iterator(temporary_, ignored))
        if (entry.is_directory(ignored)) detail::sync_folder(entry.path());
    }
    if (mode_ != 0777) ::chmod(temporary_.c_str(), mode_);  // as the folder it replaces
    // An empty folder is replaced; one that has got a file since is not.
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) detail::fail_system(target_, "cannot rename", errno);
    temporary_.clear();
    if (sync_ == Sync::yes) detail::sync_folder(detail::folder_of(target_));
  }

 private:
  std::filesystem::path target_, temporary_;
  Sync sync_;
  mode_t mode_ = 0777;  // of the folder that is replaced; of a new one, less the umask
};

}  // namespace io
LORA_NAMESPACE_END
