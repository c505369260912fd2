// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// A whole model: one safetensors file, or a folder with model.safetensors or with shards and their index.

#include "lora/io/file/folder.hpp"
#include "lora/io/safetensors/safetensors.hpp"

#include <set>

LORA_NAMESPACE_BEGIN
namespace io {

/// A tensor of a model, and the shard that holds it.
struct ModelTensor {
  std::size_t shard = 0;
  const TensorInfo* info = nullptr;
};

/// A model, open for reading and completely checked.
///
/// A folder has either `model.safetensors` or `model.safetensors.index.json`, whose `weight_map` says which shard holds
/// which tensor. Its other files are no part of the model but belong to it: `other_files()` lists them.
class Model {
 public:
  static constexpr std::string_view single_name = "model.safetensors", index_name = "model.safetensors.index.json";

  /// Throws FileError when the path is neither a safetensors file nor such a folder; when the index is damaged, names
  /// files outside of the folder, a tensor its shard does not have, or not all that its shards have; when two shards have
  /// a tensor of the same name; when the folder has both an index and a model.safetensors that is no shard of it.
  static Model open(const std::filesystem::path& path) {
    std::error_code ignored;
    Model model(path);
    model.is_folder_ = std::filesystem::is_directory(path, ignored);
    if (!model.is_folder_) {
      model.add_shard("", path);
    } else if (std::filesystem::exists(path / index_name, ignored)) {
      model.open_shards();
    } else if (std::filesystem::exists(path / single_name, ignored)) {
      model.add_shard(std::string(single_name), path / single_name);
    } else {
      detail::fail(path, "expected a model: a safetensors file, or a folder with ", single_name, " or ", index_name,
                   ", found a folder without them");
    }
    model.index_tensors();
    return model;
  }

  const std::filesystem::path& path() const { return path_; }

  /// Whether the path is a folder's.
  bool is_folder() const { return is_folder_; }

  /// The files with tensors, sorted by name, and their names in the folder (empty for a model that is a file).
  const std::vector<Safetensors>& shards() const { return shards_; }
  const std::string& shard_name(std::size_t shard) const { return names_[shard]; }

  /// Shard after shard, each in the order of its data.
  const std::vector<ModelTensor>& tensors() const { return tensors_; }

  /// The tensor of exactly that name, or null.
  const ModelTensor* find(std::string_view name) const {
    const auto at =
        std::lower_bound(by_name_.begin(), by_name_.end(), name,
                         [&](std::uint32_t i, std::string_view key) { return tensors_[i].info->name < key; });
    return at != by_name_.end() && tensors_[*at].info->name == name ? &tensors_[*at] : nullptr;
  }

  /// The same; throws FileError when there is none.
  const ModelTensor& tensor(std::string_view name) const {
    if (const ModelTensor* found = find(name)) return *found;
    detail::fail(path_, "expected a tensor ", detail::in_quotes(name), ", found none of that name");
  }

  /// The file that holds a tensor.
  const Safetensors& shard_of(const ModelTensor& tensor) const { return shards_[tensor.shard]; }

  /// Copies `into.size()` bytes of a tensor, from byte `offset` of it on. May run on several threads at once. Throws
  /// FileError.
  void read(const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) const {
    shard_of(tensor).read(*tensor.info, offset, into);
  }

  /// A tensor of two dimensions as a matrix, see Safetensors::read_matrix.
  template <class T>
  Matrix<T> read_matrix(const ModelTensor& tensor) const {
    return shard_of(tensor).template read_matrix<T>(*tensor.info);
  }

  /// The size of all tensors.
  std::uint64_t data_bytes() const {
    std::uint64_t sum = 0;
    for (const Safetensors& shard : shards_) sum += shard.header().data_bytes();
    return sum;
  }

  /// The folder's files that are not shards (the index, configuration, tokenizer ...), see files_below; none for a model
  /// that is a file. Looks at the folder. Throws FileError.
  std::vector<std::string> other_files() const {
    if (!is_folder_) return {};
    std::vector<std::string> files = files_below(path_);
    std::erase_if(
        files, [&](const std::string& file) { return std::find(names_.begin(), names_.end(), file) != names_.end(); });
    return files;
  }

