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
  explicit OutputFolder(std::filesystem::path target, Sync sync = Sync::yes);
  OutputFolder(OutputFolder&& other) noexcept
      : target_(std::move(other.target_)),
        temporary_(std::exchange(other.temporary_, {})),
        sync_(other.sync_),
        mode_(other.mode_) {}
  OutputFolder& operator=(OutputFolder&&) = delete;
  ~OutputFolder();

  /// The name the folder will have.
  const std::filesystem::path& path() const { return target_; }

  /// Where a file of it, `relative` to the folder, is to be written; makes the folders between. Throws FileError.
  std::filesystem::path place(const std::filesystem::path& relative) const;

  /// The folder takes its name, once its files have been committed. Throws FileError; the target is then as it was.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  Sync sync_;
  unsigned mode_ = 0777;  // of the folder that is replaced; of a new one, less the umask
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/file/output_folder-inl.hpp"
#endif
