// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Products of bfloat16 weights and activations have the order of tile units: on every instruction set, and by the code
// for tile units on one in software, they equal the scalar reference, and the digests in tests/data/pairs, in every bit.

#include "kernel/pair_products.hpp"
#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"

#include <cfenv>
#include <fstream>
#include <sstream>

#if LORA_TARGETS_X86
#include <immintrin.h>
#endif

namespace {

using lora::Isa;
using pair_products::Batch;
using pair_products::Index;
using pair_products::Number;
using pair_products::Weight;
using reference::Random;

constexpr Isa all_sets[] = {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::neon};

/// A set whose kernels cannot run here is skipped in so many words.
#define EXPECT_MACHINE_HAS(isa)                                                                                       \
  if (!lora::detail::machine_runs(isa))                                                                               \
  GTEST_SKIP() << "NOT TESTED: this machine has no " << lora::name(isa) << "; its kernels did not run here"

/// The sets' kernels, as they are chosen: those of amx run on AVX-512 where the system keeps its registers to itself.
class PairKernels : public ::testing::TestWithParam<Isa> {
 public:
  template <lora::StorageOrder Order>
  static void check(Random& random, int kind, Index rows, Index cols, Index batch) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch << ", kind " << kind
                                      << (Order == lora::row_major ? ", row-major" : ", column-major"));
    const auto W = pair_products::numbers<Weight<Order>>(random, kind, rows, cols);
    const auto X = pair_products::numbers<Batch>(random, kind, cols, batch);
    const auto kernels = lora::detail::pair_kernels<Number, Order>(GetParam(), batch);
    const auto expected = pair_products::expected(W, X);
    for (const auto lines : {pair_products::Lines::anywhere, pair_products::Lines::aligned})
      ASSERT_TRUE(reference::same_bits(expected, pair_products::multiply(kernels, W, X, lines)));
  }
};
INSTANTIATE_TEST_SUITE_P(Sets, PairKernels, ::testing::ValuesIn(all_sets),
                         [](const auto& set) { return std::string(lora::name(set.param)); });

TEST_P(PairKernels, EqualTheReference) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(70);
  for (const Index batch : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 256})
    for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 1}, {5, 0}, {16, 32}, {33, 31}, {70, 65}, {9, 161}}) {
      const int kind = static_cast<int>(random.below(5));
      check<lora::row_major>(random, kind, rows, cols, batch);
      check<lora::column_major>(random, kind, rows, cols, batch);
    }
}

TEST_P(PairKernels, EqualTheReferenceForAllKindsOfNumbers) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(71);
  for (int kind = 0; kind < 5; ++kind) {
    check<lora::row_major>(random, kind, 67, 300, 7);
    check<lora::column_major>(random, kind, 67, 300, 7);
  }
}

/// Blocks one behind the other are lanes there.
TEST_P(PairKernels, EqualTheReferenceForFewColumnsAndLongRows) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(80);
  for (const Index batch : {1, 2, 3, 4, 6, 7, 8, 9})
    for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 512}, {16, 1024}, {18, 511}, {33, 545}, {50, 1700}})
      for (int kind = 0; kind < 5; ++kind) check<lora::row_major>(random, kind, rows, cols, batch);
}

/// More rows than have their sums in memory at once, more columns than are copied at once, with a rest of each.
TEST_P(PairKernels, EqualTheReferenceForManyRowsAndColumns) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(79);
  for (const Index batch : {3, 40, 140}) {
    check<lora::row_major>(random, 1, 140, 270, batch);
    check<lora::column_major>(random, 1, 140, 270, batch);
  }
  check<lora::column_major>(random, 1, 2100, 33, 2);
}

Number number(Index significand, int exponent, bool negative) {  // significand 2^(exponent - 134), from 128 on
  const auto magnitude = static_cast<std::uint16_t>(exponent << 7 | (significand - 128));
  return std::bit_cast<Number>(static_cast<std::uint16_t>((negative ? 0x8000 : 0) | magnitude));
}

