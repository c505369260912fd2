// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/coverage.hpp"
#include "lora/io/file/output_file.hpp"
#include "lora/io/model/tensor_file.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes a file that has everything of another one but the numbers in its tensors: header and padding byte for byte.
/// It appears under its name with commit(), see OutputFile. write_at may run on several threads at once, everything
/// else on one.
class TensorFileWriter {
 public:
  /// Messages call the file `shown`, see OutputFile. Throws FileError.
  TensorFileWriter(std::filesystem::path target, const TensorFile& like, Sync sync = Sync::yes,
                   std::filesystem::path shown = {});

  /// A safetensors file with this header, whose tensors write_at then takes.
  TensorFileWriter(std::filesystem::path target, const SafetensorsHeader& header, Sync sync = Sync::yes,
                   std::filesystem::path shown = {});

  /// Its name once it is committed.
  const std::filesystem::path& path() const { return file_.path(); }

  /// Writes bytes of a tensor of the other file, from byte `offset` of it on; what is written twice is replaced. Throws
  /// FileError, also when the tensor has not as many.
  void write_at(const TensorInfo& tensor, std::uint64_t offset, std::span<const std::byte> bytes);

  /// Puts everything on disk, without renaming; see OutputFile::flush.
  void flush();

  /// The file takes its name. Throws FileError when a byte was never written, or the system refuses; the target is then
  /// as it was.
  void commit();

 private:
  void write(std::uint64_t offset, std::span<const std::byte> bytes);
  void expect_complete() const;

  std::filesystem::path shown_;
  std::vector<TensorInfo> tensors_;
  std::uint64_t data_begin_, size_;
  OutputFile file_;
  detail::Coverage written_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/tensor_file_writer-inl.hpp"
#endif
