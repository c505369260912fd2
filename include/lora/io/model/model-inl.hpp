// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/sorted.hpp"
#include "lora/io/file/folder.hpp"
#include "lora/io/file/tensor_bytes.hpp"
#include "lora/io/gguf/parts.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/model_files.hpp"
#include "lora/io/model/unfinished.hpp"
#include "lora/io/text/json.hpp"

#include <algorithm>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// Throws FileError for an entry whose tensor another shard has, and for a tensor that the index lacks. Gives the
/// entries that no shard has: tied weights, mostly, which readers pass over.
inline std::vector<std::string> expect_indexed(const std::vector<TensorFile>& shards,
                                               const std::vector<std::string>& names, const std::filesystem::path& file,
                                               const Json::object_t& entries) {
  std::vector<std::string> extra;
  for (const auto& [tensor, value] : entries) {
    const std::string& name = value.get_ref<const std::string&>();
    const TensorFile& shard =
        shards[static_cast<std::size_t>(std::lower_bound(names.begin(), names.end(), name) - names.begin())];
    if (shard.find(tensor) != nullptr) continue;
    for (std::size_t i = 0; i < shards.size(); ++i)
      if (shards[i].find(tensor) != nullptr)
        fail(file, "weight_map: expected the tensor ", in_quotes(tensor), " in ", in_quotes(name), ", found it in ",
             in_quotes(names[i]));
    extra.push_back(tensor);
  }
  std::vector<std::string_view> indexed;
  for (const auto& [tensor, value] : entries) indexed.push_back(tensor);
  std::sort(indexed.begin(), indexed.end());
  for (const TensorFile& shard : shards)
    for (const TensorInfo& tensor : shard.tensors())
      if (!std::binary_search(indexed.begin(), indexed.end(), std::string_view(tensor.name)))
        fail(shard.path(), "tensor ", in_quotes(tensor.name), ": expected it in the weight_map of ",
             printable(utf8_text(file.filename())), ", found none of that name");
  return extra;
}

}  // namespace detail

LORA_FUNC Model Model::open(const std::filesystem::path& path) {
  Model model = open_unfinished(path);
  detail::expect_finished(model);
  return model;
}

LORA_FUNC bool Model::is_in(const std::filesystem::path& folder) {
  return detail::model_in(folder).has_value() || !gguf_parts_in(folder).empty();
}

LORA_FUNC std::filesystem::path Model::gguf_file(const std::filesystem::path& path) {
  if (is_gguf_file(path)) return path;
  if (detail::model_in(path)) return {};
  const std::vector<std::string> parts = gguf_parts_in(path);
  return parts.empty() ? std::filesystem::path() : path / utf8_path(parts.front());
}

LORA_FUNC Model Model::open_unfinished(const std::filesystem::path& path) {
  std::error_code ignored;
  Model model(path);
  model.is_folder_ = std::filesystem::is_directory(path, ignored);
  if (!std::filesystem::exists(path, ignored) && !ignored)
    detail::fail(path, "expected a model: a safetensors or GGUF file, or a folder with one, found nothing of that name",
                 detail::nothing_there(path));
  if (!model.is_folder_) {
    if (path.extension() == ".json" && detail::has_model_file(path.parent_path()))
      detail::fail(path, "expected a model: a safetensors or GGUF file, or a folder with one, found a JSON file beside a model: "
                         "name the folder that they are in");
    model.add_shard("", path);
    if (const Gguf* const file = model.shards_.front().gguf())
      if (const std::uint64_t parts = file->unsigned_value("split.count").value_or(1); parts > 1)
        detail::fail(path, "metadata 'split.count': expected a whole model, found one of ", parts,
                     " parts: name the folder that has them all");
  } else if (const auto file = detail::model_in(path); !file) {
    model.open_gguf_parts();
  } else if (file->is_index) {
    model.open_shards(file->name);
  } else {
    model.add_shard(file->name, path / utf8_path(file->name));
  }
  model.index_tensors();
  return model;
}

LORA_FUNC const ModelTensor* Model::find(std::string_view name) const {
  const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                   [&](std::uint32_t i, std::string_view key) { return tensors_[i].info->name < key; });
  return at != by_name_.end() && tensors_[*at].info->name == name ? &tensors_[*at] : nullptr;
}

LORA_FUNC const ModelTensor& Model::tensor(std::string_view name) const {
  return detail::expect_found(path_, find(name), name);
}

LORA_FUNC void Model::read(const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) const {
  shard_of(tensor).read(*tensor.info, offset, into);
}

