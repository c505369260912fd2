// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/kinds.hpp"
#include "lora/io/safetensors/read_factor.hpp"
#include "lora/io/undo/undo_file.hpp"
#include "lora/io/undo/undo_header_reader.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_ON_CALL LORA_FUNC UndoFileWriter::UndoFileWriter(const std::filesystem::path& target, const Model& model,
                                                      std::vector<UndoTensor> tensors,
                                                      std::span<const std::string> copies, Sync sync,
                                                      const detail::Reshape& reshape)
    : header_{model.is_folder(), {}, {}, std::move(tensors)}, file_(target, sync) {
  detail::expect_tensors(model, header_.tensors, false);
  for (std::size_t i = 0; i < model.shards().size(); ++i) {
    UndoShard shard{model.shard_name(i), detail::header_checksum(model.shards()[i]), 0};
    if (const SafetensorsHeader* const header = reshape.header(i)) {
      shard.merged = RestChecksum::of_piece(header->raw());
      shard.header_bytes = model.shards()[i].safetensors()->header().raw().size();
    }
    header_.shards.push_back(std::move(shard));
  }
  for (const std::string& copy : copies) {
    header_.copies.push_back({copy, 0});
    if (const detail::Reshape::File* const file = reshape.file(copy))
      header_.copies.back().original_bytes = file->before.size();
  }
  detail::expect_complete(file_.path(), header_);
  // The sizes of the records are not known yet: room is left for a header with the largest they can have.
  std::vector<std::uint64_t> largest;
  for (const UndoTensor& tensor : header_.tensors)
    largest.push_back(tensor.replaced ? 0 : detail::largest_record(tensor));
  room_ = detail::undo_header(file_.path(), header_, largest).raw().size();
  end_ = room_;
  for (std::size_t i = 0; i < header_.shards.size(); ++i)
    if (header_.shards[i].header_bytes != 0) write(model.shards()[i].safetensors()->header().raw());
  for (const std::string& copy : copies)
    if (const detail::Reshape::File* const file = reshape.file(copy)) write(std::as_bytes(std::span(file->before)));
}

LORA_FUNC std::uint64_t UndoFileWriter::record_bytes() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t bytes : record_bytes_) sum += bytes;
  return sum;
}

LORA_ON_CALL LORA_FUNC void UndoFileWriter::add_replaced(const RestChecksum& merged,
                                                         FunctionRef<void(std::uint64_t, std::span<std::byte>)> read) {
  UndoTensor* const tensor = record_bytes_.size() == header_.tensors.size() ? nullptr : &header_.tensors[record_bytes_.size()];
  if (tensor == nullptr || !tensor->replaced)
    throw StateError("lora: UndoFileWriter::add_replaced: the next tensor is none that is replaced");
  tensor->replaced->checksum = merged.value();
  record_bytes_.push_back(0);
  if (!detail::keeps_original(*tensor)) return;
  // One part, or a row after the other.
  const std::vector<std::uint64_t> kept = detail::kept_shape(*tensor);
  const std::uint64_t all = detail::tensor_bytes(tensor->replaced->dtype, kept).value_or(0);
  const std::uint64_t parts = tensor->replaced->rows ? kept[0] : 1, size = all / parts;
  std::vector<std::byte> piece;
  for (std::uint64_t i = 0; i < parts; ++i)
    for (std::uint64_t at = 0; at < size; at += piece.size()) {
      piece.resize(std::min<std::uint64_t>(RestChecksum::piece_bytes, size - at));
      read((tensor->replaced->rows ? (*tensor->replaced->rows)[i] * size : 0) + at, piece);
      write(piece);
    }
}

