// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Serialised records taken apart and put together again with checksums that fit, so that what is wrong inside is what
/// a reader finds. Shared with the fuzzer.

#include "lora/exact/checksum.hpp"
#include "lora/exact/undo_record.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace lora_test {

/// Places of the header's fields (docs/UNDO-FORMAT.md).
struct RecordOffset {
  static constexpr std::size_t version = 8, type = 12, order = 13, gains = 14, rows = 16, cols = 24, block_lines = 32,
                               block_length = 36, fingerprint = 40, count = 48, payload_bytes = 56, index = 64;
};
inline constexpr std::size_t record_entry_size = 16, record_fixed_size = 72, record_gains_header = 8;

template <class Field>
Field get(std::span<const std::byte> bytes, std::size_t offset) {
  Field value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}
template <class Field>
void put(std::span<std::byte> bytes, std::size_t offset, Field value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

inline std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return lora::detail::checksum(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

/// Where the gains of a record end that begin at `begin`; before the last checksum there could be when they do not.
inline std::size_t gains_end(std::span<const std::byte> bytes, std::size_t begin) {
  const std::size_t size = get<std::uint8_t>(bytes, RecordOffset::type) == 4 ? 8 : 4;
  std::size_t at = begin, left = bytes.size() - begin - 8;  // without the checksum behind them
  for (unsigned count = get<std::uint16_t>(bytes, RecordOffset::gains); count != 0; --count) {
    if (left < record_gains_header) return bytes.size() - 8;
    const auto sides = get<std::uint32_t>(bytes, at) == 0 ? RecordOffset::rows : RecordOffset::cols;
    const auto values = get<std::uint64_t>(bytes, sides);
    if (values > (left - record_gains_header) / size) return bytes.size() - 8;
    at += record_gains_header + static_cast<std::size_t>(values) * size;
    left -= record_gains_header + static_cast<std::size_t>(values) * size;
  }
  return at;
}

/// Makes all checksums fit, as far as the index can be followed. With `lengths`, first lets the last block take what
/// bytes the others leave.
inline void repair(std::span<std::byte> bytes, bool lengths = false) {
  if (bytes.size() < record_fixed_size) return;
  const std::uint64_t room = (bytes.size() - record_fixed_size) / record_entry_size;
  const auto count = static_cast<std::size_t>(std::min(get<std::uint64_t>(bytes, RecordOffset::count), room));
  const std::size_t index_end = gains_end(bytes, RecordOffset::index + count * record_entry_size),
                    payloads = index_end + 8;
  if (lengths) put(bytes, RecordOffset::payload_bytes, static_cast<std::uint64_t>(bytes.size() - payloads));
  std::size_t offset = payloads;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = RecordOffset::index + i * record_entry_size;
    const auto field = get<std::uint32_t>(bytes, entry + 8);
    std::size_t size = field & 0x7fffffffu;
    const std::size_t left = bytes.size() - offset;
    if (lengths && (size > left || i + 1 == count)) {
      size = left;
      put(bytes, entry + 8, static_cast<std::uint32_t>(size) | (field & 0x80000000u));
    }
    if (size > left) break;
    put(bytes, entry + 12, static_cast<std::uint32_t>(checksum_of(bytes.subspan(offset, size))));
    offset += size;
  }
  put(bytes, index_end, checksum_of(bytes.first(index_end)));
}

/// A record in pieces.
struct RecordParts {
  struct Block {
    std::uint64_t checksum;
    bool raw;
    std::vector<std::byte> payload;
  };
  std::vector<std::byte> header, gains;
  std::vector<Block> blocks;

  explicit RecordParts(std::span<const std::byte> bytes) : header(bytes.begin(), bytes.begin() + RecordOffset::index) {
    const auto count = get<std::uint64_t>(bytes, RecordOffset::count);
    const std::size_t index_end = RecordOffset::index + count * record_entry_size;
    std::size_t offset = gains_end(bytes, index_end);
    gains.assign(bytes.begin() + static_cast<std::ptrdiff_t>(index_end),
                 bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    offset += 8;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t entry = RecordOffset::index + i * record_entry_size;
      const auto field = get<std::uint32_t>(bytes, entry + 8);
      const std::span<const std::byte> payload = bytes.subspan(offset, field & 0x7fffffffu);
      blocks.push_back(
          {get<std::uint64_t>(bytes, entry), (field & 0x80000000u) != 0, {payload.begin(), payload.end()}});
      offset += payload.size();
    }
  }

  /// The number of blocks and the sizes are those of the pieces; all checksums fit.
  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out = header;
    std::uint64_t payload_bytes = 0;
    for (const Block& block : blocks) payload_bytes += block.payload.size();
    put(out, RecordOffset::count, static_cast<std::uint64_t>(blocks.size()));
    put(out, RecordOffset::payload_bytes, payload_bytes);
    for (const Block& block : blocks) {
      out.resize(out.size() + record_entry_size);
      put(out, out.size() - 16, block.checksum);
      put(out, out.size() - 8, static_cast<std::uint32_t>(block.payload.size()) | (block.raw ? 0x80000000u : 0u));
    }
    out.insert(out.end(), gains.begin(), gains.end());
    out.resize(out.size() + 8);
    for (const Block& block : blocks) out.insert(out.end(), block.payload.begin(), block.payload.end());
    repair(out);
    return out;
  }
};

}  // namespace lora_test
