// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The emulated fused multiply-add against the C library's.

#include "lora/core/fma.hpp"
#include "reference/random.hpp"

#include <gtest/gtest.h>

namespace {

using reference::Random;

#if defined(_WIN32)  // mingw-w64's C library rounds twice: the processor's instruction
__attribute__((target("fma"))) LORA_NOINLINE float expected_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
__attribute__((target("fma"))) LORA_NOINLINE double expected_fma(double a, double b, double c) {
  return __builtin_fma(a, b, c);
}
#else
float expected_fma(float a, float b, float c) { return std::fma(a, b, c); }
double expected_fma(double a, double b, double c) { return std::fma(a, b, c); }
#endif

::testing::AssertionResult agrees(float a, float b, float c) {
  const float expected = expected_fma(a, b, c);
  for (const float found : {lora::detail::fma_by_double(a, b, c), lora::detail::fma(a, b, c)}) {
    const bool same = std::isnan(expected) ? std::isnan(found) : reference::bits(expected) == reference::bits(found);
    if (!same)
      return ::testing::AssertionFailure()
             << std::hexfloat << a << " * " << b << " + " << c << ": expected " << expected << ", found " << found;
  }
  return ::testing::AssertionSuccess();
}

/// 1 + small / 2^23, times a power of two: products of two have few bits set far apart, the stuff of ties.
float near_a_power_of_two(Random& random) {
  const float one = 1.0f + static_cast<float>(random.below(9) - 4) * 0x1p-23f;
  return std::ldexp(random.below(2) == 0 ? one : -one, static_cast<int>(random.below(40)) - 20);
}

TEST(Fma, AnyBits) {
  Random random(70);
  for (int i = 0; i < 400000; ++i)
    ASSERT_TRUE(agrees(reference::any_pattern<float>(random), reference::any_pattern<float>(random),
                       reference::any_pattern<float>(random)));
}

TEST(Fma, Ties) {
  Random random(71);
  for (int i = 0; i < 400000; ++i) {
    const float a = near_a_power_of_two(random), b = near_a_power_of_two(random);
    const int far = static_cast<int>(random.below(60)) - 30;
    ASSERT_TRUE(agrees(a, b, std::ldexp(near_a_power_of_two(random), far)));
  }
}

/// The sum is so lopsided that double cannot hold it: rounding to odd must carry what was lost past a float's tie.
TEST(Fma, StickyBitsBehindATie) {
  Random random(72);
  for (int i = 0; i < 200000; ++i) {
    const int exponent = static_cast<int>(random.below(100)) - 50;
    const float big = std::ldexp(near_a_power_of_two(random), exponent);
    const float half_ulp = std::ldexp(1.0f + static_cast<float>(random.below(3)) * 0x1p-23f, exponent - 24);
    const float tiny = std::ldexp(random.below(2) == 0 ? 1.0f : -1.0f, static_cast<int>(random.below(40)) - 60);
    ASSERT_TRUE(agrees(half_ulp, 1.0f + tiny, big));
    ASSERT_TRUE(agrees(half_ulp, 1.0f - 0x1p-24f, -big));
    ASSERT_TRUE(agrees(big, 1.0f + 0x1p-23f, tiny));
  }
}

#if defined(__SIZEOF_INT128__)
::testing::AssertionResult agrees_in_double(double a, double b, double c) {
  const double expected = expected_fma(a, b, c);
  for (const double found : {lora::detail::fma_by_integers(a, b, c), lora::detail::fma(a, b, c)})
    if (std::isnan(expected) ? !std::isnan(found) : reference::bits(expected) != reference::bits(found))
      return ::testing::AssertionFailure()
             << std::hexfloat << a << " * " << b << " + " << c << ": expected " << expected << ", found " << found;
  return ::testing::AssertionSuccess();
}

TEST(Fma, OfDoubles) {
  Random random(74);
  const auto any = [&] { return reference::any_pattern<double>(random); };
  const auto near_one = [&] {
    const double one = 1.0 + static_cast<double>(random.below(9) - 4) * 0x1p-52;
    return std::ldexp(random.below(2) == 0 ? one : -one, static_cast<int>(random.below(80)) - 40);
  };
  for (int i = 0; i < 400000; ++i) {
    ASSERT_TRUE(agrees_in_double(any(), any(), any()));
    const double a = near_one(), b = near_one(), c = std::ldexp(near_one(), static_cast<int>(random.below(140)) - 70);
    ASSERT_TRUE(agrees_in_double(a, b, c));
    ASSERT_TRUE(agrees_in_double(a, b, -a * b)) << "what a rounded product lost";
    const int low = -1074 + static_cast<int>(random.below(80));
    ASSERT_TRUE(agrees_in_double(std::ldexp(a, low / 2), std::ldexp(b, low - low / 2), std::ldexp(c, low)))
        << "denormal results";
  }
  // A double rounding by way of 64 bits goes the other way at this tie.
  ASSERT_EQ(reference::bits(lora::detail::fma(1 + 0x1p-52, 0x1p-53, 1.0)), reference::bits(1 + 0x1p-52));
}
#endif

TEST(Fma, Cancellation) {
  Random random(73);
  for (int i = 0; i < 300000; ++i) {
    const float a = reference::any_pattern<float>(random), b = random.normal();
    const float product = a * b;
    for (const float c : {-product, std::nextafter(-product, 0.0f), std::nextafter(-product, 1.0f)})
      ASSERT_TRUE(agrees(a, b, c));
  }
}

TEST(Fma, DenormalResults) {
  Random random(74);
  for (int i = 0; i < 300000; ++i) {
    const float a = std::ldexp(random.normal(), -60 - static_cast<int>(random.below(20)));
    const float b = std::ldexp(random.normal(), -60 - static_cast<int>(random.below(20)));
    const auto denormal = static_cast<std::uint32_t>(random.below(0x1000000));
    ASSERT_TRUE(agrees(a, b, std::bit_cast<float>(denormal)));
    ASSERT_TRUE(agrees(a, b, -std::bit_cast<float>(denormal % 16)));
  }
}

TEST(Fma, Overflow) {
  Random random(75);
  const float largest = std::numeric_limits<float>::max();
  for (int i = 0; i < 100000; ++i) {
    const float a = std::ldexp(near_a_power_of_two(random), 63), b = std::ldexp(near_a_power_of_two(random), 63);
    ASSERT_TRUE(agrees(a, b, largest));
    ASSERT_TRUE(agrees(a, b, -largest));
    ASSERT_TRUE(agrees(largest, 1.0f, std::ldexp(near_a_power_of_two(random), 103)));
  }
}

TEST(Fma, SpecialValues) {
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float tiny = std::numeric_limits<float>::denorm_min(), largest = std::numeric_limits<float>::max();
  const float values[] = {0.0f, 1.0f, tiny,          std::numeric_limits<float>::min(), largest, infinity,
                          nan,  3.0f, 0x1.fffffep-1f};
  for (const float a : values)
    for (const float b : values)
      for (const float c : values)
        for (int signs = 0; signs < 8; ++signs)
          ASSERT_TRUE(agrees(signs & 1 ? -a : a, signs & 2 ? -b : b, signs & 4 ? -c : c));
}

}  // namespace
