// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/activations.hpp"
#include "lora/kernel/forward.hpp"
#include "lora/kernel/wide.hpp"

LORA_TAGGED_BEGIN

/// How many columns of X are taken at once: as many as a wide product takes, fewer, 64 at least, when X would take more
/// than 4 MB.
template <class Compute>
constexpr Index most_columns(Index rows) {
  constexpr Index numbers = 4 * 1024 * 1024 / sizeof(Compute);
  return std::clamp<Index>(numbers / std::max<Index>(rows, 1) / 32 * 32, 64, wide_columns<Compute>);
}

/// How a pass takes `batch` columns: which kernels, and where in its scratch memory everything lies.
template <class T, StorageOrder Order>
struct ForwardPlan {
  using Compute = compute_t<T>;

  ForwardPlan(Index rows, Index cols, const Form<Compute>* set, Index columns, Index count, bool converts)
      : form(set), batch(columns), most_tasks(count), converts_results(converts), is_wide(columns > skinny_batch) {
    if (is_wide) {
      const WideKernels<T> own = wide_kernels<T, Order>();
      const WideKernels<Compute> dense = wide_kernels<Compute, row_major>();
      product = own.product;
      compute_product = dense.product;
      width = own.width;
      depth = own.depth;
      task_scratch = std::max(own.scratch, dense.scratch);
      panels_size = padded(cols, 16) * padded(batch, column_group);
      compute_width = dense.width;
      compute_depth = dense.depth;
    } else {
      const SkinnyKernels<T> own = skinny_kernels<T, Order>();
      product = own.product;
      compute_product = skinny_kernels<Compute, row_major>().product;
      width = compute_width = own.width;
      panels_size = lora::detail::panels_size(cols, batch, width);
    }
    has_low_rank = form != nullptr && form->depth() != 0;
    has_dense = form != nullptr && form->dense() != nullptr;
    scales_X = form != nullptr && form->column_gains() != nullptr;
    dense_stride = padded(rows, epilogue_rows);
  }

  void take(Scratch& scratch, Index rows, Index cols) {
    panels = scratch.take<Compute>(panels_size);
    scaled = scratch.take<Compute>(scales_X ? padded(cols, 16) * batch : 0);
    H = scratch.take<Compute>(has_low_rank ? form->depth() * batch : 0);
    DX = scratch.take<Compute>(has_dense ? dense_stride * batch : 0);
    results = scratch.take<Compute>(converts_results ? rows * batch : 0);
    tasks = scratch.take<Compute>(task_scratch * most_tasks);
  }

  const Form<Compute>* form;
  Index batch, most_tasks;
  bool converts_results, is_wide, has_low_rank, has_dense, scales_X;
  ForwardProduct<T>* product;
  ForwardProduct<Compute>* compute_product;
  Index width, compute_width, depth = 0, compute_depth = 0, task_scratch = 0, panels_size, dense_stride;
  Compute *panels = nullptr, *scaled = nullptr, *H = nullptr, *DX = nullptr, *results = nullptr, *tasks = nullptr;
};

/// X as the plan's products take it: for the weight, or for a row-major matrix of the compute type.
template <class T, StorageOrder Order>
void pack_activations(const ForwardPlan<T, Order>& plan, const ActivationRef<compute_t<T>>& X, bool for_weight,
                      Executor& executor) {
  if (!plan.is_wide) {
    const FpEnvironment environment;
    X.kernels->pack_panels(X, plan.width, plan.panels);
    return;
  }
  const Index depth = for_weight ? plan.depth : plan.compute_depth;
  const BatchLayout layout(X.rows, X.cols, depth, for_weight ? plan.width : plan.compute_width);
  share_rows(executor, plan.most_tasks, X.rows, depth, 8 * layout.rows * layout.columns,
             [&](int, Index first, Index last) {
               for (Index block = first; block < last; block += depth)
                 X.kernels->pack_block(X, layout, for_weight ? Order : row_major, block, plan.panels);
             });
}

/// h o X, in the compute type.
template <class T, StorageOrder Order>
LORA_NOINLINE ActivationRef<compute_t<T>> scale_activations(const ForwardPlan<T, Order>& plan,
                                                            const ActivationRef<compute_t<T>>& X) {
  using Compute = compute_t<T>;
  const Index stride = padded(X.rows, 16);
  with_fp_environment([&] {
    X.kernels->pack_panels(X, 1, plan.scaled);  // panels of one column: a column-major copy
    for (Index c = 0; c < X.cols; ++c)
      for (Index i = 0; i < X.rows; ++i) plan.scaled[c * stride + i] *= plan.form->column_gains()[i];
  });
  return activation_ref<Compute>(plan.scaled, X.rows, X.cols, 1, stride);
}

/// M X for a row-major M of the compute type, in the order of forward passes, column-major.
template <class T, StorageOrder Order>
void multiply_compute(const ForwardPlan<T, Order>& plan, const compute_t<T>* M, Index rows, Index cols, Index unit,
                      compute_t<T>* out, Index column_stride, Executor& executor) {
  const ForwardWeight<compute_t<T>> weight{M, cols, rows, cols};
  const ForwardTerms<compute_t<T>> result{nullptr, nullptr, 0, nullptr, out, 1, column_stride, plan.batch};
  share_rows(executor, plan.most_tasks, rows, unit, 4 * rows * cols * plan.batch,  // M has to come from memory
             [&](int task, Index first, Index last) {
               plan.compute_product(weight, plan.panels, result, first, last, plan.tasks + task * plan.task_scratch);
             });
}

