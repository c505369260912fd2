// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The undo file of a merged safetensors file: everything that gives the original back. Its format is
/// docs/UNDO-FILE.md's.

#include "lora/exact/undo_record.hpp"
#include "lora/io/undo_header.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Writes an undo file, tensor after tensor, while a merge goes on. The file appears under its name with commit().
class UndoFileWriter {
 public:
  /// For a file with the header `merged` and these merged tensors, which add() then gets in this order. Throws
  /// FileError.
  UndoFileWriter(const std::filesystem::path& target, const SafetensorsHeader& merged, std::vector<UndoTensor> tensors)
      : header_{lora::detail::checksum(lora::detail::as_unsigned(merged.raw().data()), merged.raw().size()), 0,
                std::move(tensors)},
        file_(target) {
    detail::expect_tensors(target, merged, header_.tensors);
    // The sizes of the records are not known yet: room is left for a header with the largest they can have.
    std::vector<std::uint64_t> largest;
    for (const UndoTensor& tensor : header_.tensors) largest.push_back(detail::largest_record(tensor));
    room_ = detail::undo_header(file_.path(), header_, largest).raw().size();
    end_ = room_;
  }

  const std::filesystem::path& path() const { return file_.path(); }

  /// The bytes of the records so far.
  std::uint64_t record_bytes() const {
    return std::accumulate(record_bytes_.begin(), record_bytes_.end(), std::uint64_t{0});
  }

  /// Writes the factors and the record of the next tensor. `set` and `record` are those of lora::merge. Throws
  /// StateError when they are not what the constructor was told, FileError. Allocates the serialised record.
  template <class Compute>
  void add(std::type_identity_t<ActiveSet<Compute>> set, const UndoRecord& record) {
    if (record_bytes_.size() == header_.tensors.size())
      throw StateError("lora: UndoFileWriter::add: every tensor has its record already");
    const UndoTensor& tensor = header_.tensors[record_bytes_.size()];
    bool fits = compute_type(tensor.type) == lora::detail::ScalarTraits<Compute>::type &&
                set.size() == tensor.updates.size() && detail::is_record_of(record, tensor);
    for (std::size_t i = 0; fits && i < set.size(); ++i)
      fits = set[i].update->rank() == tensor.updates[i].rank && set[i].weight == tensor.updates[i].weight &&
             set[i].update->scaling_rule().rule() == tensor.updates[i].scaling.rule() &&
             set[i].update->scaling_rule().value() == tensor.updates[i].scaling.value();
    if (!fits)
      throw StateError(lora::detail::text("lora: UndoFileWriter::add: tensor ", detail::in_quotes(tensor.name),
                                          ": the record or the updates are not those of this tensor"));
    for (const Weighted<Compute>& entry : set) {
      write(std::as_bytes(std::span(entry.update->A().data(), static_cast<std::size_t>(entry.update->A().size()))));
      write(std::as_bytes(std::span(entry.update->B().data(), static_cast<std::size_t>(entry.update->B().size()))));
    }
    const std::vector<std::byte> bytes = record.serialize();
    write(bytes);
    record_bytes_.push_back(bytes.size());
  }

  /// Writes the header, after the last add(). `rest` has seen all data that was not merged. Throws StateError,
  /// FileError.
  void finish(const RestChecksum& rest) {
    if (record_bytes_.size() != header_.tensors.size())
      throw StateError(lora::detail::text("lora: UndoFileWriter::finish: expected the records of ",
                                          header_.tensors.size(), " tensors, found ", record_bytes_.size()));
    header_.rest = rest.value();
    const SafetensorsHeader header = detail::undo_header(file_.path(), header_, record_bytes_, room_);
    file_.write_at(0, header.raw());
    is_finished_ = true;
  }

  /// Puts everything on disk without renaming, and: the file takes its name. See OutputFile. Throw StateError before
  /// finish(), FileError.
  void flush() { expect_finished().flush(); }
  void commit() { expect_finished().commit(); }

