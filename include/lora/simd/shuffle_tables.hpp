// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Compress and expand for instruction sets that have neither, but bytes that are looked up.

#include "lora/core/config.hpp"

#include <array>
#include <cstdint>

LORA_TAGGED_BEGIN

/// For each 8-bit mask, the byte shuffles that move the marked bytes to the front, and back (0x80 writes a zero).
struct ShuffleTables {
  std::array<std::uint64_t, 256> compress{}, expand{};

  constexpr ShuffleTables() {
    for (unsigned mask = 0; mask < 256; ++mask) {
      std::uint64_t front = 0x8080808080808080u, back = 0x8080808080808080u;
      unsigned next = 0;
      for (unsigned bit = 0; bit < 8; ++bit) {
        if ((mask >> bit & 1u) == 0) continue;
        front = (front & ~(std::uint64_t{0xff} << (8 * next))) | (std::uint64_t{bit} << (8 * next));
        back = (back & ~(std::uint64_t{0xff} << (8 * bit))) | (std::uint64_t{next} << (8 * bit));
        ++next;
      }
      compress[mask] = front;
      expand[mask] = back;
    }
  }
};
inline constexpr ShuffleTables shuffle_tables;

LORA_TAGGED_END
