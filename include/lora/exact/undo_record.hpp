// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/matrix.hpp"
#include "lora/exact/block_payload.hpp"
#include "lora/exact/checksum.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

struct UndoRecordAccess;

/// What the record knows of one block.
struct BlockEntry {
  std::uint64_t checksum = 0;               ///< of the merged elements
  const unsigned char* payload = nullptr;   ///< null as long as the block has not been merged
  std::uint32_t size = 0;                   ///< of the payload
  bool raw = false;                         ///< the payload is W0's elements
};

/// Payloads of blocks, in pieces that never move.
class PayloadArena {
 public:
  /// Room for `size` bytes and the slack the kernels need. Allocates.
  unsigned char* reserve(std::size_t size) {
    if (size + PayloadBuffer::slack > left_) {
      const std::size_t piece = std::max(size + PayloadBuffer::slack, piece_size);
      pieces_.reserve(pieces_.size() + 1);
      pieces_.push_back(std::unique_ptr<unsigned char[]>(new unsigned char[piece]));
      next_ = pieces_.back().get();
      left_ = piece;
    }
    return next_;
  }
  /// Keeps the first `size` of the reserved bytes.
  void keep(std::size_t size) {
    next_ += size;
    left_ -= size;
  }

 private:
  static constexpr std::size_t piece_size = 256 * 1024;

  std::vector<std::unique_ptr<unsigned char[]>> pieces_;
  unsigned char* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace detail

/// What a merge keeps so that W0 can be given back bit for bit: where round(W' - delta) differs from W0, and by how much.
/// It knows its weight (shape, type, order, a checksum for each block of W') and the factors it was made with. For Gaussian
/// weights with ||delta|| / ||W0|| = 3 % it takes about 4.5 % of a half or bfloat16 weight, 3.5 % of a float one; never more
/// than the weight's own bytes and 16 bytes a block. Source: docs/UNDO-FORMAT.md.
class UndoRecord {
 public:
  UndoRecord() = default;
  UndoRecord(UndoRecord&&) = default;
  UndoRecord& operator=(UndoRecord&&) = default;
  UndoRecord(const UndoRecord& other)
      : rows_(other.rows_), cols_(other.cols_), type_(other.type_), order_(other.order_),
        fingerprint_(other.fingerprint_), entries_(other.entries_) {
    arenas_.resize(1);
    unsigned char* out = arenas_[0].reserve(other.payload_size());
    for (detail::BlockEntry& entry : entries_) {
      std::memcpy(out, entry.payload, entry.size);
      entry.payload = out;
      out += entry.size;
    }
  }
  UndoRecord& operator=(const UndoRecord& other) { return *this = UndoRecord(other); }

  /// The weight's shape, storage type and order.
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  ScalarType type() const { return type_; }
  StorageOrder order() const { return order_; }

  /// Identifies the scaled factors the weight was merged with, and their order.
  std::uint64_t fingerprint() const { return fingerprint_; }

  /// The number of bytes serialize() gives.
  std::size_t size_bytes() const { return fixed_size + entries_.size() * entry_size + payload_size(); }

  /// The record as bytes: the same for the same weight and factors, whatever machine, threads or instruction set made it.
  std::vector<std::byte> serialize() const;

  /// Reads what serialize() wrote, after checking every byte of it. Throws RecordError; allocates no more than the bytes given.
  static UndoRecord deserialize(std::span<const std::byte> bytes);

