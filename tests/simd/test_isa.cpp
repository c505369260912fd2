// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/simd/avx512_dot.hpp"
#include "lora/simd/fp_environment.hpp"
#include "lora/simd/isa.hpp"

#include <gtest/gtest.h>

#include <cfenv>
#include <set>
#include <string>

namespace {

using lora::Isa;
using lora::detail::capped_isa;
using lora::detail::machine_isa;
using lora::detail::machine_runs;

TEST(IsaTest, CapIsAnUpperBound) {
  EXPECT_EQ(capped_isa(""), machine_isa());
  EXPECT_EQ(capped_isa("portable"), Isa::portable);
  EXPECT_EQ(capped_isa("avx2"), machine_runs(Isa::avx2) ? Isa::avx2 : machine_isa());
  EXPECT_EQ(capped_isa("avx512"), machine_runs(Isa::avx512) ? Isa::avx512 : machine_isa());
  EXPECT_EQ(capped_isa("amx"), machine_isa());
  EXPECT_EQ(capped_isa("neon"), machine_isa());
  EXPECT_TRUE(machine_runs(lora::isa()));
}

TEST(IsaTest, AMachineRunsItsOwnFamilyUpToItsBest) {
  EXPECT_TRUE(machine_runs(Isa::portable));
  EXPECT_TRUE(machine_runs(machine_isa()));
  EXPECT_EQ(machine_runs(Isa::neon), machine_isa() == Isa::neon);
  EXPECT_FALSE(machine_runs(Isa::neon) && machine_runs(Isa::avx2));
#if LORA_TARGETS_X86
  EXPECT_EQ(machine_runs(Isa::avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                         __builtin_cpu_supports("bmi2"));
  EXPECT_EQ(machine_runs(Isa::avx512), __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                                           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"));
  EXPECT_EQ(machine_runs(Isa::avx512_bf16), machine_runs(Isa::amx) || (machine_runs(Isa::avx512) && __builtin_cpu_supports("avx512bf16")));
#elif defined(__aarch64__)
  EXPECT_EQ(machine_isa(), LORA_TARGETS_NEON ? Isa::neon : Isa::portable);
#endif
}

#if LORA_TARGETS_X86
TEST(IsaTest, DotProductsRoundAsAsked) {
  if (!__builtin_cpu_supports("avx512bf16")) GTEST_SKIP() << "NOT TESTED: this machine has no avx512_bf16";
  if (!lora::detail::machine_has_dot_products()) GTEST_SKIP() << "this processor's dot products round otherwise; they are not used";
}
#endif

TEST(IsaTest, EveryInstructionSetHasItsOwnName) {
  std::set<std::string> names;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::neon}) {
    EXPECT_EQ(capped_isa(lora::name(isa)), machine_runs(isa) ? isa : machine_isa());
    names.insert(lora::name(isa));
  }
  EXPECT_EQ(names.size(), 6U);
}

TEST(IsaTest, UnknownCapIsRefusedByName) {
  for (const char* word : {"sse", "AVX2", "avx", "avx512 ", "avx2,portable", "Neon"}) {
    try {
      capped_isa(word);
      FAIL() << word;
    } catch (const lora::ValueError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("LORA_ISA"), std::string::npos) << message;
      EXPECT_NE(message.find("portable, avx2, avx512, avx512_bf16, amx or neon"), std::string::npos) << message;
      EXPECT_NE(message.find(word), std::string::npos) << message;
    }
  }
}

LORA_NOINLINE float third() {
  volatile float one = 1, three = 3;
  return one / three;
}

TEST(FpEnvironmentTest, IsNearestWithinAndTheCallersAfterwards) {
  const float nearest = third();
  std::feclearexcept(FE_ALL_EXCEPT);
  ASSERT_EQ(std::fesetround(FE_DOWNWARD), 0);
  const float downward = third();
  std::feclearexcept(FE_ALL_EXCEPT);
  std::feraiseexcept(FE_DIVBYZERO);
  const int raised = std::fetestexcept(FE_ALL_EXCEPT);
  {
    const lora::detail::FpEnvironment environment;
    EXPECT_EQ(third(), nearest);
    {
      const lora::detail::FpEnvironment nested;
      EXPECT_EQ(third(), nearest);
    }
    EXPECT_EQ(third(), nearest);
  }
  const int rounding = std::fegetround(), left = std::fetestexcept(FE_ALL_EXCEPT);
  const float after = third();
  std::fesetround(FE_TONEAREST);
  std::feclearexcept(FE_ALL_EXCEPT);
  EXPECT_NE(nearest, downward) << "downward rounding has no effect here";
  EXPECT_EQ(after, downward);
  EXPECT_EQ(rounding, FE_DOWNWARD);
  EXPECT_EQ(left, raised);
}

}  // namespace
