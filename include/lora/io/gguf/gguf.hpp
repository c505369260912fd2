// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/input_file.hpp"
#include "lora/io/file/matrix_reader.hpp"
#include "lora/io/gguf/dequantize.hpp"
#include "lora/io/gguf/header.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// A GGUF file, open for reading and completely checked. Its header is in memory, its data is read when asked for:
/// bytes, or matrices (MatrixReader) of F16, BF16, F32 and F64 and of quantised types (is_readable), which are
/// dequantised to float first.
///
///     const io::Gguf file = io::Gguf::open("model-Q4_K_M.gguf");
///     const auto W = file.read_matrix<float>(file.tensor("blk.0.attn_q.weight"));    // dequantised
class Gguf : public detail::MatrixReader<Gguf> {
 public:
  /// Opens and checks. Throws FileError naming the file, the tensor or key, what was expected and what was found.
  static Gguf open(const std::filesystem::path& path);

  /// Where it is, the file itself, and its header.
  const std::filesystem::path& path() const { return file_.path(); }
  const InputFile& file() const { return file_; }
  const GgufHeader& header() const { return header_; }

  /// In the order of their data.
  const std::vector<GgufTensor>& tensors() const { return header_.tensors(); }

  /// Key to value, in the order of the file.
  const GgufMetadata& metadata() const { return header_.metadata(); }

  /// The tensor of exactly that name, or null.
  const GgufTensor* find(std::string_view name) const { return header_.find(name); }

  /// The same; throws FileError when there is none.
  const GgufTensor& tensor(std::string_view name) const;

  /// The value of a key, or null when there is none; throws FileError when it has another type:
  /// `value<std::string>("general.type")`, `value<float>("adapter.lora.alpha")`.
  template <class T>
  const T* value(std::string_view key) const {
    const GgufValue* const found = header_.find_value(key);
    const T* const value = found == nullptr ? nullptr : std::get_if<T>(found);
    if (found != nullptr && value == nullptr) refuse_type(key, name(GgufValue(T()).type()), *found);
    return value;
  }

  /// A value that is not negative, of any type of integers; nothing when there is none. Throws FileError.
  std::optional<std::uint64_t> unsigned_value(std::string_view key) const;

  /// Where a tensor's data begins in the file.
  std::uint64_t file_offset(const GgufTensor& tensor) const { return header_.data_begin() + tensor.begin; }

  /// Copies `into.size()` bytes of a tensor, from byte `offset` of it on. Throws FileError when the file became
  /// shorter.
  void read(const GgufTensor& tensor, std::uint64_t offset, std::span<std::byte> into) const;

 private:
  friend class detail::MatrixReader<Gguf>;

  Gguf(InputFile file, GgufHeader header) : file_(std::move(file)), header_(std::move(header)) {}

  [[noreturn]] void refuse_type(std::string_view key, std::string_view expected, const GgufValue& found) const;

  /// Throws FileError unless the tensor has a type that can be read and as many dimensions.
  void expect_dimensions(const GgufTensor& tensor, std::size_t count) const;

  /// All elements, converted to `type`.
  void read_elements(const GgufTensor& tensor, ScalarType type, void* out) const;

  InputFile file_;
  GgufHeader header_;
};

/// Whether a file begins as a GGUF file does, and is not called .safetensors; false also for one that cannot be read.
bool is_gguf_file(const std::filesystem::path& path);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/gguf-inl.hpp"
#endif
