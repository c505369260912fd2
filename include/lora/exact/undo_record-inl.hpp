// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The bytes of an undo record (docs/UNDO-FORMAT.md): UndoRecord::serialize and deserialize.

#include "lora/exact/block_payload.hpp"
#include "lora/exact/checksum.hpp"
#include "lora/exact/undo_record.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Little-endian fields, one after the other.
class FieldWriter {
 public:
  explicit FieldWriter(std::byte* out) : out_(out) {}
  template <class Field>
  void put(Field value) {
    std::memcpy(out_, &value, sizeof value);
    out_ += sizeof value;
  }
  void put(std::span<const std::byte> bytes) {
    if (!bytes.empty()) std::memcpy(out_, bytes.data(), bytes.size());
    out_ += bytes.size();
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

/// Whether every NaN among the numbers is the canonical one.
template <class Compute>
bool has_one_nan(std::span<const std::byte> numbers) {
  for (FieldReader fields(numbers.data()); numbers.size() != 0; numbers = numbers.subspan(sizeof(Compute))) {
    const auto value = fields.get<Compute>();
    if (is_nan(value) && to_bits(value) != ScalarTraits<Compute>::quiet_nan) return false;
  }
  return true;
}

inline const unsigned char* as_unsigned(const std::byte* data) { return reinterpret_cast<const unsigned char*>(data); }

}  // namespace detail

LORA_FUNC UndoRecord::UndoRecord(const UndoRecord& other)
    : rows_(other.rows_),
      cols_(other.cols_),
      type_(other.type_),
      order_(other.order_),
      fingerprint_(other.fingerprint_),
      entries_(other.entries_),
      gains_(other.gains_) {
  if (entries_.empty()) return;
  arenas_.emplace_back(other.payload_size());
  unsigned char* out = arenas_[0].reserve(other.payload_size());
  for (detail::BlockEntry& entry : entries_) {
    std::memcpy(out, entry.payload, entry.size);
    entry.payload = out;
    out += entry.size;
  }
}

LORA_FUNC void UndoRecord::clear() noexcept {
  rows_ = cols_ = 0;
  type_ = ScalarType::float32;
  order_ = row_major;
  fingerprint_ = 0;
  entries_.clear();
  gains_.clear();
  for (detail::PayloadArena& arena : arenas_) arena.rewind();
}

LORA_FUNC std::size_t UndoRecord::memory_bytes() const {
  std::size_t size = entries_.capacity() * sizeof(detail::BlockEntry);
  for (const detail::RecordedGains& gains : gains_) size += gains.values.capacity();
  for (const detail::PayloadArena& arena : arenas_) size += arena.capacity();
  return size;
}

LORA_FUNC std::vector<std::byte> UndoRecord::serialize() const {
  std::vector<std::byte> bytes(size_bytes());
  const detail::BlockGrid blocks = grid();
  detail::FieldWriter fields(bytes.data());
  for (const char letter : magic) fields.put(letter);
  fields.put(std::uint32_t{gains_.empty() ? 1u : 2u});
  fields.put(type_);
  fields.put(order_);
  fields.put(static_cast<std::uint16_t>(gains_.size()));
  fields.put(static_cast<std::uint64_t>(rows_));
  fields.put(static_cast<std::uint64_t>(cols_));
  fields.put(static_cast<std::uint32_t>(blocks.block_lines()));
  fields.put(static_cast<std::uint32_t>(blocks.block_length()));
  fields.put(fingerprint_);
  fields.put(std::uint64_t{entries_.size()});
  fields.put(std::uint64_t{payload_size()});
  for (const detail::BlockEntry& entry : entries_) {
    fields.put(entry.checksum);
    fields.put(entry.size | (entry.raw ? raw_bit : 0));
    fields.put(static_cast<std::uint32_t>(detail::checksum(entry.payload, entry.size)));
  }
  std::size_t index_end = header_size + entries_.size() * entry_size;
  for (const detail::RecordedGains& gains : gains_) {
    fields.put(std::uint32_t{gains.axis});
    fields.put(std::uint32_t{0});
    fields.put(std::span<const std::byte>(gains.values));
    index_end += gains_header + gains.values.size();
  }
  fields.put(detail::checksum(detail::as_unsigned(bytes.data()), index_end));
  std::byte* out = bytes.data() + index_end + 8;
  for (const detail::BlockEntry& entry : entries_) {
    std::memcpy(out, entry.payload, entry.size);
    out += entry.size;
  }
  return bytes;
}

LORA_FUNC UndoRecord UndoRecord::deserialize(std::span<const std::byte> bytes) {
  using detail::expect_record;
  expect_record(bytes.size() >= fixed_size, "size", detail::text("at least ", fixed_size, " bytes"), bytes.size());
  if (std::memcmp(bytes.data(), magic, sizeof magic) != 0)
    throw RecordError("lora: undo record: the bytes do not begin with \"loraundo\"");

  detail::FieldReader fields(bytes.data() + sizeof magic);
  const auto found_version = fields.get<std::uint32_t>();
  expect_record(found_version == 1 || found_version == 2, "version", "1 or 2", found_version);
  const auto type = fields.get<std::uint8_t>(), order = fields.get<std::uint8_t>();
  expect_record(type >= 1 && type <= 4, "scalar type", "1 to 4", static_cast<int>(type));
  expect_record(order <= 1, "storage order", "0 or 1", static_cast<int>(order));
  const auto gains_count = fields.get<std::uint16_t>();
  if (found_version == 1) expect_record(gains_count == 0, "reserved field", 0, gains_count);
  if (found_version == 2) expect_record(gains_count != 0, "number of gains", "at least 1", gains_count);
  const auto rows = fields.get<std::uint64_t>(), cols = fields.get<std::uint64_t>();
  constexpr std::uint64_t largest = std::uint64_t{1} << 32;
  expect_record(rows <= largest && cols <= largest, "shape", detail::text("at most ", largest, " rows and columns"),
                detail::text(rows, " x ", cols));
  const auto block_lines = fields.get<std::uint32_t>(), block_length = fields.get<std::uint32_t>();

  UndoRecord record;
  record.rows_ = static_cast<Index>(rows);
  record.cols_ = static_cast<Index>(cols);
  record.type_ = static_cast<ScalarType>(type);
  record.order_ = static_cast<StorageOrder>(order);
  const detail::BlockGrid blocks = record.grid();
  expect_record(block_lines == blocks.block_lines() && block_length == blocks.block_length(), "blocks",
                detail::shape_text(blocks.block_lines(), blocks.block_length()),
                detail::text(block_lines, " x ", block_length));
  record.fingerprint_ = fields.get<std::uint64_t>();
  const auto count = fields.get<std::uint64_t>(), payload_bytes = fields.get<std::uint64_t>();
  expect_record(count == static_cast<std::uint64_t>(blocks.count()), "number of blocks", blocks.count(), count);
  if (count > (bytes.size() - fixed_size) / entry_size)
    throw RecordError(detail::text("lora: undo record: it is cut off: expected an index of ", count, " blocks, found ", bytes.size(),
                                   " bytes in all"));
  std::size_t index_end = header_size + count * entry_size;
  // The sizes of the gains stand in their headers, which have to be there first.
  const std::size_t compute_size = record.type_ == ScalarType::float64 ? 8 : 4;
  for (std::uint16_t i = 0; i < gains_count; ++i) {
    expect_record(bytes.size() - index_end - 8 >= gains_header, "size", "room for the gains", bytes.size());
    detail::FieldReader header(bytes.data() + index_end);
    const auto axis = header.get<std::uint32_t>(), zero = header.get<std::uint32_t>();
    expect_record(axis <= 1, "axis of gains", "0 or 1", axis);
    expect_record(zero == 0, "reserved field of gains", 0, zero);
    const std::size_t size = (axis == 0 ? rows : cols) * compute_size;
    expect_record(bytes.size() - index_end - 8 - gains_header >= size, "size", "room for the gains", bytes.size());
    const auto values = bytes.subspan(index_end + gains_header, size);
    expect_record(
        record.type_ == ScalarType::float64 ? detail::has_one_nan<double>(values) : detail::has_one_nan<float>(values),
        "gains", "the canonical NaN", "another");
    detail::UndoRecordAccess::add_gains(record, static_cast<std::uint8_t>(axis), values);
    index_end += gains_header + size;
  }
  const std::size_t room = bytes.size() - index_end - 8;
  if (payload_bytes > room)
    throw RecordError(detail::text("lora: undo record: it is cut off: expected payloads of ", payload_bytes, " bytes, found ", room));
  if (payload_bytes < room)
    throw RecordError(detail::text("lora: undo record: expected nothing behind its payloads of ", payload_bytes, " bytes, found ",
                                   room - payload_bytes, " bytes more"));

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
    if (entry.size > payload_bytes - offset)
      expect_record(false, "size of a block", detail::text("at most ", payload_bytes - offset), entry.size);
    offset += entry.size;
  }
  expect_record(offset == payload_bytes, "sizes of the blocks together", payload_bytes, offset);
  if (detail::FieldReader(bytes.data() + index_end).get<std::uint64_t>() != detail::checksum(detail::as_unsigned(bytes.data()), index_end))
    throw RecordError("lora: undo record: the index does not match its checksum");

  record.arenas_.emplace_back(payload_bytes);
  unsigned char* payload = record.arenas_[0].reserve(payload_bytes);
  if (payload_bytes != 0) std::memcpy(payload, bytes.data() + index_end + 8, payload_bytes);
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
      expect_record(entry.size == raw_size, "size of a raw block", raw_size, entry.size);
    else if (entry.size > raw_size)
      expect_record(false, "size of a block", detail::text("at most ", raw_size), entry.size);
    else
      detail::check_payload(entry.payload, entry.size, block, element_size);
  }
  return record;
}

LORA_NAMESPACE_END
