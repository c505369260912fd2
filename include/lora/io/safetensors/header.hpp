// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The header of a safetensors file: u64 length (little-endian), then a JSON object name -> {dtype, shape,
/// data_offsets} with an optional "__metadata__" of strings, then the data. Read and checked completely before anything
/// is believed.

#include "lora/io/error.hpp"
#include "lora/io/safetensors/tensor_info.hpp"

#include <cstddef>

LORA_NAMESPACE_BEGIN
namespace io {

/// A safetensors header that has passed every check.
class SafetensorsHeader {
 public:
  /// A larger header is refused, as by other readers.
  static constexpr std::uint64_t max_header_bytes = 100'000'000;

  /// Checks `raw` (length prefix and JSON) against a file of `file_size` bytes; `file` names it in messages. The JSON
  /// is strict and repeats no name; shapes and types give exactly the bytes of the offsets (checked arithmetic, zero
  /// extents allowed); in offset order the tensors cover the data from 0 to its end without gap or overlap. Time n log
  /// n, memory a small multiple of the header. Throws FileError.
  static SafetensorsHeader parse(const std::filesystem::path& file, std::string raw, std::uint64_t file_size);

  /// The header for new tensors, one after the other in the order given (offsets are set here), padded with spaces so
  /// that the data begins at a multiple of 8. `file` names it in messages. Throws FileError when a name is given twice
  /// or is not UTF-8, or a size overflows.
  static SafetensorsHeader make(const std::filesystem::path& file, std::span<const TensorInfo> tensors,
                                const Metadata& metadata = {});

  /// Throws FileError unless `raw`, the first bytes of a file, holds a header length that fits the file.
  static void expect_length(const std::filesystem::path& file, std::string_view raw, std::uint64_t file_size);
  /// The header's length as its first 8 bytes say.
  static std::uint64_t length(std::string_view raw);

  /// In the order of their data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// The strings of `__metadata__`, in the order of the file.
  const Metadata& metadata() const { return metadata_; }

  /// Length prefix and JSON, byte for byte.
  std::span<const std::byte> raw() const { return std::as_bytes(std::span(raw_)); }

  /// The size of all data.
  std::uint64_t data_bytes() const { return tensors_.empty() ? 0 : tensors_.back().end; }

  /// The tensor of exactly that name, or null.
  const TensorInfo* find(std::string_view tensor) const;

 private:
  void check(const std::filesystem::path& file, std::uint64_t data_size);

  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
  std::vector<std::uint32_t> by_name_;
  std::string raw_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/safetensors/header-inl.hpp"
#endif
