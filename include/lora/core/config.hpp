// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What every header needs first: the compilers and modes that are refused, the inline namespace, debug checks.

#include "lora/core/version.hpp"

#include <bit>
#include <cassert>
#include <cfloat>

#include <Eigen/Core>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__)
#error "lora: -ffast-math (-Ofast) lets the compiler reorder additions, and an unmerge would not give back W0; drop the flag"
#endif
#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "lora: -ffinite-math-only lets the compiler take NaN and infinities for impossible, and an unmerge would not give back W0; drop the flag"
#endif
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
#define LORA_FUNC
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

// The inline namespace names the version and everything that changes the code: OpenMP, debug checks, the alignment of
// Eigen's own memory, which follows the instruction set, whether the compiler may use fused multiply-adds anywhere,
// whether Eigen's products go to a BLAS, and which kernels are left out. Translation units that differ in these keep their
// own copies instead of sharing whichever the linker met first.
#define LORA_DETAIL_JOIN_(major, minor, openmp, debug, align, fma, blas, targets) \
  v##major##_##minor##openmp##debug##_align##align##fma##blas##targets
#define LORA_DETAIL_JOIN(major, minor, openmp, debug, align, fma, blas, targets) \
  LORA_DETAIL_JOIN_(major, minor, openmp, debug, align, fma, blas, targets)
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
#if EIGEN_MAX_ALIGN_BYTES == 0
#define LORA_DETAIL_TAG_ALIGN 0
#elif EIGEN_MAX_ALIGN_BYTES <= 16
#define LORA_DETAIL_TAG_ALIGN 16
#elif EIGEN_MAX_ALIGN_BYTES == 32
#define LORA_DETAIL_TAG_ALIGN 32
#else
#define LORA_DETAIL_TAG_ALIGN 64
#endif
#if defined(__FMA__)
#define LORA_DETAIL_TAG_FMA _fma
#else
#define LORA_DETAIL_TAG_FMA
#endif
#if defined(EIGEN_USE_BLAS)
#define LORA_DETAIL_TAG_BLAS _blas
#else
#define LORA_DETAIL_TAG_BLAS
#endif
#if LORA_TARGETS_X86
#define LORA_DETAIL_TAG_TARGETS
#else
#define LORA_DETAIL_TAG_TARGETS _portable
#endif
#define LORA_ABI_NAMESPACE                                                                                          \
  LORA_DETAIL_JOIN(LORA_VERSION_MAJOR, LORA_VERSION_MINOR, LORA_DETAIL_TAG_OPENMP, LORA_DETAIL_TAG_DEBUG,           \
                   LORA_DETAIL_TAG_ALIGN, LORA_DETAIL_TAG_FMA, LORA_DETAIL_TAG_BLAS, \
                   LORA_DETAIL_TAG_TARGETS)

#define LORA_NAMESPACE_BEGIN \
  namespace lora {           \
  inline namespace LORA_ABI_NAMESPACE {
#define LORA_NAMESPACE_END \
  }                        \
  }

LORA_NAMESPACE_BEGIN

/// Sizes and positions, signed as in Eigen.
using Index = Eigen::Index;

LORA_NAMESPACE_END
