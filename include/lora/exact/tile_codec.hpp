// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// One tile's distances to and from the streams of a payload (exact/block_payload.hpp).

#include "lora/exact/block_payload.hpp"
#include "lora/simd/avx2_bytes.hpp"
#include "lora/simd/avx512_bytes.hpp"
#include "lora/simd/neon_bytes.hpp"
#include "lora/simd/portable_bytes.hpp"

LORA_TAGGED_BEGIN

/// The most tiles that are packed or unpacked at once.
inline constexpr Index codec_tiles = 8;

namespace portable {
#include "lora/exact/tile_codec.inc"
}
#if LORA_TARGETS_X86
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX2)
namespace avx2 {
#include "lora/exact/tile_codec.inc"
}
LORA_TARGET_END
LORA_TARGET_BEGIN(LORA_TARGET_FLAGS_AVX512_VBMI2)
namespace avx512_vbmi2 {
#include "lora/exact/tile_codec.inc"
}
LORA_TARGET_END
#endif
#if LORA_TARGETS_NEON
namespace neon {
#include "lora/exact/tile_codec.inc"
}
#endif

/// How distances are packed on this machine: signed bytes, 256 to a tile, line after line.
struct TileCodec {
  /// For each of a tile's groups a mask of the distances beyond -126 .. 126.
  void (*extreme)(const std::int8_t* distances, std::uint16_t* masks);
  /// Appends the summaries, masks and distances of at most `codec_tiles` tiles.
  void (*pack)(const std::int8_t* distances, Index tiles, PayloadCursors& out);
  /// The inverse. Returns a mask of the tiles where some distance is -128: the element is in the stream of
  /// raw ones, which is left alone.
  unsigned (*unpack)(PayloadView& in, Index tiles, std::int8_t* distances);
};

/// Throws what isa() throws.
inline TileCodec tile_codec() {
#if LORA_TARGETS_X86
  if (isa() >= Isa::avx512 && machine_has_vbmi2())
    return {avx512_vbmi2::extreme_distances, avx512_vbmi2::pack_tiles, avx512_vbmi2::unpack_tiles};
  if (isa() >= Isa::avx2) return {avx2::extreme_distances, avx2::pack_tiles, avx2::unpack_tiles};
#elif LORA_TARGETS_NEON
  if (isa() == Isa::neon) return {neon::extreme_distances, neon::pack_tiles, neon::unpack_tiles};
#endif
  return {portable::extreme_distances, portable::pack_tiles, portable::unpack_tiles};
}

LORA_TAGGED_END
