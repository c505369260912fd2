// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The undo file of a merged model: everything that gives the original back. Its format is docs/UNDO-FILE.md's.

#include "lora/core/function_ref.hpp"
#include "lora/exact/undo_record.hpp"
#include "lora/io/file/output_file.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/reshape.hpp"
#include "lora/io/undo/undo_tensor.hpp"
#include "lora/update/active_set.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes an undo file, tensor after tensor, while a merge goes on. The file appears under its name with commit().
class UndoFileWriter {
 public:
  /// For the model `model`, these tensors, which add() then gets in this order, and these other files. `reshape` says what the merged
  /// model has otherwise besides: headers, other files. Throws FileError.
  LORA_ON_CALL_DECLARED UndoFileWriter(const std::filesystem::path& target, const Model& model,
                                       std::vector<UndoTensor> tensors, std::span<const std::string> copies = {},
                                       Sync sync = Sync::yes, const detail::Reshape& reshape = {});

  /// Its name once it is committed.
  const std::filesystem::path& path() const { return file_.path(); }

  /// The bytes of the records so far.
  std::uint64_t record_bytes() const;

  /// Writes the updates and the record of the next tensor. `set` and `record` are those of lora::merge. Throws
  /// StateError when they are not what the constructor was told, ValueError for an update of a kind that files cannot hold,
  /// FileError. Allocates the serialised record.
  template <class Compute>
  void add(const std::type_identity_t<ActiveSet<Compute>>& set, const UndoRecord& record);

  /// The same for a tensor that is replaced: the merged one's checksum, and what reads its bytes as they were, from an offset on: all
  /// of them, or rows as the constructor was told. Throws StateError, FileError. Allocates 4 MiB at most.
  LORA_ON_CALL_DECLARED void add_replaced(const RestChecksum& merged,
                                          FunctionRef<void(std::uint64_t, std::span<std::byte>)> read);

  /// Writes the header, after the last add(). `rests` have seen all data of each shard that was not merged, `copies` each
  /// of the other files. Throws StateError, FileError.
  LORA_ON_CALL_DECLARED void finish(std::span<const RestChecksum> rests, std::span<const RestChecksum> copies = {});

  /// The checksum of the header, after finish(): no other undo file has it.
  std::uint64_t header_checksum() const { return header_checksum_; }

  /// As those of OutputFile; a merged model's own commit is what an undo file's is to be before. Throw StateError before
  /// finish(), FileError.
  void flush() { expect_finished().flush(); }
  void commit() { expect_finished().commit(); }
  template <class Next>
  void commit_before(const Next& next) {
    expect_finished().commit_before(next);
  }

 private:
  void write(std::span<const std::byte> bytes);
  OutputFile& expect_finished();

  detail::UndoHeader header_;
  OutputFile file_;
  std::uint64_t room_ = 0, end_ = 0;
  std::vector<std::uint64_t> record_bytes_;
  std::uint64_t header_checksum_ = 0;
  bool is_finished_ = false;
};

/// An undo file, open for reading; what it says of itself is checked completely, each record when it is read.
class UndoFile {
 public:
  /// Throws FileError.
  LORA_ON_CALL_DECLARED static UndoFile open(const std::filesystem::path& path);

  /// Takes a safetensors file that is_undo_file() holds to be one. Throws FileError.
  LORA_ON_CALL_DECLARED explicit UndoFile(Safetensors file);

  /// Where it is, and the file itself.
  const std::filesystem::path& path() const { return file_.path(); }
  const Safetensors& file() const { return file_; }

  /// Shard after shard, each in the order of its data.
  const std::vector<UndoTensor>& tensors() const { return header_.tensors; }

  /// The model's files with tensors, whether they lie in a folder, and its other files.
  const std::vector<UndoShard>& shards() const { return header_.shards; }
  bool is_folder() const { return header_.is_folder; }
  const std::vector<UndoCopy>& copies() const { return header_.copies; }

  /// What UndoFileWriter::header_checksum() was.
  std::uint64_t header_checksum() const { return RestChecksum::of_piece(file_.header().raw()); }

  /// The size of a tensor's record.
  std::uint64_t record_bytes(const UndoTensor& tensor) const;

  /// Throws FileError unless `merged` has the very files and headers of the model that was merged, with every tensor as it
  /// was.
  LORA_ON_CALL_DECLARED void expect_made_for(const Model& merged) const;

  /// Throws FileError, naming the file, unless the data that was not merged and the other files are what they were at the
  /// merge. `rests` are the checksums of shards(), `checked_copies` those of copies(), in their order; StateError when they are
  /// not as many.
  LORA_ON_CALL_DECLARED void expect_rest(const Model& merged, std::span<const RestChecksum> rests,
                                         std::span<const RestChecksum> checked_copies = {}) const;

  /// A tensor's updates with their coefficients, in the order they were merged; LowRank and DoRA have the
  /// type in which the weight computes. Throws FileError.
  template <class Compute>
  ActiveSet<Compute> active_set(const UndoTensor& tensor) const;

  /// Gives a replaced tensor its bytes back: the first ones of `bytes`, where it had fewer. Throws FileError, and nothing is changed,
  /// when they are not what was merged.
  LORA_ON_CALL_DECLARED void restore(const UndoTensor& tensor, std::span<std::byte> bytes) const;

  /// What the original has otherwise than the merged model: headers, other files. Throws FileError.
  LORA_ON_CALL_DECLARED detail::Reshape original(const Model& merged) const;

  /// A tensor's record. Throws FileError when it is damaged or another tensor's.
  LORA_ON_CALL_DECLARED UndoRecord record(const UndoTensor& tensor) const;

 private:
  Safetensors file_;
  detail::UndoHeader header_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/undo/undo_file-inl.hpp"
#endif
