// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Every operation of Lanes<T>, for every instruction set this machine has, against plain scalar code: all patterns of
// the 16-bit types, random and hard ones of the others.

#include "reference/expect.hpp"
#include "reference/random.hpp"
#include "simd/lanes_operations.hpp"

#include <array>

namespace {

using lora::Isa;
using reference::Random;

template <class Scalar, Isa Set>
struct Case {
  using T = Scalar;
  static constexpr Isa isa = Set;
};
template <Isa Set>
using Half = Case<Eigen::half, Set>;
template <Isa Set>
using Bfloat16 = Case<Eigen::bfloat16, Set>;

template <class Case>
class Lanes : public ::testing::Test {
 public:
  using Scalar = typename Case::T;
  using Pattern = reference::Bits<Scalar>;
  using Number = lora::compute_t<Scalar>;
  static constexpr int count = 16;
  using Group = std::array<Pattern, count>;

  void SetUp() override {
    if (lora::detail::machine_isa() < Case::isa) GTEST_SKIP() << "this machine has no " << lora::name(Case::isa);
    on = operations<Scalar>(Case::isa);
  }

  /// Groups of patterns: every one of a 16-bit type, the edges and random ones of others.
  static std::vector<Group> groups() {
    std::vector<Group> all;
    if constexpr (sizeof(Scalar) == 2) {
      for (unsigned first = 0; first < 0x10000; first += count) {
        Group group;
        for (unsigned i = 0; i < count; ++i) group[i] = static_cast<Pattern>(first + i);
        all.push_back(group);
      }
    } else {
      Random random(50);
      for (int i = 0; i < 20000; ++i) {
        Group group;
        for (Pattern& pattern : group) pattern = reference::bits(reference::any_pattern<Scalar>(random));
        all.push_back(group);
      }
    }
    return all;
  }
  /// Small distances around the limits, and wide ones.
  static std::vector<Group> distances() {
    std::vector<Group> all = groups();
    Random random(51);
    for (int first = -300; first < 300; first += count) {
      Group group;
      for (int i = 0; i < count; ++i) group[static_cast<std::size_t>(i)] = static_cast<Pattern>(first + i);
      all.push_back(group);
    }
    for (int shift = 0; shift < static_cast<int>(8 * sizeof(Pattern)); ++shift) {
      Group group;
      for (Pattern& pattern : group)
        pattern = static_cast<Pattern>((Pattern{1} << shift) + static_cast<Pattern>(random.below(3)) - 1);
      all.push_back(group);
    }
    return all;
  }
  static const Scalar* memory(const Group& group) { return reinterpret_cast<const Scalar*>(group.data()); }
  static Scalar* memory(Group& group) { return reinterpret_cast<Scalar*>(group.data()); }