LORA_ON_CALL LORA_FUNC void UndoFileWriter::finish(std::span<const RestChecksum> rests,
                                                   std::span<const RestChecksum> copies) {
  if (rests.size() != header_.shards.size() || copies.size() != header_.copies.size())
    throw StateError(lora::detail::text("lora: UndoFileWriter::finish: expected the checksums of ",
                                        header_.shards.size(), " shards and ", header_.copies.size(),
                                        " other files, found ", rests.size(), " and ", copies.size()));
  if (record_bytes_.size() != header_.tensors.size())
    throw StateError(lora::detail::text("lora: UndoFileWriter::finish: expected the records of ",
                                        header_.tensors.size(), " tensors, found ", record_bytes_.size()));
  for (std::size_t i = 0; i < rests.size(); ++i) header_.shards[i].rest = rests[i].value();
  for (std::size_t i = 0; i < copies.size(); ++i) header_.copies[i].checksum = copies[i].value();
  const SafetensorsHeader header = detail::undo_header(file_.path(), header_, record_bytes_, room_);
  file_.write_at(0, header.raw());
  header_checksum_ = RestChecksum::of_piece(header.raw());
  is_finished_ = true;
}

LORA_FUNC void UndoFileWriter::write(std::span<const std::byte> bytes) {
  file_.write_at(end_, bytes);
  end_ += bytes.size();
}

LORA_FUNC OutputFile& UndoFileWriter::expect_finished() {
  if (!is_finished_) throw StateError("lora: UndoFileWriter: commit before finish");
  return file_;
}

LORA_ON_CALL LORA_FUNC UndoFile UndoFile::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    detail::fail(path,
                 "expected an undo file, which is one regular file, found a folder: name the file that was written "
                 "with the merge (--undo)");
  return UndoFile(Safetensors::open(path));
}

LORA_ON_CALL LORA_FUNC UndoFile::UndoFile(Safetensors file)
    : file_(std::move(file)), header_(detail::UndoHeaderReader(file_).read()) {}

LORA_FUNC std::uint64_t UndoFile::record_bytes(const UndoTensor& tensor) const {
  return file_.tensor(detail::record_name(tensor)).bytes();
}

LORA_ON_CALL LORA_FUNC void UndoFile::expect_made_for(const Model& merged) const {
  if (merged.is_folder() != is_folder())
    detail::fail(merged.path(), "expected a ", is_folder() ? "folder" : "file", ", as the undo file ",
                 detail::in_quotes(utf8_text(path())), " was made for, found a ", is_folder() ? "file" : "folder");
  if (merged.shards().size() != shards().size())
    detail::fail(merged.path(), "expected ", shards().size(), " files with tensors, as the undo file says, found ",
                 merged.shards().size());
  for (std::size_t i = 0; i < shards().size(); ++i)
    if (merged.shard_name(i) != shards()[i].file)
      detail::fail(merged.path(), "expected the file ", detail::in_quotes(shards()[i].file),
                   ", as the undo file says, found ", detail::in_quotes(merged.shard_name(i)));
  detail::expect_tensors(merged, tensors(), true);
  for (std::size_t i = 0; i < shards().size(); ++i)
    if (detail::header_checksum(merged.shards()[i]) != shards()[i].merged)
      detail::fail(merged.shards()[i].path(), "expected the header of the file that ",
                   detail::in_quotes(utf8_text(path())),
                   " was made for, found another: it is not the file that was merged");
}

LORA_ON_CALL LORA_FUNC void UndoFile::expect_rest(const Model& merged, std::span<const RestChecksum> rests,
                                                  std::span<const RestChecksum> checked_copies) const {
  if (rests.size() != shards().size() || checked_copies.size() != copies().size())
    throw StateError(lora::detail::text("lora: UndoFile::expect_rest: expected the checksums of ", shards().size(),
                                        " shards and ", copies().size(), " other files, found ", rests.size(), " and ",
                                        checked_copies.size()));
  for (std::size_t i = 0; i < shards().size(); ++i)
    if (rests[i].value() != shards()[i].rest)
      detail::fail(merged.shards()[i].path(),
                   "expected the tensors that were not merged to be as they were at the merge, found others: ",
                   "the file was changed since");
  for (std::size_t i = 0; i < copies().size(); ++i)
    if (checked_copies[i].value() != copies()[i].checksum)
      detail::fail(merged.path() / utf8_path(copies()[i].file),
                   "expected the file as it was at the merge, found another: put it back as the merge left it");
}

