// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/journal.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN
namespace io::detail {

inline constexpr std::string_view journal_magic = "lorajrnl";
inline constexpr std::uint64_t journal_version = 1, journal_begin = 32, journal_page = 4096;

/// Numbers of 64 bits and strings, one after the other.
template <class = void>
class BasicJournalBytes {
 public:
  explicit BasicJournalBytes(std::string bytes = {}) : bytes_(std::move(bytes)) {}
  const std::string& bytes() const { return bytes_; }

  void add(std::uint64_t number) {
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>((number >> (8 * i)) & 0xff);
  }
  void add(std::string_view characters) {
    add(std::uint64_t{characters.size()});
    bytes_ += characters;
  }
  // Of bytes that a checksum covers; they end where they should all the same.
  std::uint64_t take() {
    std::uint64_t out = 0;
    for (std::size_t i = 0; i < 8 && at_ < bytes_.size(); ++i)
      out |= std::uint64_t{static_cast<unsigned char>(bytes_[at_++])} << (8 * i);
    return out;
  }
  std::string take_string() {
    const std::uint64_t size = std::min<std::uint64_t>(take(), bytes_.size() - at_);
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  bool is_at_end() const { return at_ == bytes_.size(); }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};
using JournalBytes = BasicJournalBytes<>;

LORA_ON_CALL_DECLARED inline std::string journal_text(const JournalTable& table) {
  JournalBytes out;
  out.add(table.command);
  for (const JournalUndo* const undo : {&table.old_undo, &table.new_undo}) {
    out.add(undo->path);
    out.add(undo->checksum);
  }
  for (const JournalTensor& tensor : table.tensors) {
    out.add(tensor.name);
    for (const std::uint64_t checksum : {tensor.before, tensor.original, tensor.after}) out.add(checksum);
  }
  return out.bytes();
}

inline std::uint64_t text_checksum(std::string_view characters) {
  return RestChecksum::of_piece(bytes_of(characters));
}

LORA_ON_CALL LORA_FUNC Journal::Journal(const std::filesystem::path& path, Sync sync) : file_(path, sync), sync_(sync) {
  std::string begin(std::min<std::uint64_t>(journal_begin, file_.size()), '\0');
  file_.read(0, std::as_writable_bytes(std::span(begin)));
  JournalBytes head(begin.substr(std::min<std::size_t>(8, begin.size())));
  const std::uint64_t version = head.take(), size = head.take(), checksum = head.take();
  if (!begin.starts_with(journal_magic)) fail(path, "expected the journal of a change in place, found something else");
  if (version != journal_version) fail(path, "journal: expected version ", journal_version, ", found ", version);
  std::string table(size <= file_.size() - begin.size() ? size : 0, '\0');
  file_.read(begin.size(), std::as_writable_bytes(std::span(table)));
  if (table.size() != size || text_checksum(table) != checksum)
    fail(path, "the journal is damaged: its checksum differs");
  JournalBytes in(std::move(table));
  table_.command = in.take_string();
  for (JournalUndo* const undo : {&table_.old_undo, &table_.new_undo}) {
    undo->path = in.take_string();
    undo->checksum = in.take();
  }
  while (!in.is_at_end()) {
    JournalTensor tensor{in.take_string()};
    tensor.before = in.take();
    tensor.original = in.take();
    tensor.after = in.take();
    table_.tensors.push_back(std::move(tensor));
  }
  room_ = (journal_begin + size + journal_page - 1) / journal_page * journal_page;
}

LORA_ON_CALL LORA_FUNC Journal Journal::create(const Model& model, const JournalTable& table, Sync sync) {
  const std::string characters = journal_text(table);
  JournalBytes head;
  head.add(journal_version);
  head.add(std::uint64_t{characters.size()});
  head.add(text_checksum(characters));
  OutputFile file(journal_path(model), sync);
  file.write(journal_magic);
  file.write(head.bytes());
  file.write(characters);
  std::uint64_t end = (file.position() + journal_page - 1) / journal_page * journal_page + 8;
  std::uint64_t largest = 0;
  for (const JournalTensor& tensor : table.tensors)
    largest = std::max(largest, model.tensor(tensor.name).info->bytes());
  end += largest;
  // Written, not only asked for: a disk that is too small shows itself before anything of the model changes. No
  // tensor's number.
  const std::vector<std::byte> unused(std::min<std::uint64_t>(end - file.position(), RestChecksum::piece_bytes),
                                      std::byte{0xff});
  while (file.position() < end)
    file.write(std::span(unused).first(std::min<std::uint64_t>(unused.size(), end - file.position())));
  file.commit();
  try {
    return Journal(file.path(), sync);
  } catch (...) {
    std::error_code ignored;
    remove_file(file.path(), ignored);
    throw;
  }
}

LORA_ON_CALL LORA_FUNC Journal Journal::open(const Model& model, Sync sync) {
  return Journal(journal_path(model), sync);
}

LORA_FUNC std::uint64_t Journal::number(std::uint64_t offset) const {
  std::string bytes(8, '\0');
  file_.read(offset, std::as_writable_bytes(std::span(bytes)));
  return JournalBytes(bytes).take();
}

LORA_ON_CALL LORA_FUNC void Journal::keep(std::size_t tensor, const UpdateFile& file, std::uint64_t offset,
                                          std::uint64_t size) {
  JournalBytes number;
  number.add(std::uint64_t{tensor});
  file_.write_at(room_, std::as_bytes(std::span(number.bytes())));
  RestChecksum found;
  std::vector<std::byte> memory(std::min<std::uint64_t>(size, RestChecksum::piece_bytes));
  for (std::uint64_t at = 0; at < size; at += memory.size()) {
    const std::span<std::byte> piece = std::span(memory).first(std::min<std::uint64_t>(memory.size(), size - at));
    file.read(offset + at, piece);
    found.add(piece);
    file_.write_at(data_begin() + at, piece);
  }
  if (!table_.tensors[tensor].is_known(found.value()))
    fail(file.path(), "tensor ", in_quotes(table_.tensors[tensor].name),
         ": expected it as it was read before, found another: the file was changed since");
  file_.flush();
}

LORA_ON_CALL LORA_FUNC std::optional<std::size_t> Journal::kept(const Model& model) const {
  const std::uint64_t tensor = number(room_);
  if (tensor >= table_.tensors.size()) return std::nullopt;
  const std::uint64_t size = model.tensor(table_.tensors[tensor].name).info->bytes();
  if (size > file_.size() - std::min(file_.size(), data_begin())) return std::nullopt;
  RestChecksum found;
  std::vector<std::byte> memory(std::min<std::uint64_t>(size, RestChecksum::piece_bytes));
  for (std::uint64_t at = 0; at < size; at += memory.size()) {
    const std::span<std::byte> piece = std::span(memory).first(std::min<std::uint64_t>(memory.size(), size - at));
    file_.read(data_begin() + at, piece);
    found.add(piece);
  }
  return table_.tensors[tensor].is_known(found.value()) ? std::optional<std::size_t>(tensor) : std::nullopt;
}

LORA_ON_CALL LORA_FUNC std::uint64_t Journal::give_back(UpdateFile& file, std::uint64_t offset,
                                                        std::uint64_t size) const {
  RestChecksum given;
  std::vector<std::byte> memory(std::min<std::uint64_t>(size, RestChecksum::piece_bytes)), other(memory.size());
  for (std::uint64_t at = 0; at < size; at += memory.size()) {
    const std::span<std::byte> piece = std::span(memory).first(std::min<std::uint64_t>(memory.size(), size - at));
    file_.read(data_begin() + at, piece);
    given.add(piece);
    // Only from the first to the last byte that differs: what could not be written before may be impossible to write
    // now.
    const std::span<std::byte> there = std::span(other).first(piece.size());
    file.read(offset + at, there);
    const auto begin = std::mismatch(piece.begin(), piece.end(), there.begin()).first;
    const auto left = std::mismatch(piece.rbegin(), piece.rend(), there.rbegin()).first;
    const auto first = static_cast<std::size_t>(begin - piece.begin());
    if (begin != piece.end())
      file.write_at(offset + at + first, piece.subspan(first, static_cast<std::size_t>(piece.rend() - left) - first));
  }
  file.flush();
  return given.value();
}

LORA_ON_CALL LORA_FUNC void Journal::remove_leftovers(const Model& model) {
  const std::filesystem::path journal = journal_path(model);
  const std::string begin = utf8_text(journal.filename()) + ".tmp-";
  std::error_code error;
  std::vector<std::filesystem::path> found;
  std::filesystem::directory_iterator entries(folder_of(journal), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error))
    if (utf8_text(entries->path().filename()).starts_with(begin)) found.push_back(entries->path());
  for (const std::filesystem::path& path : found) remove_file(path, error);
}

LORA_ON_CALL LORA_FUNC void Journal::remove() {
  std::error_code error;
  remove_file(file_.path(), error);
  if (error) fail_system(file_.path(), "cannot remove", error);
  if (sync_ == Sync::yes) sync_folder(folder_of(file_.path()));
}

}  // namespace io::detail
LORA_NAMESPACE_END