  Operations<Scalar> on{};
};

using Cases = ::testing::Types<Case<float, Isa::portable>, Case<float, Isa::avx2>, Case<float, Isa::avx512>,
                               Case<double, Isa::portable>, Case<double, Isa::avx2>, Case<double, Isa::avx512>,
                               Half<Isa::portable>, Half<Isa::avx2>, Half<Isa::avx512>, Bfloat16<Isa::portable>,
                               Bfloat16<Isa::avx2>, Bfloat16<Isa::avx512>>;
TYPED_TEST_SUITE(Lanes, Cases);

TYPED_TEST(Lanes, WidenIsExact) {
  using T = typename TestFixture::Scalar;
  for (const auto& group : this->groups()) {
    alignas(64) typename TestFixture::Number out[16];
    this->on.widen(this->memory(group), out);
    for (std::size_t i = 0; i < 16; ++i) {
      const auto expected = reference::widen(std::bit_cast<T>(group[i]));
      if (std::isnan(expected))
        ASSERT_TRUE(std::isnan(out[i])) << +group[i];
      else
        ASSERT_EQ(reference::bits(expected), reference::bits(out[i])) << +group[i];
    }
  }
}

/// Around every number of a 16-bit type: itself, the ties on both sides, their neighbours; and random floats.
TYPED_TEST(Lanes, NarrowRoundsToNearestEven) {
  using T = typename TestFixture::Scalar;
  using C = typename TestFixture::Number;
  std::vector<C> inputs;
  if constexpr (sizeof(T) == 2) {
    const std::vector<double>& table = reference::magnitudes<T>();
    for (std::size_t i = 0; i + 1 < table.size(); ++i)
      for (const double value : {table[i], (table[i] + table[i + 1]) / 2}) {
        const auto x = static_cast<float>(value);
        for (const float y : {x, std::nextafter(x, 0.0f), std::nextafter(x, std::numeric_limits<float>::infinity())}) {
          inputs.push_back(y);
          inputs.push_back(-y);
        }
      }
  }
  Random random(52);
  for (int i = 0; i < 100000; ++i) inputs.push_back(reference::any_pattern<C>(random));
  inputs.resize(inputs.size() / 16 * 16);
  for (std::size_t first = 0; first < inputs.size(); first += 16) {
    alignas(64) C in[16];
    std::copy_n(&inputs[first], 16, in);
    T out[16];
    this->on.narrow(in, out);
    for (int i = 0; i < 16; ++i) {
      if (std::isnan(in[i])) continue;  // the kernels replace a NaN; the next test has what they need of it
      ASSERT_EQ(reference::bits(reference::narrow<T>(in[i])), reference::bits(out[i])) << in[i];
    }
  }
}

/// What arithmetic gives for a NaN is still seen by nonfinite() after narrow(): NaN of T and the machine's own NaN.
TYPED_TEST(Lanes, NarrowedNanIsSeen) {
  using T = typename TestFixture::Scalar;
  using C = typename TestFixture::Number;
  alignas(64) C delta[16], wide[16], sum[16];
  std::fill(delta, delta + 16, C{1});
  for (const auto& group : this->groups()) {
    this->on.widen(this->memory(group), wide);
    for (const bool own : {false, true}) {
      if (own) std::fill(wide, wide + 16, std::numeric_limits<C>::infinity());
      this->on.add(wide, delta, sum);
      if (own) this->on.sub(wide, wide, sum);
      T out[16];
      this->on.narrow(sum, out);
      unsigned nan = 0;
      for (std::size_t i = 0; i < 16; ++i) nan |= (own || reference::is_nan(std::bit_cast<T>(group[i])) ? 1u : 0u) << i;
      ASSERT_EQ(this->on.nonfinite(out) & nan, nan);
    }
  }
}

TYPED_TEST(Lanes, OrderedGrowsWithTheValueAndInvertsItself) {
  using T = typename TestFixture::Scalar;
  for (auto group : this->groups()) {
    auto out = group;
    this->on.ordered(this->memory(group), this->memory(out));
    for (std::size_t i = 0; i < 16; ++i)
      ASSERT_EQ(static_cast<typename TestFixture::Pattern>(reference::ordered(std::bit_cast<T>(group[i]))), out[i]);
    this->on.ordered(this->memory(out), this->memory(out));
    ASSERT_EQ(group, out);
  }
}

TYPED_TEST(Lanes, SumIsModular) {
  using Word = typename TestFixture::Pattern;
  const auto groups = this->groups();
  Random random(53);
  for (const auto& a : groups) {
    const auto& b = groups[static_cast<std::size_t>(random.below(static_cast<lora::Index>(groups.size())))];
    auto sum = a;
    this->on.sum(this->memory(a), this->memory(b), this->memory(sum));
    for (std::size_t i = 0; i < 16; ++i) ASSERT_EQ(static_cast<Word>(a[i] + b[i]), sum[i]);
  }
}

/// Between neighbours, numbers of both signs, and anything else: the distance modulo 2^bits, saturated to a byte.
TYPED_TEST(Lanes, DifferenceSaturatesAndMarks) {
  using T = typename TestFixture::Scalar;
  using Word = typename TestFixture::Pattern;
  using Signed = std::make_signed_t<Word>;
  const auto groups = this->groups();
  Random random(53);
  for (const auto& x : groups)
    for (const bool near : {true, false}) {
      auto y = groups[static_cast<std::size_t>(random.below(static_cast<lora::Index>(groups.size())))];
      if (near)
        for (std::size_t i = 0; i < 16; ++i) {
          const auto steps = static_cast<Word>(random.below(300) - 150);
          y[i] = static_cast<Word>(reference::ordered(std::bit_cast<T>(x[i]))) + steps;
        }
      if (near) this->on.ordered(this->memory(y), this->memory(y));
      std::uint8_t expected[16], found[16];
      unsigned marked = 0, extreme = 0;
      for (std::size_t i = 0; i < 16; ++i) {
        const auto to = static_cast<Word>(reference::ordered(std::bit_cast<T>(x[i])));
        const auto from = static_cast<Word>(reference::ordered(std::bit_cast<T>(y[i])));
        const auto byte = std::clamp<Signed>(static_cast<Signed>(static_cast<Word>(to - from)), -128, 127);
        expected[i] = static_cast<std::uint8_t>(byte);
        marked |= (byte != 0 ? 1u : 0u) << i;
        extreme |= (byte < -126 || byte > 126 ? 1u : 0u) << i;
      }
      const auto masks = this->on.difference(found, this->memory(x), this->memory(y));
      ASSERT_TRUE(std::equal(expected, expected + 16, found));
      ASSERT_EQ(marked, masks.marked);
      ASSERT_EQ(extreme, masks.extreme);
    }
}

TYPED_TEST(Lanes, MasksNameTheLanes) {
  using T = typename TestFixture::Scalar;
  using Signed = std::make_signed_t<typename TestFixture::Pattern>;
  for (const auto& group : this->distances()) {
    unsigned escaped = 0, nonfinite = 0;
    for (std::size_t i = 0; i < 16; ++i) {
      const auto value = static_cast<Signed>(group[i]);
      escaped |= (value == -128 ? 1u : 0u) << i;
      nonfinite |= (reference::is_finite(std::bit_cast<T>(group[i])) ? 0u : 1u) << i;
    }
    ASSERT_EQ(escaped, this->on.escaped(this->memory(group)));
    ASSERT_EQ(nonfinite, this->on.nonfinite(this->memory(group)));
  }
}

TYPED_TEST(Lanes, LargestKeepsWhatIsNotFinite) {
  using T = typename TestFixture::Scalar;
  const auto groups = this->groups();
  Random random(57);
  for (int round = 0; round < 4000; ++round) {
    std::array<typename TestFixture::Group, 4> some;
    unsigned expected = 0;
    for (auto& group : some) {
      group = groups[static_cast<std::size_t>(random.below(static_cast<lora::Index>(groups.size())))];
      for (std::size_t i = 0; i < 16; ++i) {
        // In an eighth of the lanes anything may stand, in the others a finite number.
        if (random.below(8) != 0 && !reference::is_finite(std::bit_cast<T>(group[i]))) group[i] = 0;
        expected |= (reference::is_finite(std::bit_cast<T>(group[i])) ? 0u : 1u) << i;
      }
    }
    ASSERT_EQ(expected, this->on.nonfinite_of_largest(this->memory(some[0]), 4));
  }
}

TYPED_TEST(Lanes, NonzeroWordsAreNamed) {
  Random random(58);
  for (int round = 0; round < 4000; ++round) {
    std::uint16_t words[16];
    unsigned expected = 0;
    for (unsigned i = 0; i < 16; ++i) {
      words[i] = static_cast<std::uint16_t>(random.below(2) == 0 ? 0 : 1u << random.below(16));
      expected |= (words[i] != 0 ? 1u : 0u) << i;
    }
    ASSERT_EQ(expected, this->on.nonzero_words(words));
  }
}

TYPED_TEST(Lanes, CompressAndExpandEveryMask) {
  using Word = typename TestFixture::Pattern;
  Random random(54);
  for (unsigned mask = 0; mask < 0x10000; ++mask) {
    typename TestFixture::Group group;
    for (Word& pattern : group) pattern = static_cast<Word>(static_cast<std::int8_t>(random.bits()));
    std::vector<std::uint8_t> expected;
    std::uint8_t all[16];
    auto kept = group;
    for (std::size_t i = 0; i < 16; ++i) {
      all[i] = static_cast<std::uint8_t>(group[i]);
      if ((mask >> i & 1u) != 0)
        expected.push_back(static_cast<std::uint8_t>(group[i]));
      else
        kept[i] = 0;
    }
    std::array<std::uint8_t, 64> bytes;
    bytes.fill(0xa5);
    this->on.compress(bytes.data() + 1, all, mask);
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin() + 1)) << mask;
    ASSERT_EQ(bytes[0], 0xa5);
    for (std::size_t i = 1 + expected.size() + 16; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], 0xa5) << mask;
    auto out = group;
    this->on.expand(bytes.data() + 1, mask, this->memory(out));
    ASSERT_EQ(kept, out) << mask;
  }
}

