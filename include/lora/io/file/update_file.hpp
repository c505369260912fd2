// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// A regular file whose bytes are changed where they lie, by one program at a time: it is locked (flock) as long as the
/// object lives, and the system lets go of the lock when the process ends, however it does. read and write_at may run
/// on several threads at once.
class UpdateFile {
 public:
  /// Throws FileError when the file cannot be written to, is a symbolic link or has other names (which would change
  /// with it), or when another UpdateFile has it.
  explicit UpdateFile(std::filesystem::path path, Sync sync = Sync::yes);

  /// Whether an UpdateFile has the file now.
  static bool is_locked(const std::filesystem::path& path);

  /// Where it is, as it was given.
  const std::filesystem::path& path() const { return path_; }

  /// In bytes; it does not change.
  std::uint64_t size() const { return size_; }

  /// Copies bytes from `offset` on. Throws FileError.
  void read(std::uint64_t offset, std::span<std::byte> into) const;

  /// Replaces bytes of the file; whether they have come to the disk is not known before flush(). Throws FileError, also
  /// for bytes beyond its end; some may be replaced then.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Puts what was written on disk. Throws FileError. Nothing with Sync::no.
  void flush();

 private:
  void expect_within(std::uint64_t offset, std::size_t size) const;

  std::filesystem::path path_;
  detail::Descriptor file_;
  std::uint64_t size_ = 0;
  Sync sync_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/file/update_file-inl.hpp"
#endif
