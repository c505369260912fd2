// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The conversions of core/scalar.hpp against exact reasoning (reference/reference.hpp): all 16-bit patterns.

#include "lora/core/scalar.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using reference::Random;

template <class T>
class Scalar : public ::testing::Test {
 public:
  /// All patterns of a 16-bit type, many of a wider one.
  static std::vector<T> patterns() {
    std::vector<T> all;
    if constexpr (sizeof(T) == 2) {
      for (unsigned pattern = 0; pattern < 0x10000; ++pattern)
        all.push_back(std::bit_cast<T>(static_cast<std::uint16_t>(pattern)));
    } else {
      Random random(60);
      for (int i = 0; i < 300000; ++i) all.push_back(reference::any_pattern<T>(random));
    }
    return all;
  }
};
TYPED_TEST_SUITE(Scalar, reference::Scalars);

TYPED_TEST(Scalar, WidenIsExact) {
  for (const TypeParam x : this->patterns()) {
    const auto expected = reference::widen(x);
    const auto found = lora::detail::widen(x);
    if (std::isnan(expected))
      ASSERT_TRUE(std::isnan(found)) << +reference::bits(x);
    else
      ASSERT_EQ(reference::bits(expected), reference::bits(found)) << +reference::bits(x);
  }
}

TYPED_TEST(Scalar, NarrowUndoesWidenAndGivesTheCanonicalNan) {
  for (const TypeParam x : this->patterns()) {
    const auto expected = reference::is_nan(x) ? reference::quiet_nan<TypeParam> : reference::bits(x);
    ASSERT_EQ(expected, reference::bits(lora::detail::narrow<TypeParam>(lora::detail::widen(x))));
  }
}

TYPED_TEST(Scalar, FiniteAndNanAreTheStandards) {
  for (const TypeParam x : this->patterns()) {
    ASSERT_EQ(lora::detail::is_finite(x), std::isfinite(reference::widen(x)));
    ASSERT_EQ(lora::detail::is_nan(x), std::isnan(reference::widen(x)));
  }
}

TYPED_TEST(Scalar, OrderedCountsTheNumbers) {
  using lora::detail::ordered;
  const TypeParam zero(0.0f), minus_zero = std::bit_cast<TypeParam>(reference::sign_bit<TypeParam>);
  EXPECT_EQ(ordered<TypeParam>(reference::bits(zero)), 0);
  EXPECT_EQ(ordered<TypeParam>(reference::bits(minus_zero)), -1);
  for (const TypeParam x : this->patterns()) {
    const auto position = ordered<TypeParam>(reference::bits(x));
    ASSERT_EQ(position, reference::ordered(x));
    ASSERT_EQ(ordered<TypeParam>(static_cast<lora::detail::Bits<TypeParam>>(position)),
              static_cast<decltype(position)>(reference::bits(x)));
  }
}

TYPED_TEST(Scalar, TraitsDescribeTheFormat) {
  using Traits = lora::detail::ScalarTraits<TypeParam>;
  EXPECT_EQ(static_cast<int>(Traits::type), reference::Format<TypeParam>::code);
  EXPECT_EQ(Traits::exponent_mask, reference::infinity<TypeParam>);
  EXPECT_EQ(Traits::quiet_nan, reference::quiet_nan<TypeParam>);
  EXPECT_STREQ(Traits::name, lora::name(Traits::type));
  EXPECT_TRUE((std::is_same_v<lora::compute_t<TypeParam>, reference::Compute<TypeParam>>));
  EXPECT_TRUE((std::is_same_v<lora::compute_t<const TypeParam>, reference::Compute<TypeParam>>));
}

template <class T>
class Narrow : public ::testing::Test {};
using Scalars16 = ::testing::Types<Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(Narrow, Scalars16);

/// Every number, every tie between neighbours, overflow's tie, and the floats beside them.
TYPED_TEST(Narrow, RoundsToNearestEven) {
  const std::vector<double>& table = reference::magnitudes<TypeParam>();
  for (std::size_t i = 0; i + 1 < table.size(); ++i)
    for (const double value : {table[i], (table[i] + table[i + 1]) / 2, table[i + 1]}) {
      const auto x = static_cast<float>(value);
      for (const float size : {x, std::nextafter(x, 0.0f), std::nextafter(x, std::numeric_limits<float>::infinity())})
        for (const float y : {size, -size})
          ASSERT_EQ(reference::bits(reference::narrow<TypeParam>(y)),
                    reference::bits(lora::detail::narrow<TypeParam>(y)))
              << std::hexfloat << y;
    }
}

TYPED_TEST(Narrow, RoundsAnyFloat) {
  Random random(61);
  for (int i = 0; i < 2000000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(random.bits()));
    ASSERT_EQ(reference::bits(reference::narrow<TypeParam>(x)), reference::bits(lora::detail::narrow<TypeParam>(x)))
        << std::hexfloat << x;
  }
}

/// Independent of the reference's table: half-way cases by hand.
TEST(NarrowTest, KnownValues) {
  const auto half = [](float x) { return lora::detail::float_to_half(x); };
  EXPECT_EQ(half(65504.0f), 0x7bff);
  EXPECT_EQ(half(65519.996f), 0x7bff);
  EXPECT_EQ(half(65520.0f), 0x7c00);
  EXPECT_EQ(half(-65520.0f), 0xfc00);
  EXPECT_EQ(half(1.0f + 0x1p-11f), 0x3c00);
  EXPECT_EQ(half(1.0f + 0x1.8p-10f), 0x3c02);
  EXPECT_EQ(half(0x1p-24f), 0x0001);
  EXPECT_EQ(half(0x1p-25f), 0x0000);
  EXPECT_EQ(half(-0x1p-25f), 0x8000);
  EXPECT_EQ(half(0x1.000002p-25f), 0x0001);
  EXPECT_EQ(half(0x1.ffep-15f), 0x0400);
  const auto bfloat16 = [](float x) { return lora::detail::float_to_bfloat16(x); };
  EXPECT_EQ(bfloat16(1.0f), 0x3f80);
  EXPECT_EQ(bfloat16(1.0f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(bfloat16(1.0f + 0x1.8p-7f), 0x3f82);
  EXPECT_EQ(bfloat16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(bfloat16(std::numeric_limits<float>::denorm_min()), 0x0000);
  EXPECT_EQ(bfloat16(0x1p-133f), 0x0001);
  EXPECT_EQ(bfloat16(-0.0f), 0x8000);
}

}  // namespace
