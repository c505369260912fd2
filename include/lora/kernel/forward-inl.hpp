// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/activations.hpp"
#include "lora/kernel/forward.hpp"
#include "lora/kernel/pair_dispatch.hpp"
#include "lora/kernel/routed.hpp"
#include "lora/kernel/routed_kernels.hpp"
#include "lora/kernel/wide.hpp"

LORA_TAGGED_BEGIN

/// How many columns of X are taken at once: as many as a wide product takes, fewer, 64 at least, when X would take more
/// than 4 MB.
template <class Compute>
constexpr Index most_columns(Index rows) {
  constexpr Index numbers = 4 * 1024 * 1024 / sizeof(Compute);
  return std::clamp<Index>(numbers / std::max<Index>(rows, 1) / 32 * 32, 64, wide_columns<Compute>);
}

/// Whether products with weights of this type can be summed up by pairs (kernel/pairs.hpp).
template <class T>
inline constexpr bool has_pairs = std::is_same_v<T, Eigen::bfloat16>;

/// How a pass takes `batch` columns: which kernels, and where in its scratch memory everything lies.
template <class T, StorageOrder Order>
struct ForwardPlan {
  using Compute = compute_t<T>;

  ForwardPlan(Index rows, Index cols, const FormSizes<Compute>& forms, Index columns, Index count, bool converts,
              bool by_pairs)
      : kernels(forms.kernels),
        batch(columns),
        most_tasks(count),
        most_depth(forms.depth),
        converts_results(converts),
        is_wide(columns > skinny_batch),
        has_dense(forms.has_dense),
        scales_X(forms.has_column_gains && !by_pairs),
        pairs(by_pairs) {
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
    if constexpr (has_pairs<T>) {
      if (pairs) {
        const PairKernels<T> own = pair_kernels<T, Order>(isa(), batch);
        product = own.product;
        width = own.width;
        packing = own.packing;
        task_scratch = std::max(own.scratch, task_scratch);
        panels_size = std::max(panels_size, PairLayout(packing, cols, batch, width).size());
      }
    }
    dense_stride = padded(rows, epilogue_rows);
  }

  bool is_routed() const { return kernels != nullptr; }

  void take(Scratch& scratch, Index rows, Index cols) {
    panels = scratch.take<Compute>(panels_size);
    scaled = scratch.take<Compute>(scales_X ? padded(cols, 16) * batch : 0);
    H = scratch.take<Compute>(most_depth * batch);
    DX = scratch.take<Compute>(has_dense ? dense_stride * batch : 0);
    results = scratch.take<Compute>(converts_results ? rows * batch : 0);
    tasks = scratch.take<Compute>(task_scratch * most_tasks);
    if (is_routed()) {
      // A group's last panel is filled up: groups of two columns take the most.
      group_panels = scratch.take<Compute>(padded(cols, 16) * std::max(batch, (batch * kernels->width + 1) / 2));
      groups = scratch.take<ColumnGroup<Compute>>(batch);
    }
  }

  const RoutedKernels<Compute>* kernels;
  Index batch, most_tasks, most_depth;
  bool converts_results, is_wide, has_dense, scales_X, pairs;
  PairPacking packing = PairPacking::floats;
  ForwardProduct<T>* product;
  ForwardProduct<Compute>* compute_product;
  Index width, compute_width, depth = 0, compute_depth = 0, task_scratch = 0, panels_size, dense_stride;
  Compute *panels = nullptr, *scaled = nullptr, *H = nullptr, *DX = nullptr, *results = nullptr, *tasks = nullptr;
  Compute* group_panels = nullptr;
  ColumnGroup<Compute>* groups = nullptr;
};

