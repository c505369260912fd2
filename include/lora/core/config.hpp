// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What every header needs first: the compilers and modes that are refused, the inline namespace, debug checks.

// The language and the modes come before anything is included, so that their sentence is the first error.
#if (defined(_MSVC_LANG) && _MSVC_LANG < 202002L) || (!defined(_MSVC_LANG) && __cplusplus < 202002L)
#error "lora: C++20 is needed; compile with -std=c++20 (CMake: target_compile_features(your_target PRIVATE cxx_std_20))"
#elif defined(_MSC_VER) && !defined(__clang__)
#error "lora: not tested with MSVC, whose arithmetic may give a merge other bits; on Windows compile with g++ or clang++ (mingw-w64)"
#elif !defined(__cpp_exceptions)
#error "lora: errors are told by exceptions; drop -fno-exceptions for the files that include lora"
#elif defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__)
#error "lora: -ffast-math, -Ofast and -funsafe-math-optimizations let the compiler reorder additions, and an unmerge would not give back W0; drop the flag"
#elif defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "lora: -freciprocal-math and -fno-signed-zeros change the bits of a merge, and an unmerge would not give back W0; drop the flag"
#elif defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "lora: -ffinite-math-only lets the compiler take NaN and infinities for impossible, and an unmerge would not give back W0; drop the flag"
#else

#include "lora/core/version.hpp"

#include <bit>
#include <cassert>
#include <cfloat>

#include <Eigen/Core>

#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "lora: float expressions must be evaluated in float (FLT_EVAL_METHOD 0)"
#endif
#if !EIGEN_VERSION_AT_LEAST(3, 4, 0)
#error "lora: Eigen 3.4 or newer is needed"
#endif
static_assert(sizeof(Eigen::Index) == 8, "lora: Eigen::Index must have 64 bits (EIGEN_DEFAULT_DENSE_INDEX_TYPE, 64-bit machines)");
static_assert(std::endian::native == std::endian::little, "lora: only little-endian machines are supported");

/// Inner invariants are checked in debug builds only.
#if defined(NDEBUG)
#define LORA_DEBUG_CHECKS 0
#else
#define LORA_DEBUG_CHECKS 1
#endif
#if LORA_DEBUG_CHECKS
#define LORA_ASSERT(condition) assert(condition)
#else
#define LORA_ASSERT(condition) static_cast<void>(0)
#endif

#if defined(__GNUC__) || defined(__clang__)
#define LORA_INLINE __attribute__((always_inline)) inline
#define LORA_NOINLINE __attribute__((noinline))
#else
#define LORA_INLINE inline
#define LORA_NOINLINE
#endif

// The bodies of declared functions stand in `-inl.hpp` headers, which a header includes at its end. A program that links the
// compiled library (LORA_COMPILED) sees the declarations alone.
#if defined(LORA_COMPILED)
#define LORA_HEADER_ONLY 0
#if !defined(__GNUC__) && !defined(__clang__)
#error "lora: the compiled library needs gcc or clang (weak functions); use the header-only target lora::lora"
#endif
// Several sources of the compiled library define them. Windows' linkers look for no weak functions in libraries, and clang
// keeps of an inline constructor only what derived classes call.
#if defined(_WIN32) && !defined(__clang__)
#define LORA_FUNC __attribute__((used)) inline
#else
#define LORA_FUNC __attribute__((weak))
#endif
#else
#define LORA_HEADER_ONLY 1
#define LORA_FUNC inline
#endif

// Loops over a register tile must be unrolled at -O2 as well: kept as loops they spill every accumulator.
#if defined(__clang__)
#define LORA_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define LORA_UNROLL _Pragma("GCC unroll 32")
#else
#define LORA_UNROLL
#endif

// Kernels for AVX2 and AVX-512 are compiled into every x86-64 program, whatever its flags, as functions with a target of
// their own. LORA_TARGETS_X86 can be defined as 0 to leave them out.
#if !defined(LORA_TARGETS_X86)
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define LORA_TARGETS_X86 1
#else
#define LORA_TARGETS_X86 0
#endif
#endif

// Those for Advanced SIMD are compiled into every program for 64-bit Arm, all of whose processors have it.
// LORA_TARGETS_NEON can be defined as 0 to leave them out.
#if !defined(LORA_TARGETS_NEON)
#if defined(__aarch64__) && defined(__ARM_NEON) && (defined(__GNUC__) || defined(__clang__))
#define LORA_TARGETS_NEON 1
#else
#define LORA_TARGETS_NEON 0
#endif
#endif

#define LORA_TARGETS_ANY (LORA_TARGETS_X86 || LORA_TARGETS_NEON)

// Everything lies in an inline namespace that names the version alone: a program catches and takes what a library with
// other flags throws and gives. What flags change lies in one more, inside detail (LORA_TAGGED_BEGIN), whose name says OpenMP,
// debug checks, whether the compiler may use fused multiply-adds anywhere, and which kernels are left out. Translation units
// that differ in these keep their own copies instead of sharing whichever the linker met first. The compiled library has
// one copy, for all.
#define LORA_DETAIL_JOIN_(a, b, c, d) a##b##c##d
#define LORA_DETAIL_JOIN(a, b, c, d) LORA_DETAIL_JOIN_(a, b, c, d)
#define LORA_ABI_NAMESPACE LORA_DETAIL_JOIN(v, LORA_VERSION_MAJOR, _, LORA_VERSION_MINOR)
#if defined(_OPENMP)
#define LORA_DETAIL_TAG_OPENMP _openmp
#else
#define LORA_DETAIL_TAG_OPENMP
#endif
#if LORA_DEBUG_CHECKS
#define LORA_DETAIL_TAG_DEBUG _debug
#else
#define LORA_DETAIL_TAG_DEBUG
#endif
#if defined(__FMA__)
#define LORA_DETAIL_TAG_FMA _fma
#else
#define LORA_DETAIL_TAG_FMA
#endif
#if LORA_TARGETS_ANY
#define LORA_DETAIL_TAG_TARGETS flags
#else
#define LORA_DETAIL_TAG_TARGETS portable
#endif
#if LORA_HEADER_ONLY
#define LORA_TAG_NAMESPACE \
  LORA_DETAIL_JOIN(LORA_DETAIL_TAG_TARGETS, LORA_DETAIL_TAG_OPENMP, LORA_DETAIL_TAG_DEBUG, LORA_DETAIL_TAG_FMA)
#else
#define LORA_TAG_NAMESPACE compiled
#endif

#define LORA_NAMESPACE_BEGIN \
  namespace lora {           \
  inline namespace LORA_ABI_NAMESPACE {
#define LORA_NAMESPACE_END \
  }                        \
  }
#define LORA_TAGGED_BEGIN \
  LORA_NAMESPACE_BEGIN    \
  namespace detail {      \
  inline namespace LORA_TAG_NAMESPACE {
#define LORA_TAGGED_END \
  }                     \
  }                     \
  LORA_NAMESPACE_END

LORA_NAMESPACE_BEGIN

/// Sizes and positions, signed as in Eigen.
using Index = Eigen::Index;

LORA_NAMESPACE_END

#endif  // the language and the modes