/// s (n - 1), s n in W's rows and t (n + 1), -t n in X's columns, `distance` apart, as often as fits in a block:
/// differences s t 2^(exponents - 268), which for biased exponents whose sum is 142 are the smallest normal number, and
/// are flushed for smaller ones, before there are enough of them.
template <lora::StorageOrder Order>
void check_differences(Isa isa, Random& random, Index distance, int exponents) {
  const Index rows = 18, cols = 300, batch = 1 + random.below(5);
  const int of_W = 4 + static_cast<int>(random.below(130)), of_X = exponents - of_W;
  SCOPED_TRACE(::testing::Message() << "batch " << batch << ", " << distance << " apart, exponents " << of_W << " and "
                                    << of_X << (Order == lora::row_major ? ", row-major" : ", column-major"));
  Weight<Order> W = Weight<Order>::Zero(rows, cols);
  Batch X = Batch::Constant(cols, batch, number(170, 200, false));  // most of it meets zeros
  const Index first = random.below(cols - distance), n = 129 + random.below(126);
  const Index often = distance > 16 ? 1 : 1 + (31 - first % 32) / (2 * distance);
  for (Index k = 0; k < often && first + (2 * k + 1) * distance < cols; ++k) {
    const Index j = first + 2 * k * distance;
    for (Index i = 0; i < rows; ++i) {
      W(i, j) = number(n - 1, of_W, i % 2 == 1);
      W(i, j + distance) = number(n, of_W, i % 2 == 1);
    }
    for (Index c = 0; c < batch; ++c) {
      X(j, c) = number(n + 1, of_X, c % 3 == 1);
      X(j + distance, c) = number(n, of_X, c % 3 != 1);
    }
  }
  const auto expected = pair_products::expected(W, X);
  if (exponents >= 142 || distance % 2 == 0) {
    ASSERT_TRUE(((expected.array() == 0) == (exponents < 142)).all());
  }
  ASSERT_TRUE(reference::same_bits(
      expected, pair_products::multiply(lora::detail::pair_kernels<Number, Order>(isa, X.cols()), W, X)));
}

TEST_P(PairKernels, FlushDifferencesBelowTheSmallestNormalNumber) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(76);
  for (int exponents = 140; exponents < 144; ++exponents)
    // In a chain, of two chains, of blocks and of what is packed together.
    for (const Index distance : {1, 2, 3, 30, 32, 64, 128, 160})
      for (int i = 0; i < 3; ++i) {
        check_differences<lora::row_major>(GetParam(), random, distance, exponents);
        check_differences<lora::column_major>(GetParam(), random, distance, exponents);
      }
}

/// The smallest normal number less 2^-153 to 2^-149, which rounds to it as a denormal, but not always with 24 bits.
TEST_P(PairKernels, FlushWhatIsTinyAfterRounding) {
  EXPECT_MACHINE_HAS(GetParam());
  const Index rows = 128, batch = 11;
  for (const int exponents : {101, 102, 103}) {
    Weight<lora::row_major> W = Weight<lora::row_major>::Zero(rows, 40);
    Batch X = Batch::Zero(40, batch);
    for (Index i = 0; i < rows; ++i) {
      W(i, 5) = number(128, 70, i % 2 == 1);
      W(i, 9) = number(128 + i, 50, i % 2 == 0);
    }
    for (Index c = 0; c < batch; ++c) {
      X(5, c) = number(128, 58, false);
      X(9, c) = number(128 + 12 * c, exponents - 50, false);
    }
    const auto expected = pair_products::expected(W, X);
    const Index zeros = (expected.array() == 0).count();
    EXPECT_TRUE(exponents == 101 ? zeros == 0 : zeros > rows) << exponents << ": " << zeros;
    EXPECT_TRUE(exponents == 103 || zeros < rows * (batch - 1)) << exponents << ": " << zeros;
    ASSERT_TRUE(reference::same_bits(
        expected, pair_products::multiply(lora::detail::pair_kernels<Number, lora::row_major>(GetParam(), X.cols()), W, X)));
  }
}

TEST_P(PairKernels, TakeDenormalNumbersForZeros) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(78);
  Weight<lora::row_major> denormal(40, 700), large(40, 700);
  for (Index i = 0; i < denormal.size(); ++i) {
    denormal.data()[i] = std::bit_cast<Number>(static_cast<std::uint16_t>(random.bits() & 0x807f));
    large.data()[i] = number(128 + random.below(128), 160 + static_cast<int>(random.below(20)), random.below(2) == 1);
  }
  for (const Index batch : {2, 40}) {
    const auto kernels = lora::detail::pair_kernels<Number, lora::row_major>(GetParam(), batch);
    const lora::Matrix<float> zeros = lora::Matrix<float>::Zero(40, batch);
    const Batch X = large.topRows(batch).transpose(), denormal_X = denormal.topRows(batch).transpose();
    EXPECT_TRUE(reference::same_bits(zeros, pair_products::multiply(kernels, denormal, X)));
    EXPECT_TRUE(reference::same_bits(zeros, pair_products::multiply(kernels, large, denormal_X)));
  }
}

