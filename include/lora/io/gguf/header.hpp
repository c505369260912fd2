// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The header of a GGUF file, version 2 or 3, little-endian: the magic "GGUF", u32 version, u64 number of tensors, u64
/// number of metadata values; the values (key, type, value); the tensors (name, dimensions, type, offset); padding;
/// then the data, aligned by `general.alignment` (32 when absent). Source: docs/gguf.md of ggml. Read and checked
/// completely before anything is believed.

#include "lora/io/error.hpp"
#include "lora/io/gguf/tensor.hpp"
#include "lora/io/gguf/value.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// A GGUF header that has passed every check.
class GgufHeader : public GgufLimits {
 public:
  /// How a file's bytes are read.
  using Read = GgufRead;

  /// Reads and checks the header of a file of `file_size` bytes; `file` names it in messages. Keys and names occur once
  /// and are UTF-8, as strings are; nothing is allocated for what the file is too short to hold; shapes and types give
  /// a whole number of blocks (checked arithmetic); in the order of their offsets the tensors follow each other within
  /// the file, each at the next multiple of the alignment, from 0 on. (What follows the last is nobody's, as for
  /// llama.cpp.) Time n log n, memory a small multiple of the header. Throws FileError.
  static GgufHeader parse(const std::filesystem::path& file, std::uint64_t file_size, Read read);

  /// The format's version (2 or 3), and what the data of tensors is aligned to, in bytes.
  std::uint32_t version() const { return version_; }
  std::uint32_t alignment() const { return alignment_; }

  /// Where the data begins in the file.
  std::uint64_t data_begin() const { return data_begin_; }

  /// In the order of their data.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// Key to value, in the order of the file.
  const GgufMetadata& metadata() const { return metadata_; }

  /// The tensor of exactly that name, or null.
  const GgufTensor* find(std::string_view tensor) const;

  /// The value of exactly that key, or null.
  const GgufValue* find_value(std::string_view key) const;

 private:
  GgufHeader() = default;
  void check(const std::filesystem::path& file, std::uint64_t data_size);

  std::uint32_t version_ = 3, alignment_ = 32;
  std::uint64_t data_begin_ = 0;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> by_name_;
};

namespace detail {

/// The next multiple of the alignment, for offsets below 2^63.
constexpr std::uint64_t aligned(std::uint64_t offset, std::uint64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

/// The bytes of a header, padded to where the data begins, and how many bytes of data follow.
struct GgufHeaderBytes {
  std::string bytes;
  std::uint64_t data_bytes = 0;
};

/// The header, version 3, of a file with these tensors, one after the other in this order (their offsets are not looked
/// at). Throws FileError, naming `file`, when a size overflows.
GgufHeaderBytes gguf_header_bytes(const std::filesystem::path& file, std::span<const GgufTensor> tensors,
                                  const GgufMetadata& metadata);

}  // namespace detail
}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/header-inl.hpp"
#endif