LORA_ON_CALL LORA_FUNC void UndoFile::restore(const UndoTensor& tensor, std::span<std::byte> bytes) const {
  const std::uint64_t merged = detail::tensor_bytes(tensor.replaced->dtype, stored_shape(tensor)).value_or(0);
  RestChecksum found;
  found.add_all(bytes.first(merged));
  if (found.value() != tensor.replaced->checksum)
    detail::fail(path(), "tensor ", detail::in_quotes(tensor.name),
                 ": expected the tensor that was put in its place at the merge, found another: the undo file is another merge's, or a "
                 "later merge has to be unmerged first, or the tensor was changed since");
  if (!detail::keeps_original(tensor)) return;
  const TensorInfo& info = file_.tensor(detail::original_name(tensor));
  if (!tensor.replaced->rows) return file_.read(info, 0, bytes.first(info.bytes()));
  const std::uint64_t size = info.bytes() / info.shape[0];
  for (std::size_t i = 0; i < tensor.replaced->rows->size(); ++i)
    file_.read(info, i * size, bytes.subspan((*tensor.replaced->rows)[i] * size, size));
}

LORA_ON_CALL LORA_FUNC detail::Reshape UndoFile::original(const Model& merged) const {
  detail::Reshape out;
  const auto text_of = [&](const std::string& name) {
    const TensorInfo& info = file_.tensor(name);
    std::string characters(info.bytes(), '\0');
    file_.read(info, 0, std::as_writable_bytes(std::span(characters)));
    return characters;
  };
  for (std::size_t i = 0; i < copies().size(); ++i)
    if (copies()[i].original_bytes) out.files[copies()[i].file].after = text_of(detail::file_name(i));
  out.headers.resize(shards().size());
  for (std::size_t i = 0; i < shards().size(); ++i) {
    if (shards()[i].header_bytes == 0) continue;
    std::vector<TensorInfo> expected;
    for (const TensorInfo& tensor : merged.shards()[i].tensors()) {
      const auto at = std::find_if(tensors().begin(), tensors().end(), [&](const UndoTensor& changed) {
        return changed.name == tensor.name && (changed.is_new || changed.grown_from);
      });
      if (at != tensors().end() && at->is_new) continue;
      expected.push_back({tensor.name, tensor.dtype, at == tensors().end() ? tensor.shape : original_shape(*at)});
    }
    std::uint64_t bytes = 0;
    for (const TensorInfo& tensor : expected) bytes += detail::tensor_bytes(tensor.dtype, tensor.shape).value_or(0);
    std::string raw = text_of(detail::header_name(i));
    const std::uint64_t size = raw.size() + bytes;
    SafetensorsHeader header = SafetensorsHeader::parse(path(), std::move(raw), size);
    const auto are_same = [](const TensorInfo& a, const TensorInfo& b) {
      return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape;
    };
    if (!std::equal(expected.begin(), expected.end(), header.tensors().begin(), header.tensors().end(), are_same))
      detail::fail(path(), "tensor ", detail::in_quotes(detail::header_name(i)),
                   ": expected the header of the original, with the tensors of the merged model, found another");
    out.headers[i].emplace(std::move(header));
  }
  return out;
}

LORA_ON_CALL LORA_FUNC UndoRecord UndoFile::record(const UndoTensor& tensor) const {
  const TensorInfo& info = file_.tensor(detail::record_name(tensor));
  std::vector<std::byte> bytes(info.bytes());
  file_.read(info, 0, bytes);
  try {
    UndoRecord record = UndoRecord::deserialize(bytes);
    if (!detail::is_record_of(record, tensor))
      throw RecordError(lora::detail::text("lora: expected a record for ", lora::name(tensor.type), " ",
                                           lora::detail::shape_text(tensor.rows, tensor.cols), " ",
                                           detail::order_name(tensor.order), ", found ", lora::name(record.type()), " ",
                                           lora::detail::shape_text(record.rows(), record.cols()), " ",
                                           detail::order_name(record.order())));
    return record;
  } catch (const RecordError& error) {
    detail::fail(path(), "tensor ", detail::in_quotes(info.name), ": ", detail::bare(error));
  }
}