template <class Lanes>
void check_exponents() {
  Random random(77);
  for (int i = 0; i < 2000; ++i) {
    // One number in a vector of larger ones, or of zeros.
    const auto one = static_cast<std::uint16_t>(random.bits() & (i % 8 == 0 ? 0x807f : 0xffff));
    const std::uint16_t others = i % 3 == 0 ? 0x8000 : 0x7f80;
    alignas(64) std::uint16_t bits[32];
    std::fill(std::begin(bits), std::end(bits), others);
    bits[random.below(32)] = one;
    alignas(64) float words[16];
    std::memcpy(words, bits, sizeof words);
    typename Lanes::Exponents exponents;
    exponents.see(Lanes::load(words));
    const int none = others == 0x8000 ? 256 : 255;
    ASSERT_EQ(exponents.least(), (one & 0x7fff) == 0 ? none : std::min(none, one >> 7 & 0xff)) << std::hex << one;
  }
}

TEST(PairExponents, AreTheLeastOfNumbersThatAreNot0) {
  check_exponents<lora::detail::portable::Lanes<Number>>();
#if LORA_TARGETS_NEON
  check_exponents<lora::detail::neon::Lanes<Number>>();
#endif
  lora::detail::LeastExponent least;
  EXPECT_EQ(least.value(), 256);
  for (const auto& [number, expected] : {std::pair{-0.0f, 256}, {INFINITY, 255}, {-3.0f, 128}, {5.0f, 128},
                                         {0x1p-126f, 1}, {-0x1p-149f, 0}, {0.0f, 0}}) {
    least.see(number);
    EXPECT_EQ(least.value(), expected);
  }
}

TEST(PairExponents, TellWhereResultsStayNormal) {
  using lora::detail::stay_normal;
  EXPECT_TRUE(stay_normal(71, 71) && stay_normal(1, 141) && stay_normal(256, 1));
  EXPECT_FALSE(stay_normal(70, 71) || stay_normal(1, 140));
  EXPECT_FALSE(stay_normal(0, 256));  // a denormal number has to be flushed itself
}

std::uint64_t digest(const lora::Matrix<float>& Y) {  // FNV-1a over the bits, row by row
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (Index i = 0; i < Y.rows(); ++i)
    for (Index c = 0; c < Y.cols(); ++c)
      for (int shift = 0; shift < 32; shift += 8) {
        hash ^= reference::bits(Y(i, c)) >> shift & 0xffu;
        hash *= 0x100000001b3u;
      }
  return hash;
}

/// tests/data/pairs/digests.txt: rows, cols, batch, kind, and the digest of W X.
struct Digest {
  Index rows, cols, batch;
  int kind;
  std::uint64_t expected;

  template <class Multiply>
  void check(const Multiply& multiply) const {
    Random random(static_cast<std::uint64_t>(rows * 1000003 + cols * 1009 + batch * 5 + kind));
    const auto W = pair_products::numbers<Weight<lora::row_major>>(random, kind, rows, cols);
    const auto X = pair_products::numbers<Batch>(random, kind, cols, batch);
    std::ostringstream found;
    found << rows << ' ' << cols << ' ' << batch << ' ' << kind << ' ' << std::hex << digest(multiply(W, X));
    EXPECT_EQ(digest(multiply(W, X)), expected) << "found " << found.str();
  }
};

std::vector<Digest> digests() {
  std::ifstream file(LORA_TEST_DATA "/pairs/digests.txt");
  std::vector<Digest> out;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Digest next{};
    if (words >> next.rows >> next.cols >> next.batch >> next.kind >> std::hex >> next.expected) out.push_back(next);
  }
  return out;
}

TEST_P(PairKernels, HaveTheDigests) {
  EXPECT_MACHINE_HAS(GetParam());
  const auto all = digests();
  ASSERT_EQ(all.size(), 20U);
  for (const Digest& one : all) {
    one.check([&](const auto& W, const auto& X) {
      return pair_products::multiply(lora::detail::pair_kernels<Number, lora::row_major>(GetParam(), X.cols()), W, X);
    });
    one.check([&](const auto& W, const auto& X) {
      const Weight<lora::column_major> other = W;
      const auto kernels = lora::detail::pair_kernels<Number, lora::column_major>(GetParam(), X.cols());
      return pair_products::multiply(kernels, other, X);
    });
  }
}

