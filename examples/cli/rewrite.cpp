// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "rewrite.hpp"

#include "signals.hpp"

#include <iostream>

namespace cli {

namespace io = lora::io;

namespace {

/// The checksums of the pieces that RestChecksum takes.
std::vector<std::uint64_t> piece_checksums(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> out;
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), io::RestChecksum::piece_bytes)))
    out.push_back(io::RestChecksum::of_piece(bytes.first(std::min(bytes.size(), io::RestChecksum::piece_bytes))));
  return out;
}

}  // namespace

Rewrite::Rewrite(const io::Model& from, io::ModelWriter& to, std::vector<std::string> copies, bool with_checksums)
    : from_(from),
      to_(to),
      copies_(std::move(copies)),
      with_checksums_(with_checksums),
      changes_(from.tensors().size()),
      before_(from.shards().size()),
      after_(from.shards().size()),
      copied_(copies_.size()) {}

void Rewrite::change(const io::ModelTensor& tensor, bool was_merged, bool is_merged, Change change) {
  changes_[static_cast<std::size_t>(&tensor - from_.tensors().data())] = {was_merged, is_merged, std::move(change)};
}

void Rewrite::run(const CommonOptions& options, std::string title) {
  for (std::size_t i = 0; i < copies_.size(); ++i) add_copy(i);
  for (std::size_t i = 0; i < changes_.size(); ++i)
    if (changes_[i].change)
      add_changed(from_.tensors()[i], changes_[i]);
    else
      add_pieces(from_.tensors()[i]);
  std::uint64_t total = 0;
  for (const Task& task : tasks_) total += task.bytes + task.passed;
  Progress progress(std::move(title), total, options.quiet);
  run_tasks(tasks_, options.threads, progress);
  from_.expect_unchanged();
}

void Rewrite::add_changed(const io::ModelTensor& tensor, const Changed& changed) {
  tasks_.push_back({tensor.info->bytes(), [this, &tensor, &changed](Buffer& buffer) -> Finish {
                      const std::span<std::byte> bytes = buffer.get(static_cast<std::size_t>(tensor.info->bytes()));
                      from_.read(tensor, 0, bytes);
                      std::vector<std::uint64_t> before, after;
                      if (with_checksums_ && !changed.was_merged) before = piece_checksums(bytes);
                      Finish finish = changed.change(bytes);
                      if (with_checksums_ && !changed.is_merged) after = piece_checksums(bytes);
                      to_.write_at(tensor, 0, bytes);
                      return [this, &tensor, finish = std::move(finish), before = std::move(before),
                              after = std::move(after)] {
                        if (finish) finish();
                        for (const std::uint64_t piece : before) before_[tensor.shard].add_checksum(piece);
                        for (const std::uint64_t piece : after) after_[tensor.shard].add_checksum(piece);
                      };
                    }});
}

void Rewrite::add_pieces(const io::ModelTensor& tensor) {
  constexpr std::uint64_t step = io::RestChecksum::piece_bytes;
  for (std::uint64_t at = 0; at < tensor.info->bytes(); at += step) {
    const std::uint64_t size = std::min(step, tensor.info->bytes() - at);
    tasks_.push_back({size, [this, &tensor, at, size](Buffer& buffer) -> Finish {
                        const std::span<std::byte> bytes = buffer.get(static_cast<std::size_t>(size));
                        from_.read(tensor, at, bytes);
                        const std::uint64_t checksum = with_checksums_ ? io::RestChecksum::of_piece(bytes) : 0;
                        to_.write_at(tensor, at, bytes);
                        return [this, &tensor, checksum] {
                          before_[tensor.shard].add_checksum(checksum);
                          after_[tensor.shard].add_checksum(checksum);
                        };
                      }});
  }
}

void Rewrite::add_copy(std::size_t i) {
  std::error_code none;  // what cannot be examined is an error when it is copied
  const std::uintmax_t found = std::filesystem::file_size(from_.path() / copies_[i], none);
  const std::uint64_t size = none ? 0 : found;
  const std::uint64_t memory = std::min<std::uint64_t>(size, io::RestChecksum::piece_bytes);
  tasks_.push_back({memory,
                    [this, i](Buffer& buffer) -> Finish {
                      const io::InputFile file(from_.path() / copies_[i]);
                      io::OutputFile copy = to_.file(copies_[i]);
                      while (copy.position() < file.size()) {
                        interruption_point();
                        const std::span<std::byte> piece = buffer.get(static_cast<std::size_t>(
                            std::min<std::uint64_t>(io::RestChecksum::piece_bytes, file.size() - copy.position())));
                        file.read(copy.position(), piece);
                        if (with_checksums_) copied_[i].add(piece);
                        copy.write(piece);
                      }
                      file.expect_unchanged();
                      copy.commit();
                      return {};
                    },
                    size - memory});
}

void print(const std::string& report) {
  std::cout << report;
  if (!std::cout.flush()) throw lora::Error("lora: cannot write to the standard output");
}

void commit(io::ModelWriter& model, io::UndoFileWriter* undo, const std::string& report) {
  model.flush();
  if (undo != nullptr) undo->flush();
  interruption_point();
  print(report);
  if (undo != nullptr)
    undo->commit_before([&] { model.commit(); });
  else
    model.commit();
}

}  // namespace cli
