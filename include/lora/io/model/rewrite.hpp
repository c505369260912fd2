// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Copying a model with some of its tensors changed. For bodies (-inl.hpp).

#include "lora/io/file/input_file.hpp"
#include "lora/io/model/model_writer.hpp"
#include "lora/io/model/tasks.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Changes a tensor's bytes in place, on any thread; what it returns is called in the order of the tensors.
using Change = std::function<Finish(std::span<std::byte>, const Context&)>;

/// A pass over a model that changes tensors: a copy of it, or none; and checksums of what is not merged: in `from` (as its undo file has them) and in `to` (for a new
/// undo file).
class Rewrite {
 public:
  /// `copies` are the other files to be copied; the checksums are left out when nobody wants them. Without a `to`
  /// nothing is written, and without checksums as well only the tensors that change are read.
  Rewrite(const Model& from, ModelWriter* to, std::vector<std::string> copies, bool with_checksums);

  /// Adds to what is done to a tensor, which is merged in `from`, in `to` or in both.
  void change(const ModelTensor& tensor, bool was_merged, bool is_merged, Change change);

  /// Reads, changes and writes. Throws what the changes throw, FileError, Cancelled.
  void run(const TaskOptions& options);

  // For each shard, and for each of the copies.
  std::span<const RestChecksum> rest_before() const { return before_; }
  std::span<const RestChecksum> rest_after() const { return after_; }
  std::span<const RestChecksum> copies() const { return copied_; }

 private:
  struct Changed {
    bool was_merged = false, is_merged = false;
    std::vector<Change> steps = {};
  };
  void add_changed(const ModelTensor& tensor, const Changed& changed);
  void add_pieces(const ModelTensor& tensor);
  void add_copy(std::size_t i, const TaskOptions& options);

  const Model& from_;
  ModelWriter* to_;
  std::vector<std::string> copies_;
  bool with_checksums_;
  std::vector<Changed> changes_;  // of each tensor; without steps when it is copied
  std::vector<RestChecksum> before_, after_, copied_;
  std::vector<Task> tasks_;
};

inline Rewrite::Rewrite(const Model& from, ModelWriter* to, std::vector<std::string> copies, bool with_checksums)
    : from_(from),
      to_(to),
      copies_(std::move(copies)),
      with_checksums_(with_checksums),
      changes_(from.tensors().size()),
      before_(from.shards().size()),
      after_(from.shards().size()),
      copied_(copies_.size()) {}

inline void Rewrite::change(const ModelTensor& tensor, bool was_merged, bool is_merged, Change change) {
  Changed& changed = changes_[static_cast<std::size_t>(&tensor - from_.tensors().data())];
  changed.was_merged |= was_merged;
  changed.is_merged |= is_merged;
  changed.steps.push_back(std::move(change));
}

inline void Rewrite::run(const TaskOptions& options) {
  for (std::size_t i = 0; i < copies_.size(); ++i) add_copy(i, options);
  for (std::size_t i = 0; i < changes_.size(); ++i)
    if (!changes_[i].steps.empty())
      add_changed(from_.tensors()[i], changes_[i]);
    else if (to_ != nullptr || with_checksums_)
      add_pieces(from_.tensors()[i]);
  run_tasks(tasks_, options);
  // A pass over some tensors alone may be one whose changes write to them.
  if (to_ != nullptr || with_checksums_) from_.expect_unchanged();
}

inline void Rewrite::add_changed(const ModelTensor& tensor, const Changed& changed) {
  tasks_.push_back({tensor.info->bytes(), [this, &tensor, &changed](Buffer& buffer, const Context& context) -> Finish {
                      const std::span<std::byte> bytes = buffer.get(tensor.info->bytes());
                      from_.read(tensor, 0, bytes);
                      std::vector<std::uint64_t> before, after;
                      if (with_checksums_ && !changed.was_merged) before = RestChecksum::of_pieces(bytes);
                      std::vector<Finish> finishes;
                      for (const Change& step : changed.steps) finishes.push_back(step(bytes, context));
                      if (with_checksums_ && !changed.is_merged) after = RestChecksum::of_pieces(bytes);
                      if (to_ != nullptr) to_->write_at(tensor, 0, bytes);
                      return [this, &tensor, finishes = std::move(finishes), before = std::move(before),
                              after = std::move(after)] {
                        for (const Finish& finish : finishes)
                          if (finish) finish();
                        for (const std::uint64_t piece : before) before_[tensor.shard].add_checksum(piece);
                        for (const std::uint64_t piece : after) after_[tensor.shard].add_checksum(piece);
                      };
                    }});
}

inline void Rewrite::add_pieces(const ModelTensor& tensor) {
  constexpr std::uint64_t step = RestChecksum::piece_bytes;
  for (std::uint64_t at = 0; at < tensor.info->bytes(); at += step) {
    const std::uint64_t size = std::min(step, tensor.info->bytes() - at);
    tasks_.push_back({size, [this, &tensor, at, size](Buffer& buffer, const Context&) -> Finish {
                        const std::span<std::byte> bytes = buffer.get(static_cast<std::size_t>(size));
                        from_.read(tensor, at, bytes);
                        const std::uint64_t checksum = with_checksums_ ? RestChecksum::of_piece(bytes) : 0;
                        if (to_ != nullptr) to_->write_at(tensor, at, bytes);
                        return [this, &tensor, checksum] {
                          before_[tensor.shard].add_checksum(checksum);
                          after_[tensor.shard].add_checksum(checksum);
                        };
                      }});
  }
}

inline void Rewrite::add_copy(std::size_t i, const TaskOptions& options) {
  std::error_code none;  // what cannot be examined is an error when it is copied
  const std::uintmax_t found = std::filesystem::file_size(from_.path() / copies_[i], none);
  const std::uint64_t size = none ? 0 : found;
  const std::uint64_t memory = std::min<std::uint64_t>(size, RestChecksum::piece_bytes);
  tasks_.push_back({memory,
                    [this, i, &options](Buffer& buffer, const Context&) -> Finish {
                      const InputFile file(from_.path() / copies_[i]);
                      std::optional<OutputFile> copy;
                      if (to_ != nullptr) copy.emplace(to_->file(copies_[i]));
                      for (std::uint64_t at = 0; at < file.size();) {
                        expect_not_cancelled(options);
                        const std::span<std::byte> piece = buffer.get(static_cast<std::size_t>(
                            std::min<std::uint64_t>(RestChecksum::piece_bytes, file.size() - at)));
                        file.read(at, piece);
                        if (with_checksums_) copied_[i].add(piece);
                        if (copy) copy->write(piece);
                        at += piece.size();
                      }
                      file.expect_unchanged();
                      if (copy) copy->commit();
                      return {};
                    },
                    size - memory});
}

}  // namespace io::detail
LORA_NAMESPACE_END
