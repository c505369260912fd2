// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a change in place and its recovery work with. For bodies (-inl.hpp).

#include "lora/io/model/journal.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/rewrite.hpp"

#include <exception>
#include <memory>
#include <mutex>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A model whose files are open for writing, and locked.
template <class = void>
class BasicLockedModel {
 public:
  BasicLockedModel(Model model, Sync sync) : model_(std::move(model)) {
    for (std::size_t i = 0; i < model_.shards().size(); ++i) {
      const std::filesystem::path& path = model_.shards()[i].path();
      files_.push_back(std::make_unique<UpdateFile>(model_.is_folder() ? path : real_path(path), sync));
    }
  }
  const Model& model() const { return model_; }

  /// Writes a whole tensor, whose old bytes the journal keeps meanwhile. On any thread; one at a time, and none after
  /// one that failed: the journal has to keep that one's bytes until they are given back.
  void overwrite(Journal& journal, std::size_t number, std::span<const std::byte> bytes) {
    const std::lock_guard lock(writing_);
    if (failure_) std::rethrow_exception(failure_);
    try {
      const auto [file, offset, size] = place(journal, number);
      journal.keep(number, *file, offset, size);
      file->write_at(offset, bytes);
      file->flush();
    } catch (...) {
      failure_ = std::current_exception();
      throw;
    }
  }
  /// No tensor is torn any more.
  void forget_failure() { failure_ = nullptr; }

  /// Writes the bytes that the journal keeps, and gives their checksum.
  std::uint64_t give_back(const Journal& journal, std::size_t number) {
    const auto [file, offset, size] = place(journal, number);
    return journal.give_back(*file, offset, size);
  }

 private:
  struct Place {
    UpdateFile* file;
    std::uint64_t offset, size;
  };
  Place place(const Journal& journal, std::size_t number) const {
    const ModelTensor& tensor = model_.tensor(journal.table().tensors[number].name);
    return {files_[tensor.shard].get(), model_.shard_of(tensor).file_offset(*tensor.info), tensor.info->bytes()};
  }

  Model model_;
  std::vector<std::unique_ptr<UpdateFile>> files_;
  std::mutex writing_;
  std::exception_ptr failure_;
};
using LockedModel = BasicLockedModel<>;

LORA_ON_CALL_DECLARED inline std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  RestChecksum out;
  out.add_all(bytes);
  return out.value();
}

/// Looks at a tensor between its changes.
template <class Look>
void look(Rewrite& rewrite, const ModelTensor& tensor, Look see) {
  rewrite.change(tensor, false, false, [see](std::span<std::byte> bytes, const Context&) {
    see(std::span<const std::byte>(bytes));
    return Finish();
  });
}

/// Options of work in several passes, whose progress goes on from one to the next.
template <class = void>
class BasicPassOptions {
 public:
  /// `rest`: the bytes of all passes but the first.
  BasicPassOptions(const TaskOptions& options, std::uint64_t rest) : options_(options), rest_(rest) {}

  /// Of the next pass. Only the first can be cancelled.
  TaskOptions next() {
    begin_ += last_;
    TaskOptions out = options_;
    if (options_.progress)
      out.progress = [this, is_first = is_first_](std::uint64_t done, std::uint64_t total) {
        last_ = total;
        if (is_first) all_ = total + rest_;
        options_.progress(std::min(begin_ + done, all_), all_);
      };
    if (!is_first_) out.is_cancelled = {};
    is_first_ = false;
    return out;
  }

 private:
  const TaskOptions& options_;
  std::uint64_t rest_, begin_ = 0, last_ = 0, all_ = 0;
  bool is_first_ = true;
};
using PassOptions = BasicPassOptions<>;

}  // namespace io::detail
LORA_NAMESPACE_END