 private:
  friend struct detail::UndoRecordAccess;
  static constexpr std::size_t header_size = 64, entry_size = 16, fixed_size = header_size + 8;
  static constexpr char magic[8] = {'l', 'o', 'r', 'a', 'u', 'n', 'd', 'o'};
  static constexpr std::uint32_t version = 1;
  static constexpr std::uint32_t raw_bit = 0x80000000u;

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
  std::vector<detail::PayloadArena> arenas_;  // one for each thread that wrote
};

namespace detail {

/// The kernels' way into a record.
struct UndoRecordAccess {
  /// A record without payloads, with memory of its own for each thread.
  static UndoRecord create(Index rows, Index cols, ScalarType type, StorageOrder order, std::uint64_t fingerprint,
                           int threads) {
    UndoRecord record;
    record.rows_ = rows;
    record.cols_ = cols;
    record.type_ = type;
    record.order_ = order;
    record.fingerprint_ = fingerprint;
    record.entries_.resize(static_cast<std::size_t>(record.grid().count()));
    record.arenas_.resize(static_cast<std::size_t>(threads));
    return record;
  }
  static std::span<BlockEntry> entries(UndoRecord& record) { return record.entries_; }
  static std::span<const BlockEntry> entries(const UndoRecord& record) { return record.entries_; }
  static std::span<PayloadArena> arenas(UndoRecord& record) { return record.arenas_; }
};

/// Little-endian fields, one after the other.
class FieldWriter {
 public:
  explicit FieldWriter(std::byte* out) : out_(out) {}
  template <class Field>
  void put(Field value) {
    std::memcpy(out_, &value, sizeof value);
    out_ += sizeof value;
  }

 private:
  std::byte* out_;
};
class FieldReader {
 public:
  explicit FieldReader(const std::byte* in) : in_(in) {}
  template <class Field>
  Field get() {
    Field value;
    std::memcpy(&value, in_, sizeof value);
    in_ += sizeof value;
    return value;
  }

