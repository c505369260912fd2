// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/simd/fp_environment.hpp"
#include "lora/simd/isa.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cfenv>
#include <set>
#include <string>

namespace {

using lora::Isa;
using lora::detail::capped_isa;
using lora::detail::machine_isa;

TEST(IsaTest, CapIsAnUpperBound) {
  EXPECT_EQ(capped_isa(""), machine_isa());
  EXPECT_EQ(capped_isa("portable"), Isa::portable);
  EXPECT_EQ(capped_isa("avx2"), std::min(Isa::avx2, machine_isa()));
  EXPECT_EQ(capped_isa("avx512"), std::min(Isa::avx512, machine_isa()));
  EXPECT_EQ(capped_isa("amx"), machine_isa());
  EXPECT_LE(lora::isa(), machine_isa());
}

TEST(IsaTest, EveryInstructionSetHasItsOwnName) {
  std::set<std::string> names;
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512, Isa::amx}) {
    EXPECT_EQ(capped_isa(lora::name(isa)), std::min(isa, machine_isa()));
    names.insert(lora::name(isa));
  }
  EXPECT_EQ(names.size(), 4U);
}

TEST(IsaTest, UnknownCapIsRefusedByName) {
  for (const char* word : {"sse", "AVX2", "avx", "avx512 ", "avx2,portable"}) {
    try {
      capped_isa(word);
      FAIL() << word;
    } catch (const lora::ValueError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("LORA_ISA"), std::string::npos) << message;
      EXPECT_NE(message.find("portable, avx2, avx512 or amx"), std::string::npos) << message;
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
