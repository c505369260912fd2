// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <cstdint>

#if defined(_M_X64)
#include <xmmintrin.h>
#elif !defined(__SSE__) && !defined(__aarch64__)
#include <cfenv>
#endif

LORA_TAGGED_BEGIN

#if LORA_TARGETS_X86
/// Clears the upper halves of vector registers, which slow down the SSE code of everybody else. gcc does so at the end of
/// a kernel from -O2 on, but not at -O1 and -Os.
__attribute__((target("avx"))) LORA_NOINLINE inline void clear_upper_halves() { __builtin_ia32_vzeroupper(); }
#endif

/// Rounding to nearest, no flushing of denormals, no traps, for the lifetime of the object and on this thread; then the
/// caller's environment again, sticky flags included. Hosts run with flush-to-zero or their own rounding, and a merge
/// under one environment could not be undone under another.
///
/// The compiler does not know that arithmetic depends on it: what is computed must stand in a function that is not inlined
/// into the one that holds the object. with_fp_environment() sees to that.
class FpEnvironment {
 public:
#if defined(__SSE__) || defined(_M_X64)
  FpEnvironment() : caller_(get()) { set(0x1f80); }
  ~FpEnvironment() {
    set(caller_);
#if LORA_TARGETS_X86
    if (__builtin_cpu_supports("avx")) clear_upper_halves();
#endif
  }
#elif defined(__aarch64__)
  // All of FPCR is 0 then: RMode, FZ, FZ16, AHP (the alternative half), DN, traps, and what FEAT_AFP and others add.
  FpEnvironment() {
    asm volatile("mrs %0, fpcr" : "=r"(caller_));
    asm volatile("mrs %0, fpsr" : "=r"(caller_flags_));
    asm volatile("msr fpcr, %0" : : "r"(std::uint64_t{0}) : "memory");
  }
  ~FpEnvironment() {
    asm volatile("msr fpcr, %0" : : "r"(caller_) : "memory");
    asm volatile("msr fpsr, %0" : : "r"(caller_flags_) : "memory");
  }
#else
  FpEnvironment() {
    std::feholdexcept(&caller_);
    std::fesetround(FE_TONEAREST);
  }
  ~FpEnvironment() { std::fesetenv(&caller_); }
#endif
  FpEnvironment(const FpEnvironment&) = delete;
  FpEnvironment& operator=(const FpEnvironment&) = delete;

 private:
#if defined(__SSE__)  // the builtins behind _mm_getcsr and _mm_setcsr, without a header of intrinsics
  static unsigned get() { return __builtin_ia32_stmxcsr(); }
  static void set(unsigned word) { __builtin_ia32_ldmxcsr(word); }
  unsigned caller_;
#elif defined(_M_X64)
  static unsigned get() { return _mm_getcsr(); }
  static void set(unsigned word) { _mm_setcsr(word); }
  unsigned caller_;
#elif defined(__aarch64__)
  std::uint64_t caller_ = 0, caller_flags_ = 0;
#else
  std::fenv_t caller_;
#endif
};

#if defined(__SSE__)
/// Denormal operands are zeros and denormal results become zeros, by the processor, until the end of the lifetime; then
/// what an FpEnvironment says again. Stands within the lifetime of one, under the same rule.
class FlushedDenormals {
 public:
  FlushedDenormals() { __builtin_ia32_ldmxcsr(0x1f80 | 0x8040); }
  ~FlushedDenormals() { __builtin_ia32_ldmxcsr(0x1f80); }
  FlushedDenormals(const FlushedDenormals&) = delete;
  FlushedDenormals& operator=(const FlushedDenormals&) = delete;
};
#endif

template <class Work>
LORA_NOINLINE void run_apart(const Work& work) {
  work();
}

/// Runs work() under an FpEnvironment, as the rule above wants it.
template <class Work>
LORA_NOINLINE void with_fp_environment(const Work& work) {
  const FpEnvironment environment;
  run_apart(work);
}

#if defined(__SSE__)
/// Runs work() with FlushedDenormals, as the rule wants it.
template <class Work>
LORA_NOINLINE void with_flushed_denormals(const Work& work) {
  const FlushedDenormals flushed;
  run_apart(work);
}
#endif

LORA_TAGGED_END
