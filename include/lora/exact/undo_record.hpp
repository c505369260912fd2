// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/exact/payload_arena.hpp"

#include <cstddef>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

struct UndoRecordAccess;

/// Throws RecordError unless `condition` holds.
inline void expect_record(bool condition, const char* what, TextPiece expected, TextPiece found) {
  if (!condition) throw RecordError(join({"lora: undo record: ", what, ": expected ", expected, ", found ", found}));
}

/// What a merge multiplied the rows or the columns of its weight with: numbers of the weight's compute type.
struct RecordedGains {
  std::uint8_t axis = 0;  ///< 0 rows, 1 columns
  std::vector<std::byte> values;
};

}  // namespace detail

/// What a merge keeps so that W0 can be given back bit for bit: where round(W' - delta) differs from W0, and by how much.
/// It knows its weight (shape, type, order, a checksum for each block of W') and the factors it was made with, and keeps the
/// gains, which come from a W0 that an unmerge does not have. For Gaussian weights with ||delta|| / ||W0|| = 3 % it takes about
/// 4.5 % of a half or bfloat16 weight, 3.4 % of a float one; never more than the weight's own bytes, 16 bytes a block, 72 bytes
/// and the gains. Source: docs/UNDO-FORMAT.md.
class UndoRecord {
 public:
  UndoRecord() = default;
  UndoRecord(const UndoRecord& other);
  /// What is moved from becomes a default record, which belongs to no weight.
  UndoRecord(UndoRecord&& other) noexcept { swap(other); }
  UndoRecord& operator=(UndoRecord other) noexcept {
    swap(other);
    return *this;
  }

  /// The weight's shape, storage type and order.
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  ScalarType type() const { return type_; }
  StorageOrder order() const { return order_; }

  /// Identifies the scaled factors the weight was merged with, and their order.
  std::uint64_t fingerprint() const { return fingerprint_; }

  /// The number of bytes serialize() gives.
  std::size_t size_bytes() const { return fixed_size + entries_.size() * entry_size + gains_size() + payload_size(); }

  /// The record as bytes: the same for the same weight and factors, whatever machine, threads or instruction set made it.
  [[nodiscard]] std::vector<std::byte> serialize() const;

  /// Makes it a default record, which belongs to no weight, and keeps its memory, but for that of gains: for merge_into() and
  /// switch_into(). (A new record assigned to it, `record = {}`, gives the memory back.)
  void clear() noexcept;

  /// The bytes of memory it holds, for the payloads it has or for those of a later merge.
  std::size_t memory_bytes() const;

  /// Reads what serialize() wrote, after checking every byte of it. Throws RecordError. Allocates in proportion to the bytes
  /// given, whatever they say.
  [[nodiscard]] static UndoRecord deserialize(std::span<const std::byte> bytes);

 private:
  friend struct detail::UndoRecordAccess;
  static constexpr std::size_t header_size = 64, entry_size = 16, fixed_size = header_size + 8,
                               gains_header = 8;
  static constexpr char magic[8] = {'l', 'o', 'r', 'a', 'u', 'n', 'd', 'o'};
  static constexpr std::uint32_t raw_bit = 0x80000000u;

  void swap(UndoRecord& other) noexcept {
    std::swap(rows_, other.rows_);
    std::swap(cols_, other.cols_);
    std::swap(type_, other.type_);
    std::swap(order_, other.order_);
    std::swap(fingerprint_, other.fingerprint_);
    entries_.swap(other.entries_);
    gains_.swap(other.gains_);
    arenas_.swap(other.arenas_);
  }
  std::size_t gains_size() const {
    std::size_t size = 0;
    for (const detail::RecordedGains& gains : gains_) size += gains_header + gains.values.size();
    return size;
  }
  std::size_t payload_size() const {
    std::size_t size = 0;
    for (const detail::BlockEntry& entry : entries_) size += entry.size;
    return size;
  }
  detail::BlockGrid grid() const {
    return order_ == row_major ? detail::BlockGrid(rows_, cols_) : detail::BlockGrid(cols_, rows_);
  }

  Index rows_ = 0, cols_ = 0;
  ScalarType type_ = ScalarType::float32;
  StorageOrder order_ = row_major;
  std::uint64_t fingerprint_ = 0;
  std::vector<detail::BlockEntry> entries_;
  std::vector<detail::RecordedGains> gains_;
  std::vector<detail::PayloadArena> arenas_;  // one for each task that wrote, or that did before clear()
};

namespace detail {

/// The kernels' way into a record.
struct UndoRecordAccess {
  /// Makes it a record without payloads, with memory of its own for each task: what it has, as far as that goes. When it
  /// throws, the record is a default one.
  static void begin(UndoRecord& record, Index rows, Index cols, ScalarType type, StorageOrder order,
                    std::uint64_t fingerprint, int tasks) {
    record.clear();
    const BlockGrid grid = order == row_major ? BlockGrid(rows, cols) : BlockGrid(cols, rows);
    if (record.arenas_.size() < static_cast<std::size_t>(tasks)) record.arenas_.resize(static_cast<std::size_t>(tasks));
    record.entries_.resize(static_cast<std::size_t>(grid.count()));
    record.rows_ = rows;
    record.cols_ = cols;
    record.type_ = type;
    record.order_ = order;
    record.fingerprint_ = fingerprint;
  }
  static void add_gains(UndoRecord& record, std::uint8_t axis, std::span<const std::byte> values) {
    if (record.gains_.size() == 65535) throw ValueError("lora: undo record: expected at most 65535 updates with gains");
    record.gains_.push_back({axis, {values.data(), values.data() + values.size()}});
  }
  static std::span<const RecordedGains> gains(const UndoRecord& record) { return record.gains_; }
  static std::span<BlockEntry> entries(UndoRecord& record) { return record.entries_; }
  static std::span<const BlockEntry> entries(const UndoRecord& record) { return record.entries_; }
  static std::span<PayloadArena> arenas(UndoRecord& record) { return record.arenas_; }
};

}  // namespace detail
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/exact/undo_record-inl.hpp"
#endif