/// Columns that are taken at once.
template <class T, StorageOrder Order>
void forward_columns(ForwardPlan<T, Order>& plan, const Lines<const T>& weight, const compute_t<T>* bias,
                     const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y, Executor& executor) {
  using Compute = compute_t<T>;
  const Index rows = weight.rows(), cols = weight.cols();
  ForwardTerms<Compute> terms{nullptr,      nullptr,         0,         bias, static_cast<Compute*>(Y.data),
                              Y.row_stride, Y.column_stride, plan.batch};
  if (plan.converts_results) {
    terms.Y = plan.results;
    terms.row_stride = 1;
    terms.column_stride = rows;
  }
  // Few columns are packed the same way for both products, and many of a row-major weight are, too.
  const bool same_panels = !plan.scales_X && (!plan.is_wide || Order == row_major);
  bool packed = false;
  if (plan.has_low_rank || plan.has_dense) {
    pack_activations(plan, X, false, executor);
    packed = same_panels;
  }
  if (plan.has_low_rank) {
    const Index depth = plan.form->depth();
    multiply_compute(plan, plan.form->A(), depth, cols, skinny_rows, plan.H, depth, executor);
    terms.B = plan.form->B();
    terms.H = plan.H;
    terms.depth = depth;
  }
  if (plan.has_dense) {
    for (Index c = 0; c < plan.batch && rows != plan.dense_stride; ++c)  // whole vectors of it are read
      std::fill(plan.DX + c * plan.dense_stride + rows, plan.DX + (c + 1) * plan.dense_stride, Compute{0});
    multiply_compute(plan, plan.form->dense(), rows, cols, epilogue_rows, plan.DX, plan.dense_stride, executor);
    terms.dense = plan.DX;
    terms.dense_stride = plan.dense_stride;
  }
  if (plan.form != nullptr) terms.gains = plan.form->row_gains();
  if (!packed) pack_activations(plan, plan.scales_X ? scale_activations(plan, X) : X, true, executor);
  const ForwardWeight<T> W{weight.data, weight.stride, rows, cols};
  share_rows(executor, plan.most_tasks, rows, epilogue_rows, rows * (cols + terms.depth) * plan.batch,
             [&](int task, Index first, Index last) {
               plan.product(W, plan.panels, terms, first, last, plan.tasks + task * plan.task_scratch);
             });
  if (plan.converts_results) {
    const FpEnvironment environment;
    Y.kernels->store(plan.results, rows, Y);
  }
}

/// How many of `left` columns are taken next. A few more than a skinny product takes are cheaper in two of these.
template <class Compute>
Index next_columns(Index left, Index rows_of_X) {
  const Index batch = std::min(left, has_wide_products() ? most_columns<Compute>(rows_of_X) : skinny_batch);
  return batch <= skinny_batch + 8 ? std::min(batch, skinny_batch) : batch;
}

template <class T, StorageOrder Order>
void forward_pass(const Lines<const T>& weight, const Form<compute_t<T>>* form, const compute_t<T>* bias,
                  const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y, const Context& context) {
  using Compute = compute_t<T>;
  if (Y.rows == 0) return;
  Executor& executor = executor_of(context);
  Workspace& workspace = workspace_of(context);
  for (Index first = 0, batch; first < X.cols; first += batch) {
    batch = next_columns<Compute>(X.cols - first, X.rows);
    // Asked once a pass: an executor may grow meanwhile, the memory of its tasks does not.
    const Index tasks = std::max(executor.concurrency(), 1);
    ForwardPlan<T, Order> plan(weight.rows(), weight.cols(), form, batch, tasks, Y.kernels->store != nullptr);
    std::byte* memory = workspace.reserve(0);
    Scratch scratch(memory);
    plan.take(scratch, weight.rows(), weight.cols());
    const std::size_t size = scratch.size();
    if (std::byte* enough = workspace.reserve(size); enough != memory) {
      scratch = Scratch(enough);
      plan.take(scratch, weight.rows(), weight.cols());
    }
    forward_columns(plan, weight, bias, X.columns(first, batch), Y.columns(first, batch), executor);
  }
}

template <class T, StorageOrder Order>
std::size_t forward_workspace(Index rows, Index cols, const Form<compute_t<T>>* form, Index batch, Index tasks) {
  using Compute = compute_t<T>;
  std::size_t most = 0;
  // The first step is the largest, but for the scratch memory of few columns that follow many.
  for (Index first = 0, step; first < batch; first += step) {
    step = next_columns<Compute>(batch - first, cols);
    Scratch needed;
    ForwardPlan<T, Order>(rows, cols, form, step, tasks, true).take(needed, rows, cols);
    most = std::max(most, needed.size());
  }
  return most + 63;  // the caller's memory may begin anywhere
}

LORA_TAGGED_END
