// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Any bytes as an undo file. Whatever it says of itself, it is refused with a printable message or its tensors, factors
// and records are read and fit each other.

#include "fuzz/fuzz.hpp"

#include <lora/io/undo/undo_file.hpp>
#include <lora/io/undo/undo_header.hpp>

namespace {

namespace io = lora::io;
using fuzz::require;

template <class Compute>
void check_updates(const io::UndoFile& file, const io::UndoTensor& tensor) {
  const lora::ActiveSet<Compute> set = file.active_set<Compute>(tensor);
  const auto updates = set.updates();
  require(updates.size() == tensor.updates.size() && !updates.empty(), "updates that get lost");
  for (std::size_t i = 0; i < updates.size(); ++i)
    require(updates[i].update->rows() == tensor.rows && updates[i].update->cols() == tensor.cols &&
                updates[i].update->kind() == tensor.updates[i].kind &&
                updates[i].coefficient == tensor.updates[i].coefficient && std::isfinite(updates[i].coefficient),
            "an update that does not fit its tensor");
}

void check(const io::UndoFile& file) {
  require(!file.shards().empty(), "a model without a file");
  for (const io::UndoTensor& tensor : file.tensors()) {
    require(tensor.shard < file.shards().size(), "a tensor in no file");
    try {
      if (tensor.replaced) {
        require(tensor.updates.empty(), "updates of a tensor that is replaced");
        const std::optional<std::uint64_t> bytes = io::detail::tensor_bytes(tensor.replaced->dtype, tensor.shape);
        std::vector<std::byte> merged(static_cast<std::size_t>(bytes && *bytes < (1u << 20) ? *bytes : 0));
        if (bytes && merged.size() == *bytes) file.restore(tensor, merged);
        continue;
      }
      if (tensor.type == lora::ScalarType::float64)
        check_updates<double>(file, tensor);
      else
        check_updates<float>(file, tensor);
      const lora::UndoRecord record = file.record(tensor);
      require(record.size_bytes() == file.record_bytes(tensor), "a record of another size than its tensor");
      require(io::detail::is_record_of(record, tensor), "the record of another tensor");
    } catch (const io::FileError& error) {
      fuzz::require_printable(error.what());  // factors that are not finite, a damaged record
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile memory;
  memory.fill({data, size});
  std::optional<io::UndoFile> file;
  try {
    file = io::UndoFile::open(memory.path());
  } catch (const io::FileError& error) {
    fuzz::require_printable(error.what());
    return 0;
  }
  check(*file);
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t capacity,
                                               unsigned seed) {
  return fuzz::mutate_safetensors(data, size, capacity, seed);
}
