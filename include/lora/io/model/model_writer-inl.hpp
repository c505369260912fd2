// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/folder.hpp"
#include "lora/io/model/model_writer.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC ModelWriter::ModelWriter(const Model& like, const std::filesystem::path& target, Sync sync,
                                   const detail::Reshape& reshape)
    : target_(target), sync_(sync), headers_(reshape.headers) {
  headers_.resize(like.shards().size());
  if (like.is_folder()) folder_.emplace(target, sync);
  for (std::size_t i = 0; i < like.shards().size(); ++i) {
    const std::filesystem::path place = folder_ ? folder_->place(utf8_path(like.shard_name(i))) : target,
                                shown = folder_ ? target / utf8_path(like.shard_name(i)) : target;
    shards_.push_back(headers_[i] ? std::make_unique<TensorFileWriter>(place, *headers_[i], sync, shown)
                                  : std::make_unique<TensorFileWriter>(place, like.shards()[i], sync, shown));
  }
}

LORA_FUNC std::uint64_t ModelWriter::bytes_of(const ModelTensor& tensor) const {
  if (!headers_[tensor.shard]) return tensor.info->bytes();
  const TensorInfo* const own = headers_[tensor.shard]->find(tensor.info->name);
  return own == nullptr ? 0 : own->bytes();
}

LORA_FUNC void ModelWriter::write_at(const ModelTensor& tensor, std::uint64_t offset,
                                     std::span<const std::byte> bytes) {
  const TensorInfo* info = tensor.info;
  if (headers_[tensor.shard]) info = headers_[tensor.shard]->find(info->name);
  if (info == nullptr)
    detail::fail(target_, "tensor ", detail::in_quotes(tensor.info->name),
                 ": expected one that the written model has, found none of that name");
  shards_[tensor.shard]->write_at(*info, offset, bytes);
}

LORA_FUNC OutputFile ModelWriter::file(const std::string& name) const {
  if (!folder_) throw StateError("lora: ModelWriter::file: the model is a file, not a folder");
  if (!detail::is_within(name))
    detail::fail(target_, "expected the name of a file within the folder, found ", detail::in_quotes(name));
  return OutputFile(folder_->place(utf8_path(name)), sync_, target_ / utf8_path(name));
}

LORA_FUNC void ModelWriter::flush() {
  for (const auto& shard : shards_) shard->flush();
  if (!folder_ || is_complete_) return;
  for (const auto& shard : shards_) shard->commit();  // within the folder that nobody sees yet
  is_complete_ = true;
}

LORA_FUNC void ModelWriter::commit() {
  flush();
  if (folder_)
    folder_->commit();
  else
    shards_.front()->commit();
}

LORA_FUNC void ModelWriter::expect_tensor(const ModelTensor& tensor, ScalarType type, Index rows, Index cols) const {
  const TensorInfo& info = *tensor.info;
  const std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)};
  if (scalar_type(info.dtype) != type || info.shape != shape)
    detail::fail(target_, "tensor ", detail::in_quotes(info.name), ": expected a matrix of ", name(info.dtype), " ",
                 detail::shape_list(info.shape), ", found one of ", name(dtype_of(type)), " (", lora::name(type), ") ",
                 detail::shape_list(shape));
}

}  // namespace io
LORA_NAMESPACE_END
