// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the record keeps of one block: for each element where round(W' - delta) is not W0, how far it is off. Two counts,
/// of masks and of distances (u16 each), then four streams in the order of tiles, groups and lanes (docs/UNDO-FORMAT.md):
///
///   summaries  u16 a tile          bit g: group g has a difference
///   masks      u16 a marked group  bit l: lane l has one
///   distances  i8 a marked lane    ordered(W0) - ordered(candidate), -127 .. 127 but not 0; -128: look in `raw`
///   raw        an element each     W0 itself, where the distance does not fit or W0 or W' is not finite
///
/// A block for which that takes more room than its elements holds W0's elements instead.

#include "lora/core/error.hpp"
#include "lora/exact/layout.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

LORA_NAMESPACE_BEGIN
namespace detail {

inline unsigned load_u16(const unsigned char* p) {
  std::uint16_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
inline void store_u16(unsigned char* p, unsigned value) {
  const auto narrow = static_cast<std::uint16_t>(value);
  std::memcpy(p, &narrow, sizeof narrow);
}

inline constexpr Index counts_size = 4;

/// Where the streams of a payload begin.
struct PayloadView {
  const unsigned char *summaries, *masks, *distances, *raw;
};

/// Cursors into the four streams while a block is written. The kernels advance them.
struct PayloadCursors {
  unsigned char *summaries, *masks, *distances, *raw;
};

/// Room for the streams of the largest block, and the way into one piece.
class PayloadBuffer {
 public:
  /// The kernels may write or read this many bytes beyond the end of a stream.
  static constexpr std::size_t slack = 64;

  /// Bytes a buffer needs for elements of `element_size` bytes.
  static constexpr std::size_t bytes(std::size_t element_size) {
    return summaries_size + masks_size + distances_size + block_elements * element_size + slack;
  }

  explicit PayloadBuffer(unsigned char* memory) : begin_(memory) {}

  PayloadCursors cursors() const {
    unsigned char* masks = begin_ + summaries_size;
    unsigned char* distances = masks + masks_size;
    return {begin_, masks, distances, distances + distances_size};
  }
  PayloadView view() const {
    const PayloadCursors start = cursors();
    return {start.summaries, start.masks, start.distances, start.raw};
  }

  /// The bytes of a payload that has been written up to `end`.
  std::size_t size(const PayloadCursors& end) const {
    const PayloadCursors start = cursors();
    return counts_size + static_cast<std::size_t>((end.summaries - start.summaries) + (end.masks - start.masks) +
                                                  (end.distances - start.distances) + (end.raw - start.raw));
  }

  /// The counts and the streams one after the other: size(end) bytes.
  void concatenate(const PayloadCursors& end, unsigned char* out) const {
    const PayloadCursors start = cursors();
    store_u16(out, static_cast<unsigned>((end.masks - start.masks) / 2));
    store_u16(out + 2, static_cast<unsigned>(end.distances - start.distances));
    out += counts_size;
    out = copy(start.summaries, end.summaries, out);
    out = copy(start.masks, end.masks, out);
    out = copy(start.distances, end.distances, out);
    copy(start.raw, end.raw, out);
  }

 private:
  static constexpr std::size_t tiles = block_elements / (tile_lines * tile_length);
  static constexpr std::size_t summaries_size = 2 * tiles, masks_size = 2 * tiles * tile_groups + slack,
                               distances_size = block_elements + slack;

  static unsigned char* copy(const unsigned char* begin, const unsigned char* end, unsigned char* out) {
    const auto size = static_cast<std::size_t>(end - begin);
    std::memcpy(out, begin, size);
    return out + size;
  }

  unsigned char* begin_;
};

/// The streams of a payload that is known to be sound.
inline PayloadView view_payload(const unsigned char* payload, const Block& block) {
  const unsigned char* summaries = payload + counts_size;
  const unsigned char* masks = summaries + 2 * block.tiles();
  const unsigned char* distances = masks + 2 * load_u16(payload);
  return {summaries, masks, distances, distances + load_u16(payload + 2)};
}

/// Checks the payload of one block, byte for byte, so that the kernels can read it without looking out. Throws RecordError.
inline void check_payload(const unsigned char* payload, std::size_t size, const Block& block,
                          std::size_t element_size) {
  const auto expect = [](bool condition, const char* what) {
    if (!condition) throw RecordError(text("lora: undo record: damaged block: ", what));
  };
  const auto bytes = static_cast<Index>(size);
  expect(counts_size + 2 * block.tiles() <= bytes, "it ends inside the summaries");
  const unsigned char* summaries = payload + counts_size;
  Index groups = 0;
  for (Index tile = 0; tile < block.tiles(); ++tile) groups += std::popcount(load_u16(summaries + 2 * tile));
  expect(groups == static_cast<Index>(load_u16(payload)), "the number of masks is not what the summaries say");
  Index masks = counts_size + 2 * block.tiles();
  const Index distances = masks + 2 * groups;
  expect(distances <= bytes, "it ends inside the masks");

  const Index tiles_along = (block.length + tile_length - 1) / tile_length;
  Index lanes = 0;
  for (Index tile = 0; tile < block.tiles(); ++tile) {
    const Index lines = block.lines - tile / tiles_along * tile_lines;
    const Index length = block.length - tile % tiles_along * tile_length;
    const unsigned summary = load_u16(summaries + 2 * tile);
    for (unsigned group = 0; group < 16; ++group) {
      if ((summary >> group & 1u) == 0) continue;
      const unsigned mask = load_u16(payload + masks);
      masks += 2;
      expect(mask != 0, "a marked group without differences");
      expect((mask & ~group_lanes(group / 2, group % 2, lines, length)) == 0, "a difference outside of the weight");
      lanes += std::popcount(mask);
    }
  }
  expect(lanes == static_cast<Index>(load_u16(payload + 2)), "the number of distances is not what the masks say");
  expect(lanes <= bytes - distances, "it ends inside the distances");
  Index escaped = 0;
  for (Index i = distances; i < distances + lanes; ++i) {
    expect(payload[i] != 0, "a distance of 0");
    escaped += payload[i] == 0x80 ? 1 : 0;
  }
  expect(bytes - distances - lanes == escaped * static_cast<Index>(element_size),
         "the raw elements do not fill the rest");
}

}  // namespace detail
LORA_NAMESPACE_END
