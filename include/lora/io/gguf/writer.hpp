// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_file.hpp"
#include "lora/io/gguf/header.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes a GGUF file, version 3, without holding its data in memory: the tensors one after the other, padded as
/// `general.alignment` says. The file appears under its name with commit(), see OutputFile; until then, and without it,
/// the target is as it was.
///
///     io::GgufWriter writer("a.gguf", {{"w", io::GgmlType::F32, {rows, cols}}}, {{"general.architecture", "llama"}});
///     writer.write(bytes);
///     writer.commit();
class GgufWriter {
 public:
  /// A file with these tensors (name, type, shape), one after the other in this order, and these values. Throws
  /// FileError when a reader would not take them: names and keys that occur twice or are not UTF-8, rows that are not
  /// whole blocks ...
  GgufWriter(const std::filesystem::path& target, std::span<const GgufTensor> tensors, const GgufMetadata& metadata,
             Sync sync = Sync::yes)
      : GgufWriter(target, detail::gguf_header_bytes(target, tensors, metadata), sync) {}
  GgufWriter(const std::filesystem::path& target, std::initializer_list<GgufTensor> tensors,
             const GgufMetadata& metadata, Sync sync = Sync::yes)
      : GgufWriter(target, std::span(tensors.begin(), tensors.size()), metadata, sync) {}

  /// Its name once it is committed.
  const std::filesystem::path& path() const { return file_.path(); }
  const GgufHeader& header() const { return header_; }

  /// Writes the next bytes of the data, tensor after tensor; padding comes by itself. Throws FileError when they are
  /// more than the tensors have.
  void write(std::span<const std::byte> bytes);

  /// Puts everything on disk, without renaming; see OutputFile::flush.
  void flush();

  /// The file takes its name. Throws FileError when a byte was never written, or the system refuses; the target is then
  /// as it was.
  void commit();

 private:
  GgufWriter(const std::filesystem::path& target, const detail::GgufHeaderBytes& header, Sync sync);
  // Goes on to the next tensor with something to write, padding written.
  void finish_tensors();
  void expect_complete() const;

  GgufHeader header_;
  OutputFile file_;
  std::size_t tensor_ = 0;    // the one that is being written
  std::uint64_t within_ = 0;  // how much of it has been
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/writer-inl.hpp"
#endif