template <class Compute>
void UndoFileWriter::add(const std::type_identity_t<ActiveSet<Compute>>& set, const UndoRecord& record) {
  if (record_bytes_.size() == header_.tensors.size())
    throw StateError("lora: UndoFileWriter::add: every tensor has its record already");
  const UndoTensor& tensor = header_.tensors[record_bytes_.size()];
  const std::span<const ActiveUpdate<Compute>> updates = set.updates();
  bool fits = !tensor.replaced && compute_type(tensor.type) == lora::detail::ScalarTraits<Compute>::type &&
              updates.size() == tensor.updates.size() && detail::is_record_of(record, tensor) &&
              record.fingerprint() == set.fingerprint();
  for (std::size_t i = 0; fits && i < updates.size(); ++i) {
    const UndoUpdate found = undo_update("", *updates[i].update, updates[i].coefficient, tensor.type), &told = tensor.updates[i];
    const auto same = [](const UndoPart& a, const UndoPart& b) {
      return a.name == b.name && a.type == b.type && a.rows == b.rows && a.cols == b.cols;
    };
    fits = found.kind == told.kind &&
           lora::detail::to_bits(found.coefficient) == lora::detail::to_bits(told.coefficient) &&
           found.scaling.rule() == told.scaling.rule() &&
           lora::detail::to_bits(found.scaling.value()) == lora::detail::to_bits(told.scaling.value()) &&
           std::equal(found.parts.begin(), found.parts.end(), told.parts.begin(), told.parts.end(), same);
  }
  if (!fits)
    throw StateError(lora::detail::text("lora: UndoFileWriter::add: tensor ", detail::in_quotes(detail::weight_name(tensor)),
                                        ": the record or the updates are not those of this tensor"));
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const std::vector<UpdateTensor> tensors = updates[i].update->tensors();
    for (const UndoPart& part : tensor.updates[i].parts) {
      const MatrixView& view = detail::find_part(tensors, part.name)->view;
      visit_type(part.type, [&]<class T>(std::type_identity<T>) {
        Matrix<T> matrix(view.rows, view.cols);
        lora::detail::copy_finite("UndoFileWriter", view, matrix.data());
        write(std::as_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size()))));
      });
    }
  }
  const std::vector<std::byte> bytes = record.serialize();
  write(bytes);
  record_bytes_.push_back(bytes.size());
}

template <class Compute>
ActiveSet<Compute> UndoFile::active_set(const UndoTensor& tensor) const {
  const auto refuse = [&](std::string_view where, const Error& error) {
    detail::fail(path(), "tensor ", detail::in_quotes(detail::weight_name(tensor)), ": ", where, detail::bare(error));
  };
  std::vector<ActiveUpdate<Compute>> out;
  for (std::size_t i = 0; i < tensor.updates.size(); ++i) {
    const UndoUpdate& update = tensor.updates[i];
    try {
      lora::detail::UpdateParts parts;
      for (const UndoPart& part : update.parts)
        parts.add(std::string(part.name),
                  detail::read_factor(file_, file_.tensor(detail::part_name(tensor, i, part.name)), part.name, part.rows, part.cols));
      const detail::EitherUpdate made = detail::make_update<Compute>(detail::row_of(update), parts, update.scaling);
      out.emplace_back(std::get<detail::SharedUpdate<Compute>>(detail::sized(made, tensor.rows, tensor.cols, 0)), update.coefficient);
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      refuse(detail::text("update ", i, ": "), error);
    }
  }
  try {
    return ActiveSet<Compute>(std::move(out));
  } catch (const Error& error) {
    refuse("", error);
    throw;
  }
}

}  // namespace io
LORA_NAMESPACE_END
