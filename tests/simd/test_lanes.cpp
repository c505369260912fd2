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
  static constexpr int count = 32;
  using Line = std::array<Pattern, count>;

  void SetUp() override {
    if (!lora::detail::machine_runs(Case::isa)) GTEST_SKIP() << "this machine has no " << lora::name(Case::isa);
    on = operations<Scalar>(Case::isa);
  }

  /// Lines of patterns: every one of a 16-bit type, the edges and random ones of others.
  static std::vector<Line> lines() {
    std::vector<Line> all;
    if constexpr (sizeof(Scalar) == 2) {
      for (unsigned first = 0; first < 0x10000; first += count) {
        Line line;
        for (unsigned i = 0; i < count; ++i) line[i] = static_cast<Pattern>(first + i);
        all.push_back(line);
      }
    } else {
      Random random(50);
      for (int i = 0; i < 10000; ++i) {
        Line line;
        for (Pattern& pattern : line) pattern = reference::bits(reference::any_pattern<Scalar>(random));
        all.push_back(line);
      }
    }
    return all;
  }
  static const Scalar* memory(const Line& line) { return reinterpret_cast<const Scalar*>(line.data()); }
  static Scalar* memory(Line& line) { return reinterpret_cast<Scalar*>(line.data()); }
  static bool same(Number x, Number y) {
    return std::isnan(x) ? std::isnan(y) : reference::bits(x) == reference::bits(y);
  }
  static bool is_finite(Pattern pattern) { return reference::is_finite(std::bit_cast<Scalar>(pattern)); }
  /// Patterns that grow with the value, modulo 2^bits.
  static Pattern ordered(Pattern pattern) {
    return static_cast<Pattern>(reference::ordered(std::bit_cast<Scalar>(pattern)));
  }
  /// The inverse: `ordered` is its own for patterns.
  static Pattern unordered(Pattern place) { return ordered(place); }

  Operations<Scalar> on{};
};

// Those that are compiled for this family of processors.
using Cases = ::testing::Types<Case<float, Isa::portable>, Case<double, Isa::portable>, Half<Isa::portable>,
                               Bfloat16<Isa::portable>
#if LORA_TARGETS_X86
                               ,
                               Case<float, Isa::avx2>, Case<double, Isa::avx2>, Half<Isa::avx2>, Bfloat16<Isa::avx2>,
                               Case<float, Isa::avx512>, Case<double, Isa::avx512>, Half<Isa::avx512>,
                               Bfloat16<Isa::avx512>
#elif LORA_TARGETS_NEON
                               ,
                               Case<float, Isa::neon>, Case<double, Isa::neon>, Half<Isa::neon>, Bfloat16<Isa::neon>
#endif
                               >;
TYPED_TEST_SUITE(Lanes, Cases);