TEST(PairReference, HasTheDigests) {
  for (const Digest& one : digests())
    one.check([](const auto& W, const auto& X) { return pair_products::expected(W, X); });
}

#if LORA_TARGETS_X86
/// The code for dot products of pairs without them, so that AVX-512 alone runs it.
template <bool Exact>
struct MultiplyAdds : lora::detail::avx512::ByMultiplyAdds {
  static constexpr bool is_exact = Exact;
};

TEST(DotPairs, OfMultiplyAddsEqualTheReference) {
  EXPECT_MACHINE_HAS(Isa::avx512);
  Random random(81);
  for (const Index batch : {1, 7, 8, 9, 16, 17, 24, 25, 40, 256})
    for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 1}, {5, 0}, {8, 32}, {9, 31}, {33, 300}, {50, 1700}}) {
      const int kind = static_cast<int>(random.below(5));
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch << ", kind " << kind);
      const auto W = pair_products::numbers<Weight<lora::row_major>>(random, kind, rows, cols);
      const auto X = pair_products::numbers<Batch>(random, kind, cols, batch);
      const auto expected = pair_products::expected(W, X);
      using namespace lora::detail::avx512;
      ASSERT_TRUE(reference::same_bits(
          expected, pair_products::multiply(dot_pair_kernels<Number, MultiplyAdds<true>>(), W, X)));
      ASSERT_TRUE(reference::same_bits(
          expected, pair_products::multiply(dot_pair_kernels<Number, MultiplyAdds<false>>(), W, X)));
    }
}
#endif

Number of_bits(std::uint16_t pattern) { return std::bit_cast<Number>(pattern); }

void check_few(Isa isa, const Weight<lora::row_major>& W, const Batch& X) {
  ASSERT_TRUE(reference::same_bits(
      pair_products::expected(W, X),
      pair_products::multiply(lora::detail::pair_kernels<Number, lora::row_major>(isa, X.cols()), W, X)));
}

/// A sum by dot products is NaN where the zero beside a number meets one of these.
TEST_P(PairKernels, TellInfinitiesBesideOthers) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(82);
  for (const Index batch : {5, 16, 20}) {
    auto W = pair_products::numbers<Weight<lora::row_major>>(random, 1, 40, 96);
    auto X = pair_products::numbers<Batch>(random, 1, 96, batch);
    W(5, 17) = of_bits(0x7f80);
    W(16, 90) = of_bits(0xff80);
    W(17, 91) = of_bits(0x7fc1);
    check_few(GetParam(), W, X);
    X(90, 2) = of_bits(0xff80);
    X(91, 3) = Number(0);
    check_few(GetParam(), W, X);
  }
}

/// ... and +0 where it is -0: 1.5 2^-126 - 1.75 2^-126, which is flushed; then each chain of the last block ends in a
/// product that is flushed, and in -0.
TEST_P(PairKernels, TellZerosApart) {
  EXPECT_MACHINE_HAS(GetParam());
  Random random(83);
  for (const Index batch : {5, 16, 20}) {
    auto W = pair_products::numbers<Weight<lora::row_major>>(random, 1, 40, 96);
    auto X = pair_products::numbers<Batch>(random, 1, 96, batch);
    W.row(3).setConstant(Number(0));
    X.col(1).setConstant(of_bits(0x8000));
    check_few(GetParam(), W, X);
    W.row(11).setConstant(Number(0));
    W(11, 0) = number(192, 64, false);
    W(11, 32) = number(224, 64, true);
    X(0, 0) = X(32, 0) = number(128, 64, false);
    W(11, 92) = W(11, 93) = number(128, 60, true);
    X(92, 0) = X(93, 0) = number(128, 60, false);
    W(11, 94) = of_bits(0x8000);
    X(94, 0) = W(11, 95) = Number(1);
    X(95, 0) = of_bits(0x8000);
    ASSERT_EQ(reference::bits(pair_products::expected(W, X)(11, 0)), 0x80000000u);
    check_few(GetParam(), W, X);
  }
}

