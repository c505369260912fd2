// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// A whole model: one safetensors or GGUF file, or a folder with model.safetensors, with shards and their index, or with the
/// parts of a GGUF model.

#include "lora/io/model/tensor_file.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io {

/// A tensor of a model, and the shard that holds it.
struct ModelTensor {
  std::size_t shard = 0;  ///< which of Model::shards()
  const TensorInfo* info = nullptr;  ///< its name, type and shape; the model's own
};

/// A model, open for reading and completely checked.
///
/// A folder has either `model.safetensors` or `model.safetensors.index.json`, whose `weight_map` says which shard
/// holds which tensor; or the same with diffusers' `diffusion_pytorch_model` in place of `model`; or, where it has
/// none of these, with one variant (`model.fp16.safetensors`); or else all parts of a GGUF model
/// (`NAME-00001-of-00003.gguf`, see gguf_parts_in). Its other files are no part of the model but belong to
/// it: `other_files()` lists them.
class Model {
 public:
  /// The names of a model that is one file, and of the index of one that is several.
  static constexpr std::string_view single_name = "model.safetensors", index_name = "model.safetensors.index.json";

  /// Whether the folder has a model's file or index at its top. Throws FileError where it has two models.
  static bool is_in(const std::filesystem::path& folder);

  /// The file whose metadata speak for a GGUF model: the path itself, or the first part of the one in a folder; "" where the path
  /// is of no GGUF model. Looks at names and first bytes alone. Throws FileError as is_in() and gguf_parts_in() do.
  static std::filesystem::path gguf_file(const std::filesystem::path& path);

  /// Throws FileError when the path is neither a safetensors or GGUF file nor such a folder; when the index is damaged, names
  /// files outside of the folder, a tensor in another shard than the one that has it, or not all that its shards have;
  /// when two shards have a tensor of the same name; when the folder has two models, as an index and a
  /// model.safetensors that is no shard of it; when it is one part of a GGUF model, or a folder with parts that do not say of
  /// themselves what their names do. What the file or folder is instead (an LFS pointer, a pickle ...) is
  /// said where it can be told.
  static Model open(const std::filesystem::path& path);

  /// The same, also for a model whose change in place was not finished; open() refuses it.
  static Model open_unfinished(const std::filesystem::path& path);

  /// The file or folder, as it was given.
  const std::filesystem::path& path() const { return path_; }

  /// Whether the path is a folder's.
  bool is_folder() const { return is_folder_; }

  /// The files with tensors, sorted by name, and their names in the folder (empty for a model that is a file).
  const std::vector<TensorFile>& shards() const { return shards_; }
  const std::string& shard_name(std::size_t shard) const { return names_[shard]; }

  /// Shard after shard, each in the order of its data.
  const std::vector<ModelTensor>& tensors() const { return tensors_; }

  /// The tensor of exactly that name, or null.
  const ModelTensor* find(std::string_view name) const;

  /// The same; throws FileError when there is none.
  const ModelTensor& tensor(std::string_view name) const;

  /// The file that holds a tensor.
  const TensorFile& shard_of(const ModelTensor& tensor) const { return shards_[tensor.shard]; }

  /// Copies `into.size()` bytes of a tensor, from byte `offset` of it on. May run on several threads at once. Throws
  /// FileError.
  void read(const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) const;

  /// A tensor of two dimensions as a matrix, see TensorFile::read_matrix; numbers of any type that can be read.
  template <class T>
  Matrix<T> read_matrix(const ModelTensor& tensor) const {
    return shard_of(tensor).template read_matrix<T>(*tensor.info);
  }

  /// A tensor of one dimension as a vector, see TensorFile::read_vector.
  template <class T>
  Eigen::Matrix<T, Eigen::Dynamic, 1> read_vector(const ModelTensor& tensor) const {
    return shard_of(tensor).template read_vector<T>(*tensor.info);
  }

  /// The size of all tensors.
  std::uint64_t data_bytes() const;

  /// The folder's files that are not shards (the index, configuration, tokenizer ...), see files_below; none for a model
  /// that is a file. Looks at the folder. Throws FileError.
  std::vector<std::string> other_files() const;

  /// Sentences, printable: what was passed over when it was opened, as entries of the index that no shard has.
  const std::vector<std::string>& warnings() const { return warnings_; }

  /// Throws FileError when a shard was written to since it was opened.
  void expect_unchanged() const;

 private:
  explicit Model(std::filesystem::path path) : path_(std::move(path)) {}

  void add_shard(std::string name, const std::filesystem::path& path);

  void open_shards(const std::string& index_file);

  void open_gguf_parts();

  void index_tensors();

  std::filesystem::path path_;
  bool is_folder_ = false;
  std::vector<TensorFile> shards_;
  std::vector<std::string> names_;  // of the shards, sorted
  std::vector<ModelTensor> tensors_;
  std::vector<std::uint32_t> by_name_;
  std::vector<std::string> warnings_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/model-inl.hpp"
#endif
