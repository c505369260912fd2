// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Copying a model with some of its tensors changed. For bodies (-inl.hpp).

#include "lora/io/file/input_file.hpp"
#include "lora/io/model/model_writer.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/tasks.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <algorithm>
#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Changes a tensor's bytes in place, on any thread; what it returns is called in the order of the tensors. There is room for as many
/// bytes as the tensor has before or after all changes.
using Change = std::function<Finish(std::span<std::byte>, const Context&)>;

/// A pass over a model that changes tensors: a copy of it, or none; and checksums of what is not merged: in `from` (as
/// its undo file has them) and in `to` (for a new undo file).
template <class = void>
class BasicRewrite {
 public:
  /// `copies` are the other files to be copied, those that `reshape` has with other contents; the checksums are left out when nobody
  /// wants them. Without a `to` nothing is written, and without checksums as well only the tensors that change are read.
  BasicRewrite(const Model& from, ModelWriter* to, std::vector<std::string> copies, bool with_checksums,
               const Reshape* reshape = nullptr);

  /// Adds to what is done to a tensor, which is merged in `from`, in `to` or in both. It is one of `from`, or new. `memory` is what the
  /// change takes besides the tensor's own bytes.
  void change(const ModelTensor& tensor, bool was_merged, bool is_merged, Change change, std::uint64_t memory = 0);

  /// Reads, changes and writes. Throws what the changes throw, FileError, Cancelled.
  void run(const TaskOptions& options);

  // For each shard, and for each of the copies.
  std::span<const RestChecksum> rest_before() const { return before_; }
  std::span<const RestChecksum> rest_after() const { return after_; }
  std::span<const RestChecksum> copies_before() const { return copied_before_; }
  std::span<const RestChecksum> copies_after() const { return copied_after_; }

 private:
  struct Changed {
    bool was_merged = false, is_merged = false;
    std::vector<Change> steps = {};
    std::uint64_t memory = 0;
  };
  void add_changed(const ModelTensor& tensor, const Changed& changed, std::uint64_t size_before);
  void add_pieces(const ModelTensor& tensor);
  void add_copy(std::size_t i, const TaskOptions& options);

  const Model& from_;
  ModelWriter* to_;
  std::vector<std::string> copies_;
  bool with_checksums_;
  const Reshape* reshape_;
  std::vector<Changed> changes_;               // of each tensor; without steps when it is copied
  std::map<const ModelTensor*, Changed> new_;  // of those that `from` does not have
  std::vector<const ModelTensor*> in_order_;   // these
  std::vector<RestChecksum> before_, after_, copied_before_, copied_after_;
  std::vector<Task> tasks_;
};
using Rewrite = BasicRewrite<>;

template <class Void>
BasicRewrite<Void>::BasicRewrite(const Model& from, ModelWriter* to, std::vector<std::string> copies,
                                 bool with_checksums, const Reshape* reshape)
    : from_(from),
      to_(to),
      copies_(std::move(copies)),
      with_checksums_(with_checksums),
      reshape_(reshape),
      changes_(from.tensors().size()),
      before_(from.shards().size()),
      after_(from.shards().size()),
      copied_before_(copies_.size()),
      copied_after_(copies_.size()) {}

template <class Void>
void BasicRewrite<Void>::change(const ModelTensor& tensor, bool was_merged, bool is_merged, Change change,
                                std::uint64_t memory) {
  const bool is_known = from_.find(tensor.info->name) == &tensor;
  if (!is_known && !new_.contains(&tensor)) in_order_.push_back(&tensor);
  Changed& changed = is_known ? changes_[static_cast<std::size_t>(&tensor - from_.tensors().data())] : new_[&tensor];
  changed.was_merged |= was_merged;
  changed.is_merged |= is_merged;
  changed.memory = std::max(changed.memory, memory);
  changed.steps.push_back(std::move(change));
}