 private:
  const std::byte* in_;
};

inline const unsigned char* as_unsigned(const std::byte* data) { return reinterpret_cast<const unsigned char*>(data); }

inline std::size_t element_size(ScalarType type) {
  switch (type) {
    case ScalarType::half:
    case ScalarType::bfloat16: return 2;
    case ScalarType::float32: return 4;
    case ScalarType::float64: return 8;
  }
  return 0;
}

}  // namespace detail

inline std::vector<std::byte> UndoRecord::serialize() const {
  std::vector<std::byte> bytes(size_bytes());
  const detail::BlockGrid blocks = grid();
  detail::FieldWriter fields(bytes.data());
  for (const char letter : magic) fields.put(letter);
  fields.put(version);
  fields.put(type_);
  fields.put(order_);
  fields.put(std::uint16_t{0});
  fields.put(static_cast<std::uint64_t>(rows_));
  fields.put(static_cast<std::uint64_t>(cols_));
  fields.put(static_cast<std::uint32_t>(blocks.block_lines()));
  fields.put(static_cast<std::uint32_t>(blocks.block_length()));
  fields.put(fingerprint_);
  fields.put(static_cast<std::uint64_t>(entries_.size()));
  fields.put(static_cast<std::uint64_t>(payload_size()));
  for (const detail::BlockEntry& entry : entries_) {
    fields.put(entry.checksum);
    fields.put(entry.size | (entry.raw ? raw_bit : 0));
    fields.put(static_cast<std::uint32_t>(detail::checksum(entry.payload, entry.size)));
  }
  const std::size_t index_end = header_size + entries_.size() * entry_size;
  fields.put(detail::checksum(detail::as_unsigned(bytes.data()), index_end));
  std::byte* out = bytes.data() + index_end + 8;
  for (const detail::BlockEntry& entry : entries_) {
    std::memcpy(out, entry.payload, entry.size);
    out += entry.size;
  }
  return bytes;
}

inline UndoRecord UndoRecord::deserialize(std::span<const std::byte> bytes) {
  const auto expect = [](bool condition, const char* what, detail::TextPiece expected, detail::TextPiece found) {
    if (!condition)
      throw RecordError(detail::join({"lora: undo record: ", what, ": expected ", expected, ", found ", found}));
  };
  expect(bytes.size() >= fixed_size, "size", detail::text("at least ", fixed_size, " bytes"), bytes.size());
  if (std::memcmp(bytes.data(), magic, sizeof magic) != 0)
    throw RecordError("lora: undo record: the bytes do not begin with \"loraundo\"");

  detail::FieldReader fields(bytes.data() + sizeof magic);
  const auto found_version = fields.get<std::uint32_t>();
  expect(found_version == version, "version", version, found_version);
  const auto type = fields.get<std::uint8_t>(), order = fields.get<std::uint8_t>();
  expect(type >= 1 && type <= 4, "scalar type", "1 to 4", static_cast<int>(type));
  expect(order <= 1, "storage order", "0 or 1", static_cast<int>(order));
  const auto reserved = fields.get<std::uint16_t>();
  expect(reserved == 0, "reserved field", 0, reserved);
  const auto rows = fields.get<std::uint64_t>(), cols = fields.get<std::uint64_t>();
  constexpr std::uint64_t largest = std::uint64_t{1} << 32;
  expect(rows <= largest && cols <= largest, "shape", detail::text("at most ", largest, " rows and columns"),
         detail::text(rows, " x ", cols));
  const auto block_lines = fields.get<std::uint32_t>(), block_length = fields.get<std::uint32_t>();

  UndoRecord record;
  record.rows_ = static_cast<Index>(rows);
  record.cols_ = static_cast<Index>(cols);
  record.type_ = static_cast<ScalarType>(type);
  record.order_ = static_cast<StorageOrder>(order);
  const detail::BlockGrid blocks = record.grid();
  expect(block_lines == blocks.block_lines() && block_length == blocks.block_length(), "blocks",
         detail::shape_text(blocks.block_lines(), blocks.block_length()), detail::text(block_lines, " x ", block_length));
  record.fingerprint_ = fields.get<std::uint64_t>();
  const auto count = fields.get<std::uint64_t>(), payload_bytes = fields.get<std::uint64_t>();
  expect(count <= (bytes.size() - fixed_size) / entry_size, "number of blocks",
         detail::text("at most ", (bytes.size() - fixed_size) / entry_size), count);
  expect(count == static_cast<std::uint64_t>(blocks.count()), "number of blocks", blocks.count(), count);
  const std::size_t index_end = header_size + count * entry_size;
  expect(payload_bytes == bytes.size() - index_end - 8, "size of the payloads", bytes.size() - index_end - 8, payload_bytes);

  record.entries_.resize(count);
  std::size_t offset = 0;
  std::vector<std::uint32_t> payload_checksums(count);
  for (std::size_t i = 0; i < count; ++i) {
    detail::BlockEntry& entry = record.entries_[i];
    entry.checksum = fields.get<std::uint64_t>();
    const auto size = fields.get<std::uint32_t>();
    entry.size = size & ~raw_bit;
    entry.raw = (size & raw_bit) != 0;
    payload_checksums[i] = fields.get<std::uint32_t>();
    expect(entry.size <= payload_bytes - offset, "size of a block", detail::text("at most ", payload_bytes - offset),
           entry.size);
    offset += entry.size;
  }
  expect(offset == payload_bytes, "sizes of the blocks together", payload_bytes, offset);
  if (fields.get<std::uint64_t>() != detail::checksum(detail::as_unsigned(bytes.data()), index_end))
    throw RecordError("lora: undo record: the index does not match its checksum");

  record.arenas_.resize(1);
  unsigned char* payload = record.arenas_[0].reserve(payload_bytes);
  if (payload_bytes != 0) std::memcpy(payload, bytes.data() + index_end + 8, payload_bytes);
  std::memset(payload + payload_bytes, 0, detail::PayloadBuffer::slack);
  const std::size_t element_size = detail::element_size(record.type_);
  for (std::size_t i = 0; i < count; ++i) {
    detail::BlockEntry& entry = record.entries_[i];
    entry.payload = payload;
    payload += entry.size;
    if (payload_checksums[i] != static_cast<std::uint32_t>(detail::checksum(entry.payload, entry.size)))
      throw RecordError(detail::text("lora: undo record: block ", i, " does not match its checksum"));
    const detail::Block block = blocks[static_cast<Index>(i)];
    const std::size_t raw_size = static_cast<std::size_t>(block.elements()) * element_size;
    if (entry.raw)
      expect(entry.size == raw_size, "size of a raw block", raw_size, entry.size);
    else if (entry.size > raw_size)
      expect(false, "size of a block", detail::text("at most ", raw_size), entry.size);
    else
      detail::check_payload(entry.payload, entry.size, block, element_size);
  }
  return record;
}

LORA_NAMESPACE_END