/// What the code for tile units does with a unit that is exactly specified.
void check_software(Random& random, Index rows, Index cols, Index batch) {
  const int kind = static_cast<int>(random.below(5));
  SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch << ", kind " << kind);
  const auto W = pair_products::numbers<Weight<lora::row_major>>(random, kind, rows, cols);
  const Weight<lora::column_major> other = W;
  const auto X = pair_products::numbers<Batch>(random, kind, cols, batch);
  const auto expected = pair_products::expected(W, X);
  for (const auto lines : {pair_products::Lines::anywhere, pair_products::Lines::aligned}) {
    ASSERT_TRUE(reference::same_bits(
        expected, pair_products::multiply(pair_products::software_kernels<lora::row_major>(), W, X, lines)));
    ASSERT_TRUE(reference::same_bits(
        expected, pair_products::multiply(pair_products::software_kernels<lora::column_major>(), other, X, lines)));
  }
  EXPECT_FALSE(pair_products::SoftwareUnit::configured);
}

TEST(PairTiles, OnAUnitInSoftwareEqualTheReference) {
  Random random(72);
  for (const Index batch : {1, 2, 15, 16, 17, 31, 33, 48})
    for (const auto& [rows, cols] : {std::pair<Index, Index>{1, 1}, {5, 0}, {64, 32}, {33, 31}, {70, 65}, {16, 96}})
      check_software(random, rows, cols, batch);
  check_software(random, 34, 270, 140);
  check_software(random, 130, 33, 70);
}

TEST(PairTiles, OnAUnitInSoftwareHaveTheDigests) {
  for (const Digest& one : digests()) {
    if (one.rows * one.cols * one.batch > 1000000) continue;  // in software these take long
    one.check([](const auto& W, const auto& X) {
      return pair_products::multiply(pair_products::software_kernels<lora::row_major>(), W, X);
    });
  }
}

/// A weight's pass, with everything that follows W X, beside the reference.
template <lora::StorageOrder Order>
void check_pass(Random& random, Index rows, Index cols, Index batch, bool any_bits) {
  SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch);
  const Weight<Order> W = any_bits ? reference::any_patterns<Number, Order>(random, rows, cols)
                                   : reference::gaussian<Number, Order>(random, rows, cols);
  const auto X = any_bits ? reference::any_patterns<Number, lora::row_major>(random, cols, batch)
                          : reference::gaussian<Number, lora::row_major>(random, cols, batch);
  std::vector<float> bias;
  for (Index i = 0; i < rows; ++i) bias.push_back(random.normal());
  reference::Updates<float> updates;
  updates.add_gaussian(random, rows, cols, 3, 0.3, -0.7);
  if (batch % 3 == 0) updates.add_dense(random, rows, cols, 0.1);
  if (batch % 4 == 0)  // h o X is in float, and so the sums are in the order for floats
    updates.add(reference::Gates<float>(rows, cols, {}, reference::gaussian<float>(random, cols, 1)));
  const auto expected = reference::forward<Number, Order>(W, updates.set(), bias, X);
  const Eigen::Map<const Eigen::VectorXf> b(bias.data(), rows);
  for (const int count : {1, 3}) {
    lora::DefaultExecutor executor(count);
    const Batch by_columns = X;
    lora::Matrix<float> Y(rows + 1, batch + 2);
    Y.setConstant(7);
    lora::forward_into(W, updates.set(), X, Y.block(1, 1, rows, batch), b, {&executor});
    ASSERT_TRUE(reference::same_bits(expected, Y.block(1, 1, rows, batch)));
    EXPECT_TRUE((Y.row(0).array() == 7).all() && (Y.col(0).array() == 7).all() && (Y.col(batch + 1).array() == 7).all());
    Batch narrow(rows, batch);
    lora::forward_into(W, updates.set(), by_columns, narrow, b, {&executor});
    const Batch rounded = expected.unaryExpr([](float value) { return reference::narrow<Number>(value); });
    ASSERT_TRUE(reference::same_bits(rounded, narrow));
    lora::Activations<float> column(rows, 1);  // alone
    lora::forward_into(W, updates.set(), X.col(batch - 1), column, b, {&executor});
    ASSERT_TRUE(reference::same_bits(expected.col(batch - 1), column));
  }
}

