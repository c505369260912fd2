// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What an undo file knows (docs/UNDO-FILE.md): which tensors of which files, and what was merged into them.

#include "lora/core/matrix.hpp"
#include "lora/io/safetensors/safetensors.hpp"
#include "lora/update/scaling.hpp"
#include "lora/update/update.hpp"

#include <optional>

LORA_NAMESPACE_BEGIN
namespace io {

/// A tensor of an update that was merged, as a matrix.
struct UndoPart {
  std::string_view name;  ///< as Update::tensors() has it
  ScalarType type = ScalarType::float32;  ///< of the elements
  Index rows = 0, cols = 0;  ///< of more than two dimensions: the first, and the product of the others
};

/// One update that was merged into a weight; its parts are tensors of the undo file.
struct UndoUpdate {
  std::string adapter;  ///< the adapter's name; in the file made printable()
  Scaling scaling;  ///< the rule that its scaling came from
  double coefficient = 1.0;  ///< what it was multiplied with besides
  std::string_view kind = "LoRA";  ///< one of those that files can hold
  std::vector<UndoPart> parts;     ///< in the order of the kind

  /// r; 0 for a kind that has none.
  Index rank() const;
};

/// An update as an undo file describes it. The parts of LoRA and DoRA are stored in the type in which a weight of type `weight`
/// computes, those of other kinds as they are. Throws ValueError for an update of a kind that files cannot hold.
template <class Compute>
UndoUpdate undo_update(std::string adapter, const Update<Compute>& update, double coefficient, ScalarType weight);

/// What is kept of a tensor that was replaced: its bytes, or those of some rows; nothing of one that only grew, or is new.
struct UndoReplacement {
  DType dtype = DType::F32;  ///< of the original
  std::optional<std::vector<std::uint64_t>> rows = {};  ///< without: the whole tensor
  std::uint64_t checksum = 0;                           ///< RestChecksum of the merged tensor
};

/// One weight that was merged: a tensor, or one matrix of a tensor of three dimensions. Or a tensor that was replaced, which has
/// no updates.
struct UndoTensor {
  std::string name;  ///< in the model
  std::size_t shard = 0;  ///< which of the model's shards holds it
  ScalarType type = ScalarType::float32;  ///< the storage type of the weight
  Index rows = 0, cols = 0;                      ///< out and in of the weight
  StorageOrder order = StorageOrder::row_major;  ///< column_major: the weight is stored (in, out)
  std::vector<UndoUpdate> updates;               ///< in the order they were merged
  Index expert = -1;                             ///< which matrix of the tensor, -1: all of it
  std::vector<std::uint64_t> shape = {};         ///< the tensor's; empty: (rows, cols), or (cols, rows) when column_major
  std::optional<UndoReplacement> replaced = {};  ///< of a tensor that was replaced
  std::optional<std::uint64_t> grown_from =
      {};               ///< how many rows (its first dimension) it had, where the merge added some
  bool is_new = false;  ///< the original has no such tensor
};

/// The shape of the tensor in the merged file, and in the original, if it has one.
std::vector<std::uint64_t> stored_shape(const UndoTensor& tensor);
std::vector<std::uint64_t> original_shape(const UndoTensor& tensor);

namespace detail {

// Where a weight, of these rows, cols, type and expert, lies among the bytes of its tensor.
template <class Weight>
std::uint64_t weight_size(const Weight& weight) {
  return static_cast<std::uint64_t>(weight.rows * weight.cols) * lora::detail::element_size(weight.type);
}
template <class Weight>
std::uint64_t weight_offset(const Weight& weight) {
  return weight.expert < 0 ? 0 : static_cast<std::uint64_t>(weight.expert) * weight_size(weight);
}
template <class Weight>
std::span<std::byte> weight_bytes(const Weight& weight, std::span<std::byte> tensor) {
  return tensor.subspan(weight_offset(weight), weight_size(weight));
}

}  // namespace detail

/// The type in which a weight of this type computes.
constexpr ScalarType compute_type(ScalarType type) {
  return type == ScalarType::float64 ? ScalarType::float64 : ScalarType::float32;
}

/// A checksum over data that a merge only copies, so that an unmerge can tell that it is still the same. Pieces of
/// `piece_bytes`, the last of a tensor or file shorter, are added in the order of the data.
class RestChecksum {
 public:
  /// The size of a piece, 4 MiB.
  static constexpr std::size_t piece_bytes = std::size_t{4} << 20;

  /// The checksum of one piece: may be computed on any thread, before those of the pieces in front of it.
  static std::uint64_t of_piece(std::span<const std::byte> piece);
  /// Adds the next piece, by its checksum or its bytes.
  void add_checksum(std::uint64_t of_piece);
  void add(std::span<const std::byte> piece) { add_checksum(of_piece(piece)); }

  /// The checksums of a whole tensor's pieces.
  static std::vector<std::uint64_t> of_pieces(std::span<const std::byte> bytes) {
    std::vector<std::uint64_t> out;
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), piece_bytes)))
      out.push_back(of_piece(bytes.first(std::min(bytes.size(), piece_bytes))));
    return out;
  }
  /// Adds all pieces of a tensor.
  void add_all(std::span<const std::byte> tensor) {
    for (const std::uint64_t piece : of_pieces(tensor)) add_checksum(piece);
  }
  /// The checksum of all that was added.
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

/// One of the model's files with tensors.
struct UndoShard {
  std::string file;          ///< its name in the model's folder; empty for a model that is a file
  std::uint64_t merged = 0;  ///< checksum of its header, length prefix included
  std::uint64_t rest = 0;    ///< RestChecksum of its tensors that were not merged

  /// The size of the original's header, which the undo file keeps, where tensors have another shape there or are new; else 0.
  std::uint64_t header_bytes = 0;
};

/// One of the other files in the model's folder.
struct UndoCopy {
  std::string file;  ///< its name in the model's folder
  std::uint64_t checksum = 0;  ///< RestChecksum
  std::optional<std::uint64_t> original_bytes =
      {};  ///< the original's size, where the merge changed the file: it is kept
};

namespace detail {

/// What an undo file says of itself.
struct UndoHeader {
  bool is_folder = false;
  std::vector<UndoShard> shards;    // as Model::shards()
  std::vector<UndoCopy> copies;     // as Model::other_files()
  std::vector<UndoTensor> tensors;  // shard after shard, each in the order of its data
};

}  // namespace detail

/// "alpha/r", "alpha/sqrt(r)" or "fixed", as undo files spell it.
constexpr std::string_view name(Scaling::Rule rule) {
  switch (rule) {
    case Scaling::Rule::alpha_over_rank: return "alpha/r";
    case Scaling::Rule::alpha_over_sqrt_rank: return "alpha/sqrt(r)";
    case Scaling::Rule::fixed: break;
  }
  return "fixed";
}

/// Whether a safetensors file says that it is an undo file.
bool is_undo_file(const Safetensors& file);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/undo/undo_tensor-inl.hpp"
#endif