TYPED_TEST(Lanes, WidenIsExact) {
  using T = typename TestFixture::Scalar;
  for (const auto& line : this->lines()) {
    alignas(64) typename TestFixture::Number out[32], half[16];
    this->on.widen(this->memory(line), out);
    for (std::size_t i = 0; i < 32; ++i)
      ASSERT_TRUE(this->same(reference::widen(std::bit_cast<T>(line[i])), out[i])) << +line[i];
    for (const std::size_t first : {0u, 7u, 16u}) {
      this->on.load_widened(this->memory(line) + first, half);
      for (std::size_t i = 0; i < 16; ++i)
        ASSERT_TRUE(this->same(reference::widen(std::bit_cast<T>(line[first + i])), half[i])) << +line[first + i];
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
  inputs.resize(inputs.size() / 32 * 32);
  for (std::size_t first = 0; first < inputs.size(); first += 32) {
    alignas(64) C in[32];
    std::copy_n(&inputs[first], 32, in);
    T out[32];
    this->on.narrow(in, out);
    for (int i = 0; i < 32; ++i) {
      if (std::isnan(in[i])) continue;  // the kernels replace a NaN; the next test has what they need of it
      ASSERT_EQ(reference::bits(reference::narrow<T>(in[i])), reference::bits(out[i])) << in[i];
    }
  }
}

/// What arithmetic gives for a NaN or infinity is still seen after narrow(): NaN of T and the machine's own NaN.
TYPED_TEST(Lanes, NarrowedNanIsSeen) {
  using T = typename TestFixture::Scalar;
  using C = typename TestFixture::Number;
  alignas(64) C one[32], wide[32], sum[32];
  for (const auto& line : this->lines())
    for (std::size_t i = 0; i < 32; ++i) {
      if (this->is_finite(line[i])) continue;
      std::fill(one, one + 32, C{1});
      std::fill(wide, wide + 32, C{0});
      wide[i] = reference::widen(std::bit_cast<T>(line[i]));
      T out[32];
      this->on.add(wide, one, sum);
      this->on.narrow(sum, out);
      ASSERT_TRUE(this->on.special(out, 1)) << +line[i];
      this->on.sub(wide, wide, sum);  // infinity - infinity
      this->on.narrow(sum, out);
      ASSERT_TRUE(this->on.special(out, 1)) << +line[i];
    }
}

TYPED_TEST(Lanes, SpecialSeesWhatIsNotFinite) {
  const auto lines = this->lines();
  Random random(57);
  for (int round = 0; round < 4000; ++round) {
    std::array<typename TestFixture::Line, 4> some;
    bool expected = false;
    for (auto& line : some) {
      line = lines[static_cast<std::size_t>(random.below(static_cast<lora::Index>(lines.size())))];
      for (auto& pattern : line) {
        // In few of the places anything may stand, in the others a finite number.
        if (random.below(100) != 0 && !this->is_finite(pattern)) pattern = 0;
        expected = expected || !this->is_finite(pattern);
      }
    }
    ASSERT_EQ(expected, this->on.special(this->memory(some[0]), 4));
  }
}

/// Between neighbours, numbers of both signs, and anything else that is finite: the distance, or something beyond -126 .. 126
/// where it is beyond, or the signs differ.
TYPED_TEST(Lanes, DistancesSaturate) {
  using T = typename TestFixture::Scalar;
  using Word = typename TestFixture::Pattern;
  const auto lines = this->lines();
  Random random(53);
  const auto finite = [&](Word pattern) { return this->is_finite(pattern) ? pattern : Word{0}; };
  for (std::size_t n = 0; n + 1 < lines.size(); n += 2)
    for (const bool near : {true, false}) {
      std::array<typename TestFixture::Line, 2> x = {lines[n], lines[n + 1]}, y = x;
      for (std::size_t l = 0; l < 2; ++l) {
        const auto& other = lines[static_cast<std::size_t>(random.below(static_cast<lora::Index>(lines.size())))];
        for (std::size_t i = 0; i < 32; ++i) {
          x[l][i] = finite(x[l][i]);
          const auto steps = static_cast<Word>(random.below(300) - 150);
          y[l][i] = finite(near ? this->unordered(static_cast<Word>(this->ordered(x[l][i]) + steps)) : other[i]);
        }
      }
      std::int8_t found[64];
      this->on.distances(found, this->memory(x[0]), this->memory(y[0]));
      for (std::size_t i = 0; i < 64; ++i) {
        const T from = std::bit_cast<T>(y[i / 32][i % 32]), to = std::bit_cast<T>(x[i / 32][i % 32]);
        // The difference of two that are both below or both above 0 cannot overflow.
        const auto a = reference::ordered(to), b = reference::ordered(from);
        const bool one_sign = (a < 0) == (b < 0), extreme = found[i] < -126 || found[i] > 126;
        const bool far = !one_sign ? extreme : a - b < -126 || a - b > 126;
        ASSERT_EQ(far, extreme) << +x[i / 32][i % 32] << ", " << +y[i / 32][i % 32];
        if (!far) {
          ASSERT_EQ(static_cast<long long>(a) - b, found[i]) << +x[i / 32][i % 32] << ", " << +y[i / 32][i % 32];
        }
      }
    }
}

/// By any byte, from any pattern, modulo 2^bits.
TYPED_TEST(Lanes, MovedGoesAsManyPlacesFurther) {
  using Word = typename TestFixture::Pattern;
  Random random(54);
  for (const auto& line : this->lines()) {
    std::int8_t bytes[32];
    for (std::int8_t& byte : bytes) byte = static_cast<std::int8_t>(random.bits());
    auto out = line;
    this->on.moved(this->memory(line), bytes, this->memory(out));
    for (std::size_t i = 0; i < 32; ++i) {
      const auto place = static_cast<Word>(this->ordered(line[i]) + static_cast<Word>(bytes[i]));
      ASSERT_EQ(out[i], this->unordered(place)) << +line[i] << " by " << +bytes[i];
    }
  }
}

TYPED_TEST(Lanes, ArithmeticRoundsOnce) {
  using C = typename TestFixture::Number;
  Random random(55);
  alignas(64) C a[32], b[32], c[32], fma[16], by_number[16], sum[32], difference[32];
  for (int round = 0; round < 5000; ++round) {
    for (int i = 0; i < 32; ++i) {
      a[i] = reference::any_pattern<C>(random);
      b[i] = random.below(2) == 0 ? reference::any_pattern<C>(random) : static_cast<C>(random.normal());
      c[i] = random.below(2) == 0 ? reference::any_pattern<C>(random) : -a[i] * b[i];
    }
    this->on.fma(a, b, c, fma);
    this->on.fma_by_number(a[0], b, c, by_number);
    this->on.add(a, c, sum);
    this->on.sub(a, c, difference);
    for (int i = 0; i < 32; ++i) {
      if (i < 16) {
        ASSERT_TRUE(this->same(std::fma(a[i], b[i], c[i]), fma[i])) << a[i] << " * " << b[i] << " + " << c[i];
        ASSERT_TRUE(this->same(std::fma(a[0], b[i], c[i]), by_number[i])) << a[0] << " * " << b[i] << " + " << c[i];
      }
      ASSERT_TRUE(this->same(a[i] + c[i], sum[i])) << a[i] << " + " << c[i];
      ASSERT_TRUE(this->same(a[i] - c[i], difference[i])) << a[i] << " - " << c[i];
    }
  }
}

TYPED_TEST(Lanes, ReduceAddsInItsOwnOrder) {
  using C = typename TestFixture::Number;
  Random random(56);
  alignas(64) C in[64], four[4];
  for (int round = 0; round < 2000; ++round) {
    for (C& x : in) x = static_cast<C>(std::ldexp(random.normal(), static_cast<int>(random.below(40))));
    this->on.reduce_four(in, four);
    for (std::size_t n = 0; n < 4; ++n) {
      std::vector<C> sums(in + 16 * n, in + 16 * n + 16);
      for (std::size_t half = 8; half != 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
      ASSERT_EQ(reference::bits(sums[0]), reference::bits(this->on.reduce(in + 16 * n)));
      ASSERT_EQ(reference::bits(sums[0]), reference::bits(four[n]));
    }
  }
}

TYPED_TEST(Lanes, ZipTakesFromBothByTurns) {
  using C = typename TestFixture::Number;
  alignas(64) C a[16], b[16], out[32];
  for (int i = 0; i < 16; ++i) {
    a[i] = static_cast<C>(2 * i);
    b[i] = static_cast<C>(2 * i + 1);
  }
  this->on.zip(a, b, out);
  for (int i = 0; i < 32; ++i) ASSERT_EQ(static_cast<C>(i), out[i]);
}

TYPED_TEST(Lanes, CanonicalReplacesEveryNan) {
  using C = typename TestFixture::Number;
  Random random(58);
  alignas(64) C in[16], out[16];
  for (int round = 0; round < 2000; ++round) {
    for (C& x : in) x = reference::any_pattern<C>(random);
    this->on.canonical(in, out);
    for (int i = 0; i < 16; ++i) ASSERT_EQ(reference::bits(reference::narrow<C>(in[i])), reference::bits(out[i]));
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
