// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The streams of tiles, as docs/UNDO-FORMAT.md has them, on every instruction set.

#include "lora/exact/tile_codec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

namespace {

using lora::Index;
using lora::detail::PayloadBuffer;
using lora::detail::PayloadCursors;
using lora::detail::PayloadView;
using lora::detail::TileCodec;

constexpr Index most = lora::detail::codec_tiles, tile = lora::detail::tile_elements;

struct Codec {
  const char* name;
  TileCodec use;
};

/// Those this machine has.
std::vector<Codec> codecs() {
  namespace detail = lora::detail;
  std::vector<Codec> out = {
      {"portable",
       {detail::portable::extreme_distances, detail::portable::pack_tiles, detail::portable::unpack_tiles}}};
#if LORA_TARGETS_X86
  if (detail::machine_isa() >= lora::Isa::avx2)
    out.push_back({"avx2", {detail::avx2::extreme_distances, detail::avx2::pack_tiles, detail::avx2::unpack_tiles}});
  if (detail::machine_has_vbmi2())
    out.push_back({"avx512_vbmi2",
                   {detail::avx512_vbmi2::extreme_distances, detail::avx512_vbmi2::pack_tiles,
                    detail::avx512_vbmi2::unpack_tiles}});
#elif LORA_TARGETS_NEON
  out.push_back({"neon", {detail::neon::extreme_distances, detail::neon::pack_tiles, detail::neon::unpack_tiles}});
#endif
  return out;
}

/// Distances of some tiles, a share of them not 0.
std::vector<std::int8_t> distances(std::mt19937& random, Index tiles, double share) {
  std::vector<std::int8_t> out(static_cast<std::size_t>(tiles * tile));
  for (std::int8_t& byte : out)
    if (std::uniform_real_distribution<>(0, 1)(random) < share) byte = static_cast<std::int8_t>(random());
  return out;
}

struct Streams {
  std::vector<unsigned char> summaries, masks, bytes;
};

void put(std::vector<unsigned char>& out, unsigned word) {
  out.push_back(static_cast<unsigned char>(word));
  out.push_back(static_cast<unsigned char>(word >> 8));
}

Streams by_definition(const std::vector<std::int8_t>& distances) {
  Streams out;
  for (std::size_t at = 0; at < distances.size(); at += static_cast<std::size_t>(tile)) {
    unsigned summary = 0;
    for (unsigned group = 0; group < 16; ++group) {
      unsigned mask = 0;
      for (unsigned lane = 0; lane < 16; ++lane)
        if (const std::int8_t byte = distances[at + 16 * group + lane]; byte != 0) {
          mask |= 1u << lane;
          out.bytes.push_back(static_cast<unsigned char>(byte));
        }
      if (mask == 0) continue;
      summary |= 1u << group;
      put(out.masks, mask);
    }
    put(out.summaries, summary);
  }
  return out;
}

TEST(TileCodec, PacksAsDocumentedAndUnpacksAgain) {
  std::mt19937 random(1);
  for (const Codec& codec : codecs())
    for (const double share : {0.0, 0.001, 0.03, 0.3, 0.9, 1.0})
      for (int round = 0; round < 20; ++round) {
        SCOPED_TRACE(::testing::Message() << codec.name << ", share " << share);
        // Several calls, as for the tiles of a block.
        std::vector<unsigned char> memory(PayloadBuffer::bytes(2));
        const PayloadBuffer buffer(memory.data());
        PayloadCursors end = buffer.cursors();
        std::vector<std::int8_t> all;
        std::vector<Index> counts = {most, 1, 3, most};
        for (const Index tiles : counts) {
          const std::vector<std::int8_t> some = distances(random, tiles, share);
          codec.use.pack(some.data(), tiles, end);
          all.insert(all.end(), some.begin(), some.end());
        }
        const PayloadView begin = buffer.view();
        const Streams expected = by_definition(all);
        using Stream = std::vector<unsigned char>;
        ASSERT_EQ(expected.summaries, Stream(begin.summaries, static_cast<const unsigned char*>(end.summaries)));
        ASSERT_EQ(expected.masks, Stream(begin.masks, static_cast<const unsigned char*>(end.masks)));
        ASSERT_EQ(expected.bytes, Stream(begin.distances, static_cast<const unsigned char*>(end.distances)));
        ASSERT_EQ(begin.raw, end.raw);

        PayloadView in = begin;
        std::size_t at = 0;
        for (const Index tiles : counts) {
          std::array<std::int8_t, most * tile> found;
          found.fill(77);
          const unsigned escaped = codec.use.unpack(in, tiles, found.data());
          for (Index c = 0; c < tiles; ++c, at += static_cast<std::size_t>(tile)) {
            const auto own = all.begin() + static_cast<std::ptrdiff_t>(at);
            ASSERT_TRUE(std::equal(own, own + tile, found.begin() + c * tile));
            ASSERT_EQ(std::find(own, own + tile, std::int8_t{-128}) != own + tile, (escaped >> c & 1u) != 0);
          }
          ASSERT_TRUE(
              std::all_of(found.begin() + tiles * tile, found.end(), [](std::int8_t byte) { return byte == 77; }));
        }
        ASSERT_EQ(in.summaries, end.summaries);
        ASSERT_EQ(in.masks, end.masks);
        ASSERT_EQ(in.distances, end.distances);
      }
}

TEST(TileCodec, ExtremeDistancesAreNamed) {
  std::mt19937 random(2);
  for (const Codec& codec : codecs())
    for (int round = 0; round < 300; ++round) {
      const std::vector<std::int8_t> bytes = distances(random, 1, 0.5);
      std::uint16_t masks[16];
      codec.use.extreme(bytes.data(), masks);
      for (std::size_t i = 0; i < bytes.size(); ++i)
        ASSERT_EQ(bytes[i] < -126 || bytes[i] > 126, (masks[i / 16] >> i % 16 & 1u) != 0)
            << codec.name << " " << +bytes[i];
    }
}

}  // namespace
