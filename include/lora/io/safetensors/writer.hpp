// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/coverage.hpp"
#include "lora/io/file/output_file.hpp"
#include "lora/io/safetensors/header.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes a safetensors file piece by piece, in any order, without holding it in memory. The file appears under its
/// name with commit(), see OutputFile; until then, and without it, the target is as it was. write_at may run on several
/// threads at once, everything else on one.
class SafetensorsWriter {
 public:
  /// A file with this header, byte for byte: of another file (`Safetensors::header()`), or SafetensorsHeader::make's.
  /// Messages call it `shown`, see OutputFile. Throws FileError.
  SafetensorsWriter(std::filesystem::path target, SafetensorsHeader header, Sync sync = Sync::yes,
                    std::filesystem::path shown = {});

  /// A file with these tensors (name, dtype, shape), one after the other in this order. Throws FileError.
  SafetensorsWriter(const std::filesystem::path& target, std::span<const TensorInfo> tensors,
                    const Metadata& metadata = {}, Sync sync = Sync::yes)
      : SafetensorsWriter(target, SafetensorsHeader::make(target, tensors, metadata), sync) {}

  /// Its name once it is committed.
  const std::filesystem::path& path() const { return file_.path(); }
  const SafetensorsHeader& header() const { return header_; }

  /// Writes the next bytes of the data, tensor after tensor. Throws FileError when they are more than the tensors have.
  void write(std::span<const std::byte> bytes);

  /// Writes at `offset` from the beginning of the data (`TensorInfo::begin`); what is written twice is replaced.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Puts everything on disk, without renaming; see OutputFile::flush.
  void flush();

  /// The file takes its name. Throws FileError when a byte was never written, or the system refuses; the target is then
  /// as it was.
  void commit();

 private:
  void expect_complete() const;

  SafetensorsHeader header_;
  OutputFile file_;
  std::uint64_t next_ = 0;
  detail::Coverage written_;  // of the data
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/safetensors/writer-inl.hpp"
#endif
