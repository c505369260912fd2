// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Whatever floating-point environment the caller has: the same bits, and the caller's environment afterwards.

#include "lora/layer/linear.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <cfenv>
#include <functional>

#if LORA_TARGETS_X86
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace {

using lora::Index;
using reference::Random;
using reference::Threads;
using reference::Updates;

/// Everything of the environment that can be read.
struct Observed {
  int rounding = std::fegetround();
  int raised = std::fetestexcept(FE_ALL_EXCEPT);
#if defined(__GLIBC__)
  int trapped = fegetexcept();
#endif
#if defined(__SSE__)
  unsigned control = _mm_getcsr();
#elif defined(__aarch64__)
  std::uint64_t control = [] {
    std::uint64_t value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }();
  /// Sticky flags, that of saturation among them.
  std::uint64_t status = [] {
    std::uint64_t value;
    asm volatile("mrs %0, fpsr" : "=r"(value));
    return value;
  }();
#endif
  bool operator==(const Observed&) const = default;
};

struct Environment {
  const char* name;
  std::function<void()> set;
};

std::vector<Environment> environments() {
  std::vector<Environment> all = {{"upward", [] { std::fesetround(FE_UPWARD); }},
                                  {"downward", [] { std::fesetround(FE_DOWNWARD); }},
                                  {"toward zero", [] { std::fesetround(FE_TOWARDZERO); }},
                                  {"to nearest", [] { std::fesetround(FE_TONEAREST); }},
                                  {"raised flags", [] { std::feraiseexcept(FE_DIVBYZERO | FE_INVALID); }}};
#if defined(__GLIBC__) && !defined(__aarch64__)  // many Arm processors have no traps
  all.push_back({"traps", [] { feenableexcept(FE_ALL_EXCEPT); }});
  all.push_back({"traps and upward", [] {
                   feenableexcept(FE_ALL_EXCEPT);
                   std::fesetround(FE_UPWARD);
                 }});
#endif
#if defined(__SSE__)
  all.push_back({"flush to zero, denormals are zero", [] { _mm_setcsr(_mm_getcsr() | 0x8040u); }});
  all.push_back({"flush to zero, toward zero", [] {
                   _mm_setcsr(_mm_getcsr() | 0x8040u);
                   std::fesetround(FE_TOWARDZERO);
                 }});
#elif defined(__aarch64__)
  // FPCR: RMode, FZ, DN, AHP, FZ16 of Armv8, and what FEAT_AFP adds where there is it (FIZ, AH, NEP).
  const auto control = [](std::uint64_t bits) {
    return [bits] { asm volatile("msr fpcr, %0" : : "r"(bits)); };
  };
  constexpr std::uint64_t fz16 = 1u << 19, toward_zero = 3u << 22, fz = 1u << 24, dn = 1u << 25, ahp = 1u << 26;
  all.push_back({"flush to zero", control(fz)});
  all.push_back({"flush to zero, toward zero", control(fz | toward_zero)});
  all.push_back({"default NaN, alternative half precision, its denormals flushed", control(dn | ahp | fz16)});
  all.push_back({"everything", control(fz | dn | ahp | fz16 | toward_zero | 7)});
#endif
  return all;
}

/// Runs `work` under an environment; false when it left another one behind.
template <class Work>
bool keeps(const Environment& environment, const Work& work) {
  std::fenv_t before;
  std::fegetenv(&before);
  std::feclearexcept(FE_ALL_EXCEPT);
  environment.set();
  const Observed set;
  work();
  const Observed left;
  std::fesetenv(&before);
  return set == left;
}

template <class T>
class FpEnvironment : public ::testing::Test {
 public:
  using Compute = lora::compute_t<T>;

  /// Denormals in W0, in the factors, in c * B, and in the results; sums that round.
  static void check(Index rows, Index cols) {
    Random random(40);
    const double tiny = 50 * static_cast<double>(std::numeric_limits<T>::denorm_min());
    const double tiny_factor = 50 * static_cast<double>(std::numeric_limits<Compute>::denorm_min());
    lora::Matrix<T> w0 = reference::gaussian<T>(random, rows, cols);
    w0.rightCols(cols / 2) = reference::gaussian<T>(random, rows, cols / 2, tiny);
    Updates<Compute> from, to;
    from.add_gaussian(random, rows, cols, 2, 0.03);
    from.add(lora::LowRank<Compute>(reference::gaussian<Compute>(random, rows, 1, tiny_factor),
                                    reference::gaussian<Compute>(random, 1, cols), lora::scaling::fixed(1)));
    from.add_gaussian(random, rows, cols, 1, tiny, 0.3);
    to.add_gaussian(random, rows, cols, 1, tiny, -1.1);
    const auto expected = reference::merge<T, lora::row_major>(w0, from);
    const auto switched = reference::merge<T, lora::row_major>(w0, to);
    const lora::Matrix<Compute> change = reference::delta<Compute>(from, rows, cols);

    lora::DefaultExecutor(2).run(2, [](int) {});  // an OpenMP runtime may raise flags when it starts
    for (const Environment& environment : environments()) {
      SCOPED_TRACE(environment.name);
      lora::Matrix<T> w = w0;
      lora::UndoRecord record, next;
      ASSERT_TRUE(keeps(environment, [&] { record = lora::merge(w, from); }));
      ASSERT_TRUE(reference::same_bits(expected.weight, w));
      ASSERT_TRUE(reference::same_record(expected.record, record));
      ASSERT_TRUE(keeps(environment, [&] { next = lora::switch_to(w, from, record, to); }));
      ASSERT_TRUE(reference::same_bits(switched.weight, w));
      ASSERT_TRUE(reference::same_record(switched.record, next));
      ASSERT_TRUE(keeps(environment, [&] { lora::unmerge(w, to, next); }));
      ASSERT_TRUE(reference::same_bits(w0, w));
      ASSERT_TRUE(keeps(environment, [&] { lora::merge_plain(w, from); }));
      ASSERT_TRUE(reference::same_bits(expected.weight, w));
      lora::Matrix<Compute> found;
      ASSERT_TRUE(keeps(environment, [&] { found = lora::delta<Compute>(from, rows, cols); }));
      ASSERT_TRUE(reference::same_bits(change, found));

      // An unmerge that fails takes back what it did under the same arithmetic.
      w(rows - 1, cols - 1) = reference::from_ordered<T>(reference::ordered(w(rows - 1, cols - 1)) + 1);
      const lora::Matrix<T> edited = w;
      ASSERT_TRUE(keeps(environment, [&] { EXPECT_THROW(lora::unmerge(w, from, record), lora::RecordError); }));
      ASSERT_TRUE(reference::same_bits(edited, w));
    }
  }
};
TYPED_TEST_SUITE(FpEnvironment, reference::Scalars);

TYPED_TEST(FpEnvironment, OfTheCallerDoesNotMatterAndStays) { this->check(70, 333); }

TYPED_TEST(FpEnvironment, OfTheCallerDoesNotMatterAndStaysWithThreads) {
  const Threads threads(2);
  ASSERT_GE(150 * 1001, 2 * reference::elements_per_thread);
  this->check(150, 1001);
}

#if LORA_TARGETS_X86

/// Whether the processor tells which of its registers are in use: CPUID leaf 13, 1.
bool tells_registers_in_use() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __builtin_cpu_supports("avx") && __get_cpuid_count(13, 1, &a, &b, &c, &d) != 0 && (a & 4) != 0;
}

/// Whether upper halves of vector registers are: of the ymm or the zmm ones.
__attribute__((target("xsave"))) bool upper_halves_in_use() { return (_xgetbv(1) & 0x44) != 0; }

TEST(VectorRegisters, AreLeftClear) {
  if (!tells_registers_in_use()) GTEST_SKIP() << "this processor does not tell";
  Random random(41);
  lora::Matrix<float> W = reference::gaussian<float>(random, 70, 333);
  Updates<float> updates;
  updates.add_gaussian(random, 70, 333, 2, 0.03);
  ASSERT_FALSE(upper_halves_in_use());
  const lora::UndoRecord record = lora::merge(W, updates);
  EXPECT_FALSE(upper_halves_in_use());
  lora::unmerge(W, updates, record);
  EXPECT_FALSE(upper_halves_in_use());
  const lora::Linear<float> layer(W);
  for (const Index batch : {1, 50}) {
    const lora::Activations<float> X = reference::gaussian<float>(random, 333, batch);
    lora::Activations<float> Y(70, batch);
    layer.forward_into(X, Y);
    EXPECT_FALSE(upper_halves_in_use());
  }
}

#endif

}  // namespace