TEST(PairPasses, EqualTheReference) {
  Random random(73);
  for (const Index batch : {1, 2, 3, 15, 16, 17, 31, 33, 40, 64, 257}) {
    check_pass<lora::row_major>(random, 37, 70, batch, batch % 2 == 0);
    check_pass<lora::column_major>(random, 37, 70, batch, batch % 2 == 0);
  }
  check_pass<lora::row_major>(random, 300, 530, 50, false);
  check_pass<lora::column_major>(random, 300, 530, 50, false);
}

/// Any environment of the caller's: rounding, and denormals flushed or not.
TEST(PairPasses, DoNotDependOnTheCallersEnvironment) {
  Random random(74);
  for (const int kind : {3, 4})
    for (const Index batch : {1, 20, 50}) {
      const auto W = pair_products::numbers<Weight<lora::row_major>>(random, kind, 150, 200);
      const auto X = pair_products::numbers<Batch>(random, kind, 200, batch);
      reference::Updates<float> updates;
      updates.add(lora::LowRank<float>(reference::gaussian<float>(random, 150, 1, 1e-39),
                                       reference::gaussian<float>(random, 1, 200), lora::scaling::fixed(1)));
      const auto expected = reference::forward<Number, lora::row_major>(W, updates.set(), {}, X);
      lora::Activations<float> Y(150, batch);
      const auto set = updates.set();
      const reference::Threads threads(2);
      std::fesetround(FE_UPWARD);
      lora::forward_into(W, set, X, Y);
      const int rounding = std::fegetround();
      std::fesetround(FE_TONEAREST);
      EXPECT_EQ(rounding, FE_UPWARD);
      EXPECT_TRUE(reference::same_bits(expected, Y));
#if defined(__SSE__)
      const unsigned before = _mm_getcsr();
      _mm_setcsr(before | 0x8040u);
      lora::forward_into(W, set, X, Y);
      const unsigned after = _mm_getcsr();
      _mm_setcsr(before);
      EXPECT_EQ(after, before | 0x8040u);
      EXPECT_TRUE(reference::same_bits(expected, Y));
#endif
    }
}

#if LORA_TARGETS_X86

/// What the processor makes of it with DAZ and FTZ.
__attribute__((target("fma,avx"), noinline)) float processors_fma(float a, float b, float c) {
  return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
}

/// The reference's own flushing, and that of portable kernels, beside the processor's; about the smallest normal number it
/// matters what is rounded first.
TEST(PairArithmetic, FlushesAsTheProcessorDoes) {
  if (!__builtin_cpu_supports("fma")) GTEST_SKIP() << "NOT TESTED: this processor has no fused multiply-adds";
  Random random(75);
  int tiny = 0, smallest = 0;
  const unsigned before = _mm_getcsr();
  for (int i = 0; i < 2000000; ++i) {
    const float a = reference::widen(pair_products::number(random, i % 2 == 0 ? 3 : 4));
    // Now and then so that a b + c is next to the smallest normal number.
    float b = reference::widen(pair_products::number(random, 3)), c = reference::widen(pair_products::number(random, 3));
    c = std::bit_cast<float>(std::bit_cast<std::uint32_t>(c) | static_cast<std::uint32_t>(random.below(0x10000)));
    if (i % 4 == 0) c = std::bit_cast<float>(static_cast<std::uint32_t>(0x00800000 + random.below(4) * random.below(2)));
    if (i % 8 == 0) b = -std::copysign(std::ldexp(b, static_cast<int>(-20 - random.below(8))), a);
    if (!std::isnormal(b) || !std::isnormal(c)) continue;
    _mm_setcsr(before | 0x8040u);
    const float expected = processors_fma(a, b, c);
    _mm_setcsr(before);
    const float found = reference::flushed_fma(a, b, c), x = lora::detail::flushed(a);
    float kernels = lora::detail::fma(x, b, c);
    if (lora::detail::may_be_tiny(kernels)) kernels = lora::detail::flushed_fma(kernels, x, b, c);
    tiny += expected == 0 ? 1 : 0;
    smallest += std::fabs(expected) == std::numeric_limits<float>::min() ? 1 : 0;
    ASSERT_EQ(reference::bits(expected), reference::bits(found)) << a << ' ' << b << ' ' << c;
    ASSERT_EQ(reference::bits(expected), reference::bits(kernels)) << a << ' ' << b << ' ' << c;
  }
  EXPECT_GT(tiny, 10000);
  EXPECT_GT(smallest, 10000);
}

#endif

}  // namespace