 private:
  void write(std::span<const std::byte> bytes) {
    file_.write_at(end_, bytes);
    end_ += bytes.size();
  }
  OutputFile& expect_finished() {
    if (!is_finished_) throw StateError("lora: UndoFileWriter: commit before finish");
    return file_;
  }

  detail::UndoHeader header_;
  OutputFile file_;
  std::uint64_t room_ = 0, end_ = 0;
  std::vector<std::uint64_t> record_bytes_;
  bool is_finished_ = false;
};

/// An undo file, open for reading; what it says of itself is checked completely, each record when it is read.
class UndoFile {
 public:
  /// Throws FileError.
  static UndoFile open(const std::filesystem::path& path) { return UndoFile(Safetensors::open(path)); }

  /// Takes a safetensors file that is_undo_file() holds to be one. Throws FileError.
  explicit UndoFile(Safetensors file) : file_(std::move(file)), header_(detail::UndoHeaderReader(file_).read()) {}

  const std::filesystem::path& path() const { return file_.path(); }
  const Safetensors& file() const { return file_; }

  /// In the order they were merged.
  const std::vector<UndoTensor>& tensors() const { return header_.tensors; }

  /// The size of a tensor's record.
  std::uint64_t record_bytes(const UndoTensor& tensor) const {
    return file_.tensor(detail::record_name(tensor)).bytes();
  }

  /// Throws FileError unless `merged` has the very header of the file that was merged, with every tensor as it was.
  void expect_made_for(const Safetensors& merged) const {
    detail::expect_tensors(merged.path(), merged.header(), tensors());
    const auto raw = merged.header().raw();
    if (lora::detail::checksum(lora::detail::as_unsigned(raw.data()), raw.size()) != header_.merged)
      detail::fail(merged.path(), "expected the header of the file that ", detail::in_quotes(path().string()),
                   " was made for, found another: it is not the file that was merged");
  }

  /// Throws FileError, naming `merged`, unless the data that was not merged is what it was at the merge.
  void expect_rest(const std::filesystem::path& merged, const RestChecksum& rest) const {
    if (rest.value() != header_.rest)
      detail::fail(merged, "expected the tensors that were not merged to be as they were at the merge, found others: ",
                   "the file was changed since");
  }

  /// A tensor's updates, in the order they were merged. Throws FileError.
  template <class Compute>
  std::vector<LowRank<Compute>> updates(const UndoTensor& tensor) const {
    std::vector<LowRank<Compute>> out;
    for (std::size_t i = 0; i < tensor.updates.size(); ++i) {
      const Matrix<Compute> A = file_.read_matrix<Compute>(file_.tensor(detail::factor_name(tensor, i, "A")));
      const Matrix<Compute> B = file_.read_matrix<Compute>(file_.tensor(detail::factor_name(tensor, i, "B")));
      try {
        out.emplace_back(B, A, tensor.updates[i].scaling);
      } catch (const Error& error) {
        detail::fail(path(), "tensor ", detail::in_quotes(tensor.name), ": update ", i, ": ", detail::bare(error));
      }
    }
    return out;
  }

  /// A tensor's record. Throws FileError when it is damaged or another tensor's.
  UndoRecord record(const UndoTensor& tensor) const {
    const TensorInfo& info = file_.tensor(detail::record_name(tensor));
    std::vector<std::byte> bytes(static_cast<std::size_t>(info.bytes()));
    file_.read(info, 0, bytes);
    try {
      UndoRecord record = UndoRecord::deserialize(bytes);
      if (!detail::is_record_of(record, tensor))
        throw RecordError(lora::detail::text("lora: expected a record for ", lora::name(tensor.type), " ",
                                             lora::detail::shape_text(tensor.rows, tensor.cols), " ",
                                             detail::order_name(tensor.order), ", found ", lora::name(record.type()),
                                             " ", lora::detail::shape_text(record.rows(), record.cols()), " ",
                                             detail::order_name(record.order())));
      return record;
    } catch (const RecordError& error) {
      detail::fail(path(), "tensor ", detail::in_quotes(info.name), ": ", detail::bare(error));
    }
  }

 private:
  Safetensors file_;
  detail::UndoHeader header_;
};

}  // namespace io
LORA_NAMESPACE_END
