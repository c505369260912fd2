// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/activations.hpp"
#include "lora/kernel/lookup.hpp"
#include "lora/kernel/routed_kernels.hpp"
#include "lora/kernel/skinny.hpp"

LORA_TAGGED_BEGIN

/// A column of W and what changes it. g, dense and B are filled up to whole groups of 16 rows, 64-byte aligned.
template <class T>
struct LookupColumn {
  using Compute = compute_t<T>;

  const T* W;
  Index stride, rows;
  bool changes;          ///< whether anything follows h
  const Compute* h;      ///< the column's gain, or null
  const Compute* g;      ///< or null
  const Compute* dense;  ///< D's column, or null
  const Compute* B;      ///< [row / 16][depth][row % 16]
  const Compute* a;      ///< A's column
  Index depth;
};

#define LORA_TARGET_FILE "lora/kernel/lookup_kernels.inc"
#include "lora/simd/for_each_target.inc"

/// A task's own memory.
template <class Compute>
struct LookupScratch {
  Compute *y, *dense, *a;

  LookupScratch(Scratch& scratch, Index rows, const Form<Compute>* form)
      : y(scratch.take<Compute>(padded(rows, 16))),
        dense(scratch.take<Compute>(form != nullptr && form->dense() != nullptr ? padded(rows, 16) : 0)),
        a(scratch.take<Compute>(form != nullptr ? form->depth() : 0)) {}
};

/// The memory of a pass: B in the compute type, where the form keeps it in 16 bits, and that of tasks.
template <class Compute>
struct LookupMemory {
  LookupMemory(Scratch& scratch, Index rows, const Form<Compute>* form)
      : stored(form != nullptr && form->stored_kernels() != nullptr),
        B(scratch.take<Compute>(stored ? padded(rows, epilogue_rows) * form->depth() : 0)) {}

  bool stored;
  Compute* B;
};

template <class Compute>
std::size_t lookup_workspace(Index rows, const Form<Compute>* form, Index tasks) {
  Scratch scratch;
  LookupMemory<Compute>(scratch, rows, form);
  for (Index t = 0; t < tasks; ++t) LookupScratch<Compute>(scratch, rows, form);
  return scratch.size() + 63;  // the caller's memory may begin anywhere
}

/// Columns first ... last - 1 of Y. Runs under an FpEnvironment of the caller's.
template <class T>
LORA_NOINLINE void look_up_columns(const Lines<const T>& weight, const Form<compute_t<T>>* form, const compute_t<T>* B,
                                   FunctionRef<Index(Index)> token, const ActivationRef<compute_t<T>>& Y, Index first,
                                   Index last, const LookupScratch<compute_t<T>>& own) {
  using Compute = compute_t<T>;
  const bool by_rows = weight.order == row_major;
  const Index rows = weight.rows(), cols = weight.cols();
  LookupColumn<T> column{nullptr, by_rows ? weight.stride : 1, rows, false, nullptr, nullptr, nullptr, nullptr, own.a,
                         0};
  if (form != nullptr) {
    column.g = form->row_gains();
    column.B = B;
    column.depth = form->depth();
    column.changes = column.depth != 0 || form->dense() != nullptr || form->has_gains();
    if (form->dense() != nullptr) {
      column.dense = own.dense;
      std::fill(own.dense + rows, own.dense + padded(rows, 16), Compute{0});
    }
  }
  for (Index c = first; c < last; ++c) {
    const Index j = token(c);
    column.W = weight.data + j * (by_rows ? 1 : weight.stride);
    if (form != nullptr) {
      if (form->column_gains() != nullptr) column.h = form->column_gains() + j;
      for (Index k = 0; k < column.depth; ++k) own.a[k] = form->A(k, j);
      if (column.dense != nullptr)
        for (Index i = 0; i < rows; ++i) own.dense[i] = form->dense()[i * cols + j];
    }
    LORA_FOR_ISA(look_up<T>(column, own.y));
    const ActivationRef<Compute> out = Y.columns(c, 1);
    if (Y.kernels->store != nullptr)
      Y.kernels->store(own.y, rows, out);
    else
      for (Index i = 0; i < rows; ++i) static_cast<Compute*>(out.data)[i * out.row_stride] = own.y[i];
  }
}

template <class T>
void lookup_pass(const Lines<const T>& weight, const Form<compute_t<T>>* form, FunctionRef<Index(Index)> token,
                 const ActivationRef<compute_t<T>>& Y, const Context& context) {
  using Compute = compute_t<T>;
  const Index rows = weight.rows(), tasks = concurrency_of(executor_of(context));
  std::byte* const memory = workspace_of(context).reserve(lookup_workspace<Compute>(rows, form, tasks) - 63);
  Scratch scratch(memory);
  const LookupMemory<Compute> own(scratch, rows, form);
  const Compute* const B = own.stored ? own.B : form == nullptr ? nullptr : form->B();
  if (own.stored) with_fp_environment([&] { form->stored_kernels()->widen_B(*form, own.B); });
  const Index depth = form == nullptr ? 0 : form->depth();
  share_rows(executor_of(context), tasks, Y.cols, 1, Y.cols * rows * (4 + depth),
             [&](int task, Index first, Index last) {
               Scratch of_task(memory + lookup_workspace<Compute>(rows, form, task) - 63);
               look_up_columns(weight, form, B, token, Y, first, last, LookupScratch<Compute>(of_task, rows, form));
             });
}

LORA_TAGGED_END
