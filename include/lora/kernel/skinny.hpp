// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The skinny product Y = W X + B H + bias for up to 32 columns of X, where reading W is most of the work.
///
/// The order of summation, that of every forward pass, is part of its contract, so that a result does not depend on
/// compiler, instruction set, threads, alignment, batch size or the column's place in the batch. All in the compute
/// type:
///   row-major W      in blocks of 512 columns: lane l < 16 is the chain acc = fma(W(i, j), X(j, c), acc) over the block's
///                    j = l, l + 16, ... from +0, with W and X continued by zeros to a multiple of 16 columns; the lanes
///                    are added as l + (l + 8) for l < 8, then + 4, + 2, + 1; the blocks' sums are added in order to +0
///   column-major W   one chain over j = 0, 1, ... from +0
///   then             with gains g or a dense part D: fma(g(i), acc, d) or acc + d, d = (D X)(i, c) or +0
///                    the chain goes on with fma(B(i, k), H(k, c), acc) over k, and ends with + bias(i)
/// H = A X and D X are skinny products with a row-major A and D; W's X is h o X where there are gains h. A result that is NaN
/// is the canonical one.

#include "lora/core/matrix.hpp"
#include "lora/core/run_tasks.hpp"
#include "lora/exact/layout.hpp"
#include "lora/simd/avx2_double.hpp"
#include "lora/simd/avx512_double.hpp"
#include "lora/simd/fp_environment.hpp"
#include "lora/simd/neon_double.hpp"
#include "lora/simd/portable.hpp"
#include "lora/simd/prefetch.hpp"
#include "lora/update/form.hpp"

#include <cstring>

LORA_TAGGED_BEGIN

/// The most columns of X a skinny product takes, the rows of W it works on together, and the columns it sums up at once:
/// so many that what is used of X stays in the first cache, for all rows.
inline constexpr Index skinny_batch = 32, skinny_rows = 8, skinny_block = 512;

template <class T>
struct ForwardWeight {
  const T* data;
  Index stride, rows, cols;
};

template <class Compute>
struct RoutedColumns;

/// What follows W X, and where the results go.
template <class Compute>
struct ForwardTerms {
  const Compute* B;  ///< [row / epilogue_rows][depth][row % epilogue_rows], 64-byte aligned
  const Compute* H;  ///< depth x batch, column-major without gaps
  Index depth;
  const Compute* bias;  ///< or null
  Compute* Y;
  Index row_stride, column_stride;
  Index batch;
  const Compute* gains = nullptr;  ///< g, filled up to whole vectors, 64-byte aligned, or null
  const Compute* dense = nullptr;  ///< D X, column-major, 64-byte aligned, or null
  Index dense_stride = 0;          ///< from column to column, a multiple of epilogue_rows
  const StoredFactors<Compute>* stored = nullptr;  ///< B in 16 bits instead, or null
  const Index* order = nullptr;                    ///< which columns of Y these are, or null: one behind the other
  const RoutedColumns<Compute>* routed = nullptr;  ///< forms by groups of columns instead of the above, or null
  Index column = 0;                                ///< among those of the groups

  Compute* result(Index row, Index c) const {
    return Y + row * row_stride + (order == nullptr ? c : order[c]) * column_stride;
  }
  ForwardTerms columns(Index first, Index count) const {
    ForwardTerms out = *this;
    out.H += first * depth;
    if (order == nullptr)
      out.Y += first * column_stride;
    else
      out.order += first;
    out.column += first;
    out.batch = count;
    if (dense != nullptr) out.dense += first * dense_stride;
    return out;
  }
};

/// Columns with a form in common.
template <class Compute>
struct ColumnGroup {
  Index first, count;
  const Form<Compute>* form;  ///< or null
  Compute* panels;            ///< their X
  Compute *H, *DX;            ///< see ForwardTerms
  const char* B;              ///< the form's in whichever type,
  Index B_stride;             ///< and its bytes for epilogue_rows rows
};

/// Groups of columns one behind the other, and what continues their results of up to epilogue_rows rows: see
/// epilogue().
template <class Compute>
struct RoutedColumns {
  const ColumnGroup<Compute>* groups;
  Index count;
  void (*finish)(const ForwardTerms<Compute>& terms, Index first, Index rows, Compute* results, Index height);
};

/// Rows `first` to `last` of Y. `panels` are X as the product takes it, `scratch` is a task's own memory.
template <class T>
using ForwardProduct = void(const ForwardWeight<T>& W, const compute_t<T>* panels,
                            const ForwardTerms<compute_t<T>>& terms, Index first, Index last, compute_t<T>* scratch);

/// X is cut into panels of `width` columns, the last one of 1 column when only one is left, else filled up with zeros. A
/// panel is [row / 16][column][row % 16] with zeros below X.
constexpr Index panel_columns(Index left, Index width) { return left == 1 ? 1 : width; }

/// How many numbers the panels of X hold.
constexpr Index panels_size(Index rows, Index batch, Index width) {
  const Index last = batch % width;
  return padded(rows, 16) * (last == 1 ? batch : padded(batch, width));
}

/// The memory of some rows, one after the other, which is to be prefetched.
class PrefetchCursor {
 public:
  /// `count` rows of `bytes` bytes; `step` bytes are prefetched at a time.
  PrefetchCursor(const void* rows, Index stride, Index bytes, Index count, Index step)
      : row_(static_cast<const char*>(rows)), stride_(stride), bytes_(bytes), rows_left_(count), step_(step) {}

  Index step() const { return step_; }

  /// Where the next `steps` steps begin, null when all rows have been taken. The last ones may lie behind a row.
  const char* take(Index steps) {
    if (rows_left_ == 0) return nullptr;
    const char* const out = row_ + at_;
    at_ += steps * step_;
    if (at_ >= bytes_) {
      at_ = 0;
      row_ += stride_;
      --rows_left_;
    }
    return out;
  }

 private:
  const char* row_;
  Index stride_, bytes_, rows_left_, step_, at_ = 0;
};

/// The kernel for a weight of type T. Must run under an FpEnvironment, set by a caller it is not inlined into.
template <class T>
struct SkinnyKernels {
  Index width;  ///< of a panel
  ForwardProduct<T>* product;
};

#define LORA_TARGET_FILE "lora/kernel/skinny_kernels.inc"
#include "lora/simd/for_each_target.inc"

/// The kernel for this machine. Throws what isa() throws.
template <class T, StorageOrder Order>
SkinnyKernels<T> skinny_kernels() {
  return LORA_FOR_ISA(skinny_kernels<T, Order>());
}

/// Calls run(task, first, last) for shares of `rows` rows, multiples of `unit`, in as many tasks as `work` multiply-adds are
/// worth, at most `most`, each under an FpEnvironment. Throws StateError when the executor does not call each of them once.
inline void share_rows(Executor& executor, Index most, Index rows, Index unit, Index work,
                       FunctionRef<void(int, Index, Index)> run) {
  constexpr Index work_per_task = 128 * 1024;
  const Index groups = std::max<Index>(padded(rows, unit) / unit, 1);
  const Index wanted = std::min(work / work_per_task, groups);
  const Index tasks = wanted <= 1 ? 1 : std::min(wanted, most);
  if (tasks == 1) {
    const FpEnvironment environment;
    run(0, 0, rows);
    return;
  }
  run_each_once(executor, static_cast<int>(tasks), [&](int t) {
    const FpEnvironment environment;
    run(t, groups * t / tasks * unit, std::min(rows, groups * (t + 1) / tasks * unit));
  });
}

LORA_TAGGED_END