LORA_FUNC std::uint64_t Model::data_bytes() const {
  std::uint64_t sum = 0;
  for (const TensorFile& shard : shards_) sum += shard.data_bytes();
  return sum;
}

LORA_FUNC std::vector<std::string> Model::other_files() const {
  if (!is_folder_) return {};
  std::vector<std::string> files = files_below(path_);
  std::erase_if(files, [&](const std::string& file) {
    return std::find(names_.begin(), names_.end(), file) != names_.end() || file.starts_with(detail::journal_name);
  });
  return files;
}

LORA_FUNC void Model::expect_unchanged() const {
  for (const TensorFile& shard : shards_) shard.file().expect_unchanged();
}

LORA_FUNC void Model::add_shard(std::string name, const std::filesystem::path& path) {
  shards_.push_back(TensorFile::open(path));
  names_.push_back(std::move(name));
}

LORA_FUNC void Model::open_shards(const std::string& index_file) {
  const std::filesystem::path file = path_ / index_file;
  const detail::Json index = detail::read_json_file(file, SafetensorsHeader::max_header_bytes);
  const detail::Json* map = detail::JsonFields(file, index).find("weight_map");
  const auto* entries = map != nullptr && map->is_object() ? &map->get_ref<const detail::Json::object_t&>() : nullptr;
  if (entries == nullptr || entries->empty())
    detail::fail(file, "weight_map: expected an object of tensors and their files, found ",
                 map == nullptr       ? "no such key"
                 : entries != nullptr ? "an empty one"
                                      : detail::description(*map));
  std::set<std::string> names;
  for (const auto& [tensor, value] : *entries) {
    const auto* name = value.get_ptr<const std::string*>();
    if (name == nullptr || !detail::is_within(*name) || name->find('/') != name->npos)
      detail::fail(file, "weight_map: ", detail::in_quotes(tensor),
                   ": expected the name of a file in this folder, found ", detail::description(value));
    names.insert(*name);
  }
  std::error_code ignored;
  const std::string single = index_file.substr(0, index_file.find(".safetensors")) + ".safetensors";
  if (!names.contains(single) && std::filesystem::exists(path_ / single, ignored))
    detail::fail(path_, "expected one model, found two: ", printable(single), " and the shards of ",
                 printable(index_file), ": name ", printable(single),
                 " itself where that is meant, or take away the one that is not");
  for (const std::string& name : names) {
    if (!std::filesystem::exists(path_ / utf8_path(name), ignored) && !ignored)
      detail::fail(path_ / utf8_path(name), "expected a shard, which ", printable(index_file),
                   " lists, found none: fetch it as well");
    add_shard(name, path_ / utf8_path(name));
  }
  if (const std::vector<std::string> extra = detail::expect_indexed(shards_, names_, file, *entries); !extra.empty())
    warnings_.push_back(
        detail::text(printable(index_file), ": weight_map: passed over what no shard has: ", detail::some_of(extra)));
}

LORA_FUNC void Model::open_gguf_parts() {
  for (const std::string& name : gguf_parts_in(path_)) add_shard(name, path_ / utf8_path(name));
  if (shards_.empty())
    detail::fail(path_, "expected a model: a safetensors or GGUF file, or a folder with ", single_name, " or ", index_name,
                 " (or diffusers' diffusion_pytorch_model.safetensors, or a GGUF model in parts), found a folder without them",
                 detail::instead_of_model(path_));
  std::vector<const Gguf*> files;
  for (const TensorFile& shard : shards_) {
    if (shard.gguf() == nullptr)
      detail::fail(shard.path(), "expected a part of a GGUF model, as its name says, found another file");
    files.push_back(shard.gguf());
  }
  detail::expect_gguf_parts(files);
}

LORA_FUNC void Model::index_tensors() {
  for (std::size_t i = 0; i < shards_.size(); ++i)
    for (const TensorInfo& tensor : shards_[i].tensors()) tensors_.push_back({i, &tensor});
  by_name_ = lora::detail::sorted_indices(tensors_.size(), [&](std::uint32_t a, std::uint32_t b) {
    return tensors_[a].info->name < tensors_[b].info->name;
  });
  for (std::size_t i = 1; i < by_name_.size(); ++i) {
    const ModelTensor &a = tensors_[by_name_[i - 1]], &b = tensors_[by_name_[i]];
    if (a.info->name == b.info->name)
      detail::fail(path_, "tensor ", detail::in_quotes(a.info->name), ": expected it in one shard, found it in ",
                   detail::in_quotes(names_[std::min(a.shard, b.shard)]), " and ",
                   detail::in_quotes(names_[std::max(a.shard, b.shard)]));
  }
}

}  // namespace io
LORA_NAMESPACE_END
