// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The journal of a model that is being changed in place (docs/UNDO-FILE.md, "In place"). For bodies (-inl.hpp).

#include "lora/io/file/update_file.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/unfinished.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <optional>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A tensor that changes, by RestChecksum of its bytes in the states that it can be found in.
struct JournalTensor {
  std::string name;
  std::uint64_t before = 0, original = 0, after = 0;

  bool is_known(std::uint64_t checksum) const {
    return checksum == before || checksum == original || checksum == after;
  }
};

/// An undo file: where it was, and the checksum of its header, by which it is known again.
struct JournalUndo {
  std::string path;
  std::uint64_t checksum = 0;
};

/// What a journal says.
struct JournalTable {
  std::string command;                       ///< "merge", "unmerge" or "switch"
  JournalUndo old_undo = {}, new_undo = {};  ///< what gives the original back from `before`, and from `after`
  std::vector<JournalTensor> tensors = {};
};

/// A table of what changes, and room for the bytes of one tensor: those it had before they were written over.
class Journal {
 public:
  /// Puts a new journal on disk, with room for the largest of the tensors. Throws FileError.
  LORA_ON_CALL_DECLARED static Journal create(const Model& model, const JournalTable& table, Sync sync);

  /// Throws FileError when there is none, or it is damaged.
  LORA_ON_CALL_DECLARED static Journal open(const Model& model, Sync sync);

  const JournalTable& table() const { return table_; }

  /// Puts a tensor's bytes as they are in its file on disk. Throws FileError, also when they are none that the table
  /// knows.
  LORA_ON_CALL_DECLARED void keep(std::size_t tensor, const UpdateFile& file, std::uint64_t offset, std::uint64_t size);

  /// Which tensor's bytes are kept, if any are: complete and known to the table.
  LORA_ON_CALL_DECLARED std::optional<std::size_t> kept(const Model& model) const;

  /// Writes the kept bytes into the tensor's file, and gives their checksum.
  LORA_ON_CALL_DECLARED std::uint64_t give_back(UpdateFile& file, std::uint64_t offset, std::uint64_t size) const;

  /// Ends the change. Throws FileError.
  LORA_ON_CALL_DECLARED void remove();

  /// Removes what is left of a journal that had not got its name when its process was killed. The model is locked.
  LORA_ON_CALL_DECLARED static void remove_leftovers(const Model& model);

 private:
  LORA_ON_CALL_DECLARED Journal(const std::filesystem::path& path, Sync sync);

  std::uint64_t data_begin() const { return room_ + 8; }
  std::uint64_t number(std::uint64_t offset) const;

  UpdateFile file_;
  Sync sync_;
  JournalTable table_;
  std::uint64_t room_ = 0;  // where the number of the kept tensor stands; its bytes follow
};

}  // namespace io::detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/model/journal-inl.hpp"
#endif
