// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"
#include "lora/io/file/system.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// A text's bytes. (Not every library makes a span of a string_view.)
inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace detail

/// A regular file, open for reading.
///
/// Its bytes are copied out, never mapped: reading beyond the end of a mapping that somebody has shortened ends the
/// program with a signal, where a read ends in an exception. Replacing the file by renaming another one over it (as
/// OutputFile does) is harmless: the old one stays readable.
class InputFile {
 public:
  /// Throws FileError when the file cannot be opened, or is not a regular file.
  explicit InputFile(std::filesystem::path path);

  /// Where it is, as it was given.
  const std::filesystem::path& path() const { return path_; }

  /// In bytes, when it was opened.
  std::uint64_t size() const { return size_; }

  /// Copies `into.size()` bytes from `offset` on. May run on several threads at once. Throws FileError when the file
  /// ends before or cannot be read.
  void read(std::uint64_t offset, std::span<std::byte> into) const;

  /// Throws FileError when the file was written to or cut since it was opened (its size or time of change differs).
  void expect_unchanged() const;

 private:
  std::filesystem::path path_;
  detail::Descriptor file_;
  std::uint64_t size_ = 0;
  std::pair<std::int64_t, std::int64_t> changed_{};
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/file/input_file-inl.hpp"
#endif