/// X as the plan's products take it: for the weight, or for a row-major matrix of the compute type.
template <class T, StorageOrder Order>
void pack_activations(const ForwardPlan<T, Order>& plan, const ActivationRef<compute_t<T>>& X, bool for_weight,
                      Executor& executor) {
  if constexpr (has_pairs<T>) {
    if (plan.pairs && for_weight) {
      const PairLayout layout(plan.packing, X.rows, X.cols, plan.width);
      share_rows(executor, plan.most_tasks, X.rows, layout.unit(), 8 * layout.rows * layout.columns,
                 [&](int, Index first, Index last) {
                   for (Index row = first; row < last; row += layout.unit())
                     X.kernels->pack_pairs(X, layout, row, plan.panels);
                 });
      return;
    }
  }
  if (!plan.is_wide) {
    const FpEnvironment environment;
    X.kernels->pack_panels(X, plan.compute_width, plan.panels);
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

/// h o X, in the compute type, with the h of each column: null where there is none.
template <class T, StorageOrder Order>
LORA_NOINLINE ActivationRef<compute_t<T>> scale_activations(const ForwardPlan<T, Order>& plan,
                                                            const ActivationRef<compute_t<T>>& X,
                                                            FunctionRef<const Form<compute_t<T>>*(Index c)> form_of) {
  using Compute = compute_t<T>;
  const Index stride = padded(X.rows, 16);
  with_fp_environment([&] {
    X.kernels->pack_panels(X, 1, plan.scaled);  // panels of one column: a column-major copy
    for (Index c = 0; c < X.cols; ++c) {
      const Form<Compute>* const form = form_of(c);
      if (form == nullptr || form->column_gains() == nullptr) continue;
      for (Index i = 0; i < X.rows; ++i) plan.scaled[c * stride + i] *= form->column_gains()[i];
    }
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

/// What follows W X for one form in the compute type. Whether X is packed as W's product takes it.
template <class T, StorageOrder Order>
bool prepare_terms(const ForwardPlan<T, Order>& plan, const Form<compute_t<T>>& form, Index rows,
                   const ActivationRef<compute_t<T>>& X, ForwardTerms<compute_t<T>>& terms, Executor& executor) {
  using Compute = compute_t<T>;
  terms.gains = form.row_gains();
  const Index depth = form.depth();
  if (depth == 0 && form.dense() == nullptr) return false;
  pack_activations(plan, X, false, executor);
  if (depth != 0) {
    multiply_compute(plan, form.A(), depth, X.rows, skinny_rows, plan.H, depth, executor);
    terms.B = form.B();
    terms.H = plan.H;
    terms.depth = depth;
  }
  if (form.dense() != nullptr) {
    for (Index c = 0; c < plan.batch && rows != plan.dense_stride; ++c)  // whole vectors of it are read
      std::fill(plan.DX + c * plan.dense_stride + rows, plan.DX + (c + 1) * plan.dense_stride, Compute{0});
    multiply_compute(plan, form.dense(), rows, X.rows, epilogue_rows, plan.DX, plan.dense_stride, executor);
    terms.dense = plan.DX;
    terms.dense_stride = plan.dense_stride;
  }
  // Few columns are packed the same way for both products, and many of a row-major weight are, too.
  return !plan.pairs && !plan.scales_X && (!plan.is_wide || Order == row_major);
}

/// Columns that are taken at once, from `begin` on in the order of the forms, which X and Y are in.
template <class T, StorageOrder Order>
void forward_columns(ForwardPlan<T, Order>& plan, const Lines<const T>& weight, const ColumnForms<compute_t<T>>& forms,
                     Index begin, const compute_t<T>* bias, const ActivationRef<compute_t<T>>& X,
                     const ActivationRef<compute_t<T>>& Y, Executor& executor) {
  using Compute = compute_t<T>;
  const Index rows = weight.rows(), cols = weight.cols();
  ForwardTerms<Compute> terms{nullptr,      nullptr,         0,         bias, static_cast<Compute*>(Y.data),
                              Y.row_stride, Y.column_stride, plan.batch};
  terms.order = Y.order;
  if (plan.converts_results) {
    terms.Y = plan.results;
    terms.row_stride = 1;
    terms.column_stride = rows;
    terms.order = nullptr;
  }
  RoutedColumns<Compute> routed{plan.groups, 0, nullptr};
  bool packed = false;
  Index depth = 0;
  if (plan.is_routed()) {
    routed.finish = plan.kernels->finish;
    routed.count = groups_of(forms, begin, plan.batch, plan.groups);
    terms.routed = &routed;
    terms.dense_stride = plan.dense_stride;
    depth = prepare_groups(GroupMemory<Compute>{*plan.kernels, plan.group_panels, plan.H, plan.DX, plan.most_depth,
                                                plan.dense_stride, plan.most_tasks},
                           rows, X, plan.groups, routed.count, executor);
  } else if (forms.form != nullptr) {
    packed = prepare_terms(plan, *forms.form, rows, X, terms, executor);
    depth = terms.depth;
  }
  if (!packed) {
    const auto form_of = [&](Index c) {
      return plan.is_routed() ? group_of(plan.groups, routed.count, c)->form : forms.form;
    };
    pack_activations(plan, plan.scales_X ? scale_activations(plan, X, form_of) : X, true, executor);
  }
  const ForwardWeight<T> W{weight.data, weight.stride, rows, cols};
  share_rows(executor, plan.most_tasks, rows, epilogue_rows, rows * (cols + depth) * plan.batch,
             [&](int task, Index first, Index last) {
               plan.product(W, plan.panels, terms, first, last, plan.tasks + task * plan.task_scratch);
               if (plan.converts_results)
                 Y.kernels->store(plan.results + first, rows, Y.rows_from(first, last - first));
             });
}

/// How many of `left` columns are taken next. A few more than a skinny product takes are cheaper in two of these.
template <class Compute>
Index next_columns(Index left, Index rows_of_X, bool pairs) {
  const Index batch = std::min(left, has_wide_products() ? most_columns<Compute>(rows_of_X) : skinny_batch);
  return batch <= skinny_batch + 8 && !pairs ? std::min(batch, skinny_batch) : batch;
}

/// How many columns from `first` on, of `batch` in all, have column gains, or have none: `has_gains` says which.
template <class Compute>
Index columns_alike(const ColumnForms<Compute>& forms, Index first, Index batch, bool& has_gains) {
  const auto gains_of = [&](Index g) {
    const Form<Compute>* const form = forms.of_group(g);
    return form != nullptr && form->column_gains() != nullptr;
  };
  Index g = 0;
  if (forms.offsets != nullptr)
    g = std::upper_bound(forms.offsets, forms.offsets + forms.groups, first) - forms.offsets - 1;
  has_gains = gains_of(g);
  do ++g;
  while (g < forms.groups && gains_of(g) == has_gains);
  return (g < forms.groups ? forms.offsets[g] : batch) - first;
}

template <class T, StorageOrder Order>
void forward_pass(const Lines<const T>& weight, const ColumnForms<compute_t<T>>& forms, const compute_t<T>* bias,
                  const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y, const Context& context) {
  using Compute = compute_t<T>;
  if (Y.rows == 0) return;
  if (forms.order != nullptr && X.order == nullptr) {
    if (forms.groups == 1)  // columns in their own order
      return forward_pass<T, Order>(weight, forms.of_group(0), bias, X, Y, context);
    return forward_pass<T, Order>(weight, forms, bias, X.in_order(forms.order), Y.in_order(forms.order), context);
  }
  Executor& executor = executor_of(context);
  Workspace& workspace = workspace_of(context);
  FormSizes<Compute> sizes;
  sizes.kernels = forms.kernels;
  for (Index g = 0; g < forms.groups; ++g) sizes.add(forms.of_group(g));
  for (Index first = 0, batch; first < X.cols; first += batch) {
    Index left = X.cols - first;
    bool pairs = false;
    if constexpr (has_pairs<T>) {
      if (X.kernels->pack_pairs != nullptr) {  // h o X is not of bfloat16 numbers any more
        left = columns_alike(forms, first, X.cols, pairs);
        pairs = !pairs;
      }
    }
    batch = next_columns<Compute>(left, X.rows, pairs);
    // Asked once a pass: an executor may grow meanwhile, the memory of its tasks does not.
    const Index tasks = concurrency_of(executor);
    ForwardPlan<T, Order> plan(weight.rows(), weight.cols(), sizes, batch, tasks, Y.kernels->store != nullptr, pairs);
    Scratch needed;
    plan.take(needed, weight.rows(), weight.cols());
    Scratch scratch(workspace.reserve(needed.size()));
    plan.take(scratch, weight.rows(), weight.cols());
    forward_columns(plan, weight, forms, first, bias, X.columns(first, batch), Y.columns(first, batch), executor);
  }
}

template <class T, StorageOrder Order>
std::size_t forward_workspace(Index rows, Index cols, const FormSizes<compute_t<T>>& sizes, Index batch, Index tasks) {
  using Compute = compute_t<T>;
  std::size_t most = 0;
  for (const bool pairs : {false, true}) {
    if (pairs && !has_pairs<T>) continue;
    // The first step is the largest, but for the scratch memory of few columns that follow many.
    for (Index first = 0, step; first < batch; first += step) {
      step = next_columns<Compute>(batch - first, cols, pairs);
      Scratch needed;
      ForwardPlan<T, Order>(rows, cols, sizes, step, tasks, true, pairs).take(needed, rows, cols);
      most = std::max(most, needed.size());
    }
  }
  return most + 63;  // the caller's memory may begin anywhere
}

LORA_TAGGED_END