  /// Throws FileError when a shard was written to since it was opened.
  void expect_unchanged() const {
    for (const Safetensors& shard : shards_) shard.file().expect_unchanged();
  }

 private:
  explicit Model(std::filesystem::path path) : path_(std::move(path)) {}

  void add_shard(std::string name, const std::filesystem::path& path) {
    shards_.push_back(Safetensors::open(path));
    names_.push_back(std::move(name));
  }

  void open_shards() {
    const std::filesystem::path file = path_ / index_name;
    const detail::Json index = detail::read_json_file(file, SafetensorsHeader::max_header_bytes);
    const detail::Json* map = index.find("weight_map");
    const auto* entries = map != nullptr ? map->as<detail::Json::Object>() : nullptr;
    if (entries == nullptr || entries->empty())
      detail::fail(file, "weight_map: expected an object of tensors and their files, found ",
                   map == nullptr       ? "no such key"
                   : entries != nullptr ? "an empty one"
                                        : map->description());
    std::set<std::string> names;
    for (const auto& [tensor, value] : *entries) {
      const auto* name = value.as<std::string>();
      if (name == nullptr || !detail::is_within(*name) || name->find('/') != name->npos)
        detail::fail(file, "weight_map: ", detail::in_quotes(tensor),
                     ": expected the name of a file in this folder, found ", value.description());
      names.insert(*name);
    }
    std::error_code ignored;
    if (!names.contains(std::string(single_name)) && std::filesystem::exists(path_ / single_name, ignored))
      detail::fail(path_, "expected one model, found two: ", single_name, " and the shards of ", index_name);
    for (const std::string& name : names) add_shard(name, path_ / name);
    expect_indexed(file, *entries);
  }

  // Every tensor of the index is in its shard, and every tensor of a shard in the index.
  void expect_indexed(const std::filesystem::path& file, const detail::Json::Object& entries) const {
    for (const auto& [tensor, value] : entries) {
      const std::string& name = *value.as<std::string>();
      const Safetensors& shard =
          shards_[static_cast<std::size_t>(std::lower_bound(names_.begin(), names_.end(), name) - names_.begin())];
      if (shard.find(tensor) == nullptr)
        detail::fail(file, "weight_map: expected the tensor ", detail::in_quotes(tensor), " in ",
                     detail::in_quotes(name), ", found none of that name");
    }
    std::vector<std::string_view> indexed;
    for (const auto& [tensor, value] : entries) indexed.push_back(tensor);
    std::sort(indexed.begin(), indexed.end());
    for (const Safetensors& shard : shards_)
      for (const TensorInfo& tensor : shard.tensors())
        if (!std::binary_search(indexed.begin(), indexed.end(), std::string_view(tensor.name)))
          detail::fail(shard.path(), "tensor ", detail::in_quotes(tensor.name), ": expected it in the weight_map of ",
                       index_name, ", found none of that name");
  }

  void index_tensors() {
    for (std::size_t i = 0; i < shards_.size(); ++i)
      for (const TensorInfo& tensor : shards_[i].tensors()) tensors_.push_back({i, &tensor});
    by_name_.resize(tensors_.size());
    std::iota(by_name_.begin(), by_name_.end(), std::uint32_t{0});
    std::sort(by_name_.begin(), by_name_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return tensors_[a].info->name < tensors_[b].info->name; });
    for (std::size_t i = 1; i < by_name_.size(); ++i) {
      const ModelTensor &a = tensors_[by_name_[i - 1]], &b = tensors_[by_name_[i]];
      if (a.info->name == b.info->name)
        detail::fail(path_, "tensor ", detail::in_quotes(a.info->name), ": expected it in one shard, found it in ",
                     detail::in_quotes(names_[std::min(a.shard, b.shard)]), " and ",
                     detail::in_quotes(names_[std::max(a.shard, b.shard)]));
    }
  }

  std::filesystem::path path_;
  bool is_folder_ = false;
  std::vector<Safetensors> shards_;
  std::vector<std::string> names_;  // of the shards, sorted
  std::vector<ModelTensor> tensors_;
  std::vector<std::uint32_t> by_name_;
};

}  // namespace io
LORA_NAMESPACE_END
