// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/gguf.hpp"
#include "lora/io/safetensors/safetensors.hpp"

#include <variant>

LORA_NAMESPACE_BEGIN
namespace io {

/// A file with tensors, safetensors or GGUF, open for reading and completely checked.
///
/// A quantised tensor of a GGUF file is listed as the bytes it is: U8, its last dimension the bytes of a row.
/// read_matrix gives its numbers.
class TensorFile {
 public:
  /// A GGUF file is told by its first bytes, unless it is called .safetensors. Throws FileError; also for a GGUF file
  /// with bytes after its data.
  static TensorFile open(const std::filesystem::path& path);

  /// Where it is, and the file itself.
  const std::filesystem::path& path() const { return file().path(); }
  const InputFile& file() const;

  /// The file itself, or null when it is of the other kind.
  const Safetensors* safetensors() const { return std::get_if<Safetensors>(&file_); }
  const Gguf* gguf() const { return std::get_if<Gguf>(&file_); }

  /// In the order of their data; begin and end count from where the data begins.
  const std::vector<TensorInfo>& tensors() const;

  /// The tensor of exactly that name, or null.
  const TensorInfo* find(std::string_view name) const;

  /// "BF16"; of a GGUF file's tensor ggml's name: "Q4_K".
  std::string_view type_name(const TensorInfo& tensor) const;

  /// Whether it is one of a GGUF file's that is stored in blocks.
  bool is_quantized(const TensorInfo& tensor) const;

  /// Key to value, in the order of the file; of a GGUF file values are written out, and lists as "1000 x string".
  Metadata metadata() const;

  /// Where a tensor's data begins in the file, and the data itself.
  std::uint64_t file_offset(const TensorInfo& tensor) const { return data_begin() + tensor.begin; }
  std::uint64_t data_begin() const;

  /// The size of all tensors.
  std::uint64_t data_bytes() const;

  /// Copies `into.size()` bytes of a tensor, from byte `offset` of it on. Throws FileError.
  void read(const TensorInfo& tensor, std::uint64_t offset, std::span<std::byte> into) const;

  /// A tensor of two dimensions as a matrix, or of one as a vector: see Safetensors and Gguf.
  template <class T>
  Matrix<T> read_matrix(const TensorInfo& tensor) const {
    if (const Gguf* const from = gguf()) return from->template read_matrix<T>(from->tensor(tensor.name));
    return safetensors()->template read_matrix<T>(tensor);
  }
  template <class T>
  Eigen::Matrix<T, Eigen::Dynamic, 1> read_vector(const TensorInfo& tensor) const {
    if (const Gguf* const from = gguf()) return from->template read_vector<T>(from->tensor(tensor.name));
    return safetensors()->template read_vector<T>(tensor);
  }

  /// Part of a file: [begin, end).
  struct Part {
    std::uint64_t begin, end;  ///< bytes from the beginning of the file
  };

  /// The parts that are no tensor's, in the order of the file: the header, and padding.
  std::vector<Part> frame() const;

 private:
  explicit TensorFile(Safetensors file) : file_(std::move(file)) {}
  explicit TensorFile(Gguf file);

  std::variant<Safetensors, Gguf> file_;
  std::vector<TensorInfo> infos_;  // of a GGUF file
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/tensor_file-inl.hpp"
#endif