template <class Void>
void BasicRewrite<Void>::run(const TaskOptions& options) {
  for (std::size_t i = 0; i < copies_.size(); ++i) add_copy(i, options);
  for (std::size_t i = 0; i < changes_.size(); ++i)
    if (!changes_[i].steps.empty())
      add_changed(from_.tensors()[i], changes_[i], from_.tensors()[i].info->bytes());
    else if (to_ != nullptr || with_checksums_)
      add_pieces(from_.tensors()[i]);
  for (const ModelTensor* const tensor : in_order_) add_changed(*tensor, new_[tensor], 0);
  run_tasks(tasks_, options);
  // A pass over some tensors alone may be one whose changes write to them.
  if (to_ != nullptr || with_checksums_) from_.expect_unchanged();
}

template <class Void>
void BasicRewrite<Void>::add_changed(const ModelTensor& tensor, const Changed& changed, std::uint64_t size_before) {
  const std::uint64_t size_after = to_ != nullptr ? to_->bytes_of(tensor) : size_before,
                      room = std::max(size_before, size_after);
  tasks_.push_back({room + changed.memory,
                    [this, &tensor, &changed, size_before, size_after, room](Buffer& buffer,
                                                                             const Context& context) -> Finish {
                      const std::span<std::byte> bytes = buffer.get(room);
                      if (size_before != 0) from_.read(tensor, 0, bytes.first(size_before));
                      std::vector<std::uint64_t> before, after;
                      if (with_checksums_ && !changed.was_merged)
                        before = RestChecksum::of_pieces(bytes.first(size_before));
                      std::vector<Finish> finishes;
                      for (const Change& step : changed.steps) finishes.push_back(step(bytes, context));
                      if (with_checksums_ && !changed.is_merged)
                        after = RestChecksum::of_pieces(bytes.first(size_after));
                      if (to_ != nullptr && size_after != 0) to_->write_at(tensor, 0, bytes.first(size_after));
                      return [this, &tensor, finishes = std::move(finishes), before = std::move(before),
                              after = std::move(after)] {
                        for (const Finish& finish : finishes)
                          if (finish) finish();
                        for (const std::uint64_t piece : before) before_[tensor.shard].add_checksum(piece);
                        for (const std::uint64_t piece : after) after_[tensor.shard].add_checksum(piece);
                      };
                    }});
}

template <class Void>
void BasicRewrite<Void>::add_pieces(const ModelTensor& tensor) {
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

template <class Void>
void BasicRewrite<Void>::add_copy(std::size_t i, const TaskOptions& options) {
  std::error_code none;  // what cannot be examined is an error when it is copied
  const std::uintmax_t found = std::filesystem::file_size(from_.path() / utf8_path(copies_[i]), none);
  const std::uint64_t size = none ? 0 : found;
  const std::uint64_t memory = std::min<std::uint64_t>(size, RestChecksum::piece_bytes);
  tasks_.push_back({memory,
                    [this, i, &options](Buffer& buffer, const Context&) -> Finish {
                      const InputFile file(from_.path() / utf8_path(copies_[i]));
                      const Reshape::File* const other = reshape_ == nullptr ? nullptr : reshape_->file(copies_[i]);
                      std::optional<OutputFile> copy;
                      if (to_ != nullptr) copy.emplace(to_->file(copies_[i]));
                      for (std::uint64_t at = 0; at < file.size();) {
                        expect_not_cancelled(options);
                        const std::span<std::byte> piece = buffer.get(static_cast<std::size_t>(
                            std::min<std::uint64_t>(RestChecksum::piece_bytes, file.size() - at)));
                        file.read(at, piece);
                        if (with_checksums_) copied_before_[i].add(piece);
                        if (copy && other == nullptr) copy->write(piece);
                        at += piece.size();
                      }
                      if (other != nullptr) {
                        const std::span<const std::byte> content = std::as_bytes(std::span(other->after));
                        if (with_checksums_) copied_after_[i].add_all(content);
                        if (copy) copy->write(content);
                      } else {
                        copied_after_[i] = copied_before_[i];
                      }
                      file.expect_unchanged();
                      if (copy) copy->commit();
                      return {};
                    },
                    size - memory});
}

}  // namespace io::detail
LORA_NAMESPACE_END
