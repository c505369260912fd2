// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/io/safetensors/header.hpp"
#include "lora/simd/fp_environment.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// A safetensors file, open for reading and completely checked.
class Safetensors {
 public:
  /// Opens and checks. Throws FileError naming the file, the tensor, what was expected and what was found.
  static Safetensors open(const std::filesystem::path& path) {
    InputFile file(path);
    std::string raw(file.size() < 8 ? 0 : 8, '\0');
    file.read(0, std::as_writable_bytes(std::span(raw)));
    SafetensorsHeader::expect_length(path, raw, file.size());
    raw.resize(8 + static_cast<std::size_t>(SafetensorsHeader::length(raw)));
    file.read(0, std::as_writable_bytes(std::span(raw)));
    SafetensorsHeader header = SafetensorsHeader::parse(path, std::move(raw), file.size());
    return {std::move(file), std::move(header)};
  }

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
  const TensorInfo& tensor(std::string_view name) const {
    if (const TensorInfo* found = find(name)) return *found;
    detail::fail(path(), "expected a tensor ", detail::in_quotes(name), ", found none of that name");
  }

  /// Where a tensor's data begins in the file.
  std::uint64_t file_offset(const TensorInfo& tensor) const { return header_.raw().size() + tensor.begin; }

  /// Copies `into.size()` bytes of a tensor, from byte `offset` of it on. Throws FileError when the file became
  /// shorter.
  void read(const TensorInfo& tensor, std::uint64_t offset, std::span<std::byte> into) const {
    if (offset > tensor.bytes() || into.size() > tensor.bytes() - offset)
      detail::fail(path(), "tensor ", detail::in_quotes(tensor.name), ": expected at most ", tensor.bytes(),
                   " bytes to be read, found ", into.size(), " from byte ", offset, " on");
    file_.read(file_offset(tensor) + offset, into);
  }

  /// A tensor of two dimensions as a matrix. F16, BF16, F32 and F64 are read: bit for bit when T is that type, exactly
  /// towards a wider one, rounded once towards a narrower one. Throws FileError naming the tensor. Allocates the
  /// matrix, and 64 KiB when the types differ.
  template <class T>
  Matrix<T> read_matrix(const TensorInfo& tensor) const {
    static_assert(lora::detail::is_scalar_v<T>,
                  "lora::io: a matrix is read as float, double, Eigen::half or Eigen::bfloat16");
    if (tensor.shape.size() != 2)
      detail::fail(path(), "tensor ", detail::in_quotes(tensor.name), ": expected two dimensions, found the shape ",
                   detail::shape_list(tensor.shape));
    if (!scalar_type(tensor.dtype))
      detail::fail(path(), "tensor ", detail::in_quotes(tensor.name), ": expected F16, BF16, F32 or F64, found ",
                   name(tensor.dtype));
    Matrix<T> out(static_cast<Index>(tensor.shape[0]), static_cast<Index>(tensor.shape[1]));
    switch (tensor.dtype) {
      case DType::F16: read_elements<Eigen::half>(tensor, out); break;
      case DType::BF16: read_elements<Eigen::bfloat16>(tensor, out); break;
      case DType::F32: read_elements<float>(tensor, out); break;
      case DType::F64: read_elements<double>(tensor, out); break;
      default: break;  // refused above
    }
    return out;
  }

 private:
  Safetensors(InputFile file, SafetensorsHeader header) : file_(std::move(file)), header_(std::move(header)) {}

  template <class Stored, class T>
  void read_elements(const TensorInfo& tensor, Matrix<T>& out) const {
    const lora::detail::FpEnvironment environment;  // to nearest, whatever the caller's rounding
    const std::span<T> elements(out.data(), static_cast<std::size_t>(out.size()));
    if constexpr (std::is_same_v<Stored, T>) {
      read(tensor, 0, std::as_writable_bytes(elements));
    } else {
      std::vector<Stored> buffer(std::min<std::size_t>(elements.size(), 65536 / sizeof(Stored)));
      for (std::size_t at = 0; at < elements.size(); at += buffer.size()) {
        const std::span<Stored> part(buffer.data(), std::min(buffer.size(), elements.size() - at));
        read(tensor, at * sizeof(Stored), std::as_writable_bytes(part));
        std::transform(part.begin(), part.end(), elements.begin() + static_cast<std::ptrdiff_t>(at),
                       [](Stored value) { return lora::detail::convert<T>(value); });
      }
    }
  }

  InputFile file_;
  SafetensorsHeader header_;
};

}  // namespace io
LORA_NAMESPACE_END
