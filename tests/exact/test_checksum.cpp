// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "lora/exact/checksum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace {

using lora::Index;
using lora::Isa;
using lora::detail::ByteLines;

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// The definition in docs/UNDO-FORMAT.md, byte by byte.
std::uint64_t by_definition(const ByteLines& in) {
  const std::uint64_t golden = 0x9e3779b97f4a7c15u;
  const std::uint64_t pi[8] = {0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u, 0x082efa98ec4e6c89u,
                               0x452821e638d01377u, 0xbe5466cf34e90c6cu, 0xc0ac29b7c97c50ddu, 0x3f84d5b5b5470917u};
  std::uint64_t sums[8] = {}, stripe = 0;
  for (Index line = 0; line < in.lines; ++line) {
    for (Index begin = 0; begin < in.bytes; begin += 64, ++stripe) {
      std::uint64_t words[8] = {};
      for (Index i = 0; i < 64 && begin + i < in.bytes; ++i)
        words[i / 8] |= static_cast<std::uint64_t>(in.data[line * in.stride + begin + i]) << (8 * (i % 8));
      for (unsigned lane = 0; lane < 8; ++lane) {
        const std::uint64_t keyed = words[lane] ^ (pi[lane] + stripe * golden);
        sums[lane] += (keyed & 0xffffffffu) * (keyed >> 32) + words[lane ^ 1u];
      }
    }
  }
  std::uint64_t hash = mix(static_cast<std::uint64_t>(in.lines * in.bytes) + golden);
  for (const std::uint64_t sum : sums) hash = mix((hash ^ sum) * golden + sum);
  return hash;
}

std::vector<unsigned char> bytes_of(std::size_t size) {
  std::vector<unsigned char> out(size);
  std::uint64_t state = 1;
  for (unsigned char& byte : out) byte = static_cast<unsigned char>((state = state * 6364136223846793005u + 1) >> 56);
  return out;
}

/// The instruction sets this machine has.
std::vector<std::uint64_t (*)(const ByteLines&)> every_set() {
  std::vector<std::uint64_t (*)(const ByteLines&)> out = {lora::detail::portable::checksum_lines};
#if LORA_TARGETS_X86
  if (lora::detail::machine_isa() >= Isa::avx2) out.push_back(lora::detail::avx2::checksum_lines);
  if (lora::detail::machine_isa() >= Isa::avx512) out.push_back(lora::detail::avx512::checksum_lines);
#elif LORA_TARGETS_NEON
  out.push_back(lora::detail::neon::checksum_lines);
#endif
  return out;
}

TEST(Checksum, IsTheDocumentedFunctionOnEveryInstructionSet) {
  const std::vector<unsigned char> bytes = bytes_of(5 * 400 + 7);
  for (const auto checksum_lines : every_set())
    for (const Index lines : {0, 1, 2, 5})
      for (const Index length : {0, 1, 2, 7, 8, 63, 64, 65, 127, 128, 129, 320, 333})
        for (const Index offset : {0, 1, 7}) {  // nothing is aligned
          const ByteLines in{bytes.data() + offset, lines, length, 400};
          ASSERT_EQ(checksum_lines(in), by_definition(in)) << lines << " lines of " << length << " bytes";
        }
}

TEST(Checksum, HasTheDocumentedValues) {
  std::vector<unsigned char> counting(256);
  std::iota(counting.begin(), counting.end(), static_cast<unsigned char>(0));
  EXPECT_EQ(lora::detail::checksum(counting.data(), 0), 0xbce3463586905badu);
  EXPECT_EQ(lora::detail::checksum(counting.data(), 1), 0x59463d72c9021488u);
  EXPECT_EQ(lora::detail::checksum(counting.data(), 64), 0x73671c0400cf8e3cu);
  EXPECT_EQ(lora::detail::checksum(counting.data(), 100), 0x384f88f4fa6ea71bu);
  EXPECT_EQ(lora::detail::checksum(counting.data(), 256), 0x61802457c97c9180u);
  EXPECT_EQ(lora::detail::checksum(ByteLines{counting.data(), 3, 10, 80}), 0xc1658183121cac9du);
}

TEST(Checksum, NoticesEveryFlippedBit) {
  std::vector<unsigned char> bytes = bytes_of(333);
  for (const bool zeros : {false, true}) {
    if (zeros) bytes.assign(bytes.size(), 0);
    const std::uint64_t before = lora::detail::checksum(bytes.data(), bytes.size());
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
      ASSERT_NE(lora::detail::checksum(bytes.data(), bytes.size()), before) << "bit " << bit;
      bytes[bit / 8] ^= static_cast<unsigned char>(1u << (bit % 8));
    }
  }
}

TEST(Checksum, NoticesStripesAndWordsThatChangePlaces) {
  const std::vector<unsigned char> original = bytes_of(512);
  const std::uint64_t before = lora::detail::checksum(original.data(), original.size());
  for (const std::size_t unit : {64u, 8u, 2u}) {
    for (std::size_t a = 0; a < original.size(); a += unit)
      for (std::size_t b = a + unit; b < original.size(); b += unit) {
        if (std::equal(&original[a], &original[a] + unit, &original[b])) continue;
        std::vector<unsigned char> swapped = original;
        std::swap_ranges(&swapped[a], &swapped[a] + unit, &swapped[b]);
        ASSERT_NE(lora::detail::checksum(swapped.data(), swapped.size()), before) << unit << ": " << a << ", " << b;
      }
  }
}

TEST(Checksum, NoticesAnotherLength) {
  const std::vector<unsigned char> zeros(200);
  std::vector<std::uint64_t> seen;
  for (std::size_t size = 0; size <= zeros.size(); ++size) seen.push_back(lora::detail::checksum(zeros.data(), size));
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
}

TEST(Checksum, LeavesWhatLiesBetweenTheLinesOut) {
  std::vector<unsigned char> bytes = bytes_of(300);
  const ByteLines in{bytes.data(), 3, 70, 100};
  const std::uint64_t before = lora::detail::checksum(in);
  for (std::size_t line = 0; line < 3; ++line)
    for (std::size_t i = 70; i < 100; ++i) bytes[100 * line + i] ^= 0xffu;
  EXPECT_EQ(lora::detail::checksum(in), before);
}

}  // namespace
