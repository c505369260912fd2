// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/file/output_folder.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/safetensors/writer.hpp"

#include <memory>

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes a model with the files and headers of another one: a file, or a folder with shards of the same names. It appears
/// as a whole with commit(), see OutputFile and OutputFolder. write_at and file may run on several threads at once,
/// everything else on one.
class ModelWriter {
 public:
  /// Throws FileError when the target cannot be written.
  ModelWriter(const Model& like, const std::filesystem::path& target, Sync sync = Sync::yes)
      : target_(target), sync_(sync) {
    if (like.is_folder()) folder_.emplace(target, sync);
    for (std::size_t i = 0; i < like.shards().size(); ++i)
      shards_.push_back(std::make_unique<SafetensorsWriter>(folder_ ? folder_->place(like.shard_name(i)) : target,
                                                            like.shards()[i].header(), sync,
                                                            folder_ ? target / like.shard_name(i) : target));
  }

  const std::filesystem::path& path() const { return target_; }

  /// Writes bytes of a tensor of the other model, from byte `offset` of it on. Throws FileError.
  void write_at(const ModelTensor& tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
    shards_[tensor.shard]->write_at(tensor.info->begin + offset, bytes);
  }

  /// One of the folder's other files, to be written and committed. Throws FileError.
  OutputFile file(const std::string& name) const {
    if (!folder_) throw StateError("lora: ModelWriter::file: the model is a file, not a folder");
    if (!detail::is_within(name))
      detail::fail(target_, "expected the name of a file within the folder, found ", detail::in_quotes(name));
    return OutputFile(folder_->place(name), sync_, target_ / name);
  }

  /// Puts all tensors on disk: the slow part of a commit, and the last that can fail for lack of space. Throws FileError,
  /// also when a byte was never written.
  void flush() {
    for (const auto& shard : shards_) shard->flush();
    if (!folder_ || is_complete_) return;
    for (const auto& shard : shards_) shard->commit();  // within the folder that nobody sees yet
    is_complete_ = true;
  }

  /// The model takes its name. Throws FileError; the target is then as it was.
  void commit() {
    flush();
    if (folder_)
      folder_->commit();
    else
      shards_.front()->commit();
  }

 private:
  std::filesystem::path target_;
  Sync sync_;
  std::optional<OutputFolder> folder_;
  std::vector<std::unique_ptr<SafetensorsWriter>> shards_;
  bool is_complete_ = false;
};

}  // namespace io
LORA_NAMESPACE_END
