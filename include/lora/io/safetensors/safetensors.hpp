// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/input_file.hpp"
#include "lora/io/file/matrix_reader.hpp"
#include "lora/io/safetensors/header.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// A safetensors file, open for reading and completely checked. Tensors of F16, BF16, F32 and F64 are read as matrices
/// (MatrixReader).
class Safetensors : public detail::MatrixReader<Safetensors> {
 public:
  /// Opens and checks. Throws FileError naming the file, the tensor, what was expected and what was found.
  static Safetensors open(const std::filesystem::path& path);

  /// Where it is, the file itself, and its header.
  const std::filesystem::path& path() const { return file_.path(); }
  const InputFile& file() const { return file_; }
  const SafetensorsHeader& header() const { return header_; }

  /// In the order of their data.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors(); }

  /// String to string, in the order of the file.
  const Metadata& metadata() const { return header_.metadata(); }

  /// The tensor of exactly that name, or null.
  const TensorInfo* find(std::string_view name) const { return header_.find(name); }

  /// The same; throws FileError when there is none.
  const TensorInfo& tensor(std::string_view name) const;

  /// Where a tensor's data begins in the file.
  std::uint64_t file_offset(const TensorInfo& tensor) const { return header_.raw().size() + tensor.begin; }

  /// Copies `into.size()` bytes of a tensor, from byte `offset` of it on. Throws FileError when the file became
  /// shorter.
  void read(const TensorInfo& tensor, std::uint64_t offset, std::span<std::byte> into) const;

 private:
  friend class detail::MatrixReader<Safetensors>;

  Safetensors(InputFile file, SafetensorsHeader header) : file_(std::move(file)), header_(std::move(header)) {}

  /// Throws FileError unless the tensor has a scalar type and as many dimensions.
  void expect_dimensions(const TensorInfo& tensor, std::size_t count) const;

  /// All elements, converted to `type`.
  void read_elements(const TensorInfo& tensor, ScalarType type, void* out) const;

  InputFile file_;
  SafetensorsHeader header_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/safetensors/safetensors-inl.hpp"
#endif
