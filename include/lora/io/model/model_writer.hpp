// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_folder.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/reshape.hpp"
#include "lora/io/model/tensor_file_writer.hpp"

#include <memory>

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes a model with the files and headers of another one: a file, or a folder with shards of the same names. It appears
/// as a whole with commit(), see OutputFile and OutputFolder. write_at and file may run on several threads at once,
/// everything else on one.
class ModelWriter {
 public:
  /// `reshape` says where headers are others: of tensors that these do not have nothing is to be written, and new ones have a name that
  /// the other model does not have. Throws FileError when the target cannot be written.
  ModelWriter(const Model& like, const std::filesystem::path& target, Sync sync = Sync::yes,
              const detail::Reshape& reshape = {});

  /// Its name once it is committed.
  const std::filesystem::path& path() const { return target_; }

  /// Writes bytes of a tensor of the other model, from byte `offset` of it on. Throws FileError, also when the tensor has not
  /// as many.
  void write_at(const ModelTensor& tensor, std::uint64_t offset, std::span<const std::byte> bytes);

  /// The size that a tensor has here, 0 when there is none of its name.
  std::uint64_t bytes_of(const ModelTensor& tensor) const;

  /// Writes a whole tensor of two dimensions, bit for bit: a matrix, Map, Ref, block or expression of either storage order whose
  /// scalar type is the tensor's. Throws FileError naming both when its type or shape is another one. Allocates a copy unless
  /// the matrix lies row-major and contiguous in memory.
  template <class Derived>
  void write_matrix(const ModelTensor& tensor, const Eigen::MatrixBase<Derived>& W) {
    using T = typename Derived::Scalar;
    static_assert(lora::detail::is_scalar_v<T>,
                  "lora::io: a matrix is written as float, double, Eigen::half or Eigen::bfloat16");
    using Dense = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    expect_tensor(tensor, lora::detail::ScalarTraits<T>::type, W.rows(), W.cols());
    const Eigen::Ref<const Dense> lines(W.derived());
    if (lines.outerStride() == lines.cols() || lines.rows() <= 1)
      write_at(tensor, 0, std::as_bytes(std::span(lines.data(), static_cast<std::size_t>(lines.size()))));
    else
      write_matrix(tensor, Dense(lines));
  }

  /// One of the folder's other files, to be written and committed. Throws FileError.
  OutputFile file(const std::string& name) const;

  /// Puts all tensors on disk: the slow part of a commit, and the last that can fail for lack of space. Throws FileError,
  /// also when a byte was never written.
  void flush();

  /// The model takes its name. Throws FileError; the target is then as it was.
  void commit();

 private:
  /// Throws FileError unless the tensor has this type and shape.
  void expect_tensor(const ModelTensor& tensor, ScalarType type, Index rows, Index cols) const;

  std::filesystem::path target_;
  Sync sync_;
  std::vector<std::optional<SafetensorsHeader>> headers_;
  std::optional<OutputFolder> folder_;
  std::vector<std::unique_ptr<TensorFileWriter>> shards_;
  bool is_complete_ = false;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/model_writer-inl.hpp"
#endif