TYPED_TEST(Lanes, ArithmeticRoundsOnce) {
  using C = typename TestFixture::Number;
  Random random(55);
  alignas(64) C a[16], b[16], c[16], fma[16], sum[16], difference[16];
  const auto same = [](C x, C y) { return std::isnan(x) ? std::isnan(y) : reference::bits(x) == reference::bits(y); };
  for (int round = 0; round < 5000; ++round) {
    for (int i = 0; i < 16; ++i) {
      a[i] = reference::any_pattern<C>(random);
      b[i] = random.below(2) == 0 ? reference::any_pattern<C>(random) : static_cast<C>(random.normal());
      c[i] = random.below(2) == 0 ? reference::any_pattern<C>(random) : -a[i] * b[i];
    }
    this->on.fma(a, b, c, fma);
    this->on.add(a, c, sum);
    this->on.sub(a, c, difference);
    for (int i = 0; i < 16; ++i) {
      ASSERT_TRUE(same(std::fma(a[i], b[i], c[i]), fma[i])) << a[i] << " * " << b[i] << " + " << c[i];
      ASSERT_TRUE(same(a[i] + c[i], sum[i])) << a[i] << " + " << c[i];
      ASSERT_TRUE(same(a[i] - c[i], difference[i])) << a[i] << " - " << c[i];
    }
  }
}

TYPED_TEST(Lanes, BroadcastAndZeroFillAllLanes) {
  using C = typename TestFixture::Number;
  alignas(64) C out[16];
  this->on.broadcast(C(-2.5), out);
  for (const C x : out) EXPECT_EQ(x, C(-2.5));
  this->on.zero(out);
  for (const C x : out) EXPECT_EQ(reference::bits(x), 0u);
}

}  // namespace
