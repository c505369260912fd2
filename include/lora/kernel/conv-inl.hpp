// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/conv.hpp"
#include "lora/kernel/forward-inl.hpp"

LORA_TAGGED_BEGIN

/// Patches of output positions first ... first + count - 1, one column each: row i K + k is channel i at the kernel's
/// position k, 0 beyond the input's edge.
template <class Compute>
LORA_NOINLINE void copy_patches(const ConvPlan& plan, const Compute* channels, Index first, Index count, Compute* out) {
  const auto& [n0, n1, n2] = plan.size;
  const Index per_channel = n0 * n1 * n2, of_group = plan.channels / plan.groups;
  for (Index p = first; p < first + count; ++p) {
    const Index position[] = {p / (plan.output[1] * plan.output[2]), p / plan.output[2] % plan.output[1],
                              p % plan.output[2]};
    Index begin[3];
    for (std::size_t d = 0; d < 3; ++d) begin[d] = position[d] * plan.stride[d] - plan.padding[d];
    for (Index i = 0; i < of_group; ++i) {
      const Compute* const channel = channels + i * per_channel;
      for (Index k0 = 0; k0 < plan.kernel[0]; ++k0) {
        const Index at0 = begin[0] + k0 * plan.dilation[0];
        for (Index k1 = 0; k1 < plan.kernel[1]; ++k1) {
          const Index at1 = begin[1] + k1 * plan.dilation[1];
          const bool inside = at0 >= 0 && at0 < n0 && at1 >= 0 && at1 < n1;
          const Compute* const line = channel + (inside ? (at0 * n1 + at1) * n2 : 0);
          for (Index k2 = 0; k2 < plan.kernel[2]; ++k2) {
            const Index at2 = begin[2] + k2 * plan.dilation[2];
            *out++ = inside && at2 >= 0 && at2 < n2 ? line[at2] : Compute{0};
          }
        }
      }
    }
  }
}

/// The memory of a pass: a sample in the compute type, patches, and what products need.
template <class T, StorageOrder Order>
struct ConvScratch {
  using Compute = compute_t<T>;

  ConvScratch(Scratch& scratch, const ConvPlan& plan, Index out, const Form<Compute>* form, Index tasks)
      : band(std::min(most_columns<Compute>(plan.patch_rows()), ConvPlan::product(plan.output))),
        sample(scratch.take<Compute>(padded(plan.channels * ConvPlan::product(plan.size), 16))),
        patches(scratch.take<Compute>(plan.patch_rows() * band)),
        products_size(forward_workspace<T, Order>(out / plan.groups, plan.patch_rows(), form, band, tasks)),
        products(scratch.take<std::byte>(static_cast<Index>(products_size))) {}

  Index band;
  Compute *sample, *patches;
  std::size_t products_size;
  std::byte* products;
};

template <class T, StorageOrder Order>
std::size_t conv_workspace(const ConvPlan& plan, Index out, const Form<compute_t<T>>* form, Index tasks) {
  Scratch scratch;
  ConvScratch<T, Order>(scratch, plan, out, form, tasks);
  return scratch.size() + 63;  // the caller's memory may begin anywhere
}

/// Sample c of X in the compute type, one number behind the other.
template <class Compute>
LORA_NOINLINE const Compute* unpacked(const ActivationRef<Compute>& sample, Compute* memory) {
  const bool as_it_lies = sample.kernels == &activation_kernels<Compute, Compute>() && sample.row_stride == 1;
  if (as_it_lies) return static_cast<const Compute*>(sample.data);
  with_fp_environment([&] { sample.kernels->pack_panels(sample, 1, memory); });
  return memory;
}

template <class T, StorageOrder Order>
void conv_pass(const ConvPlan& plan, const Lines<const T>& weight, const Form<compute_t<T>>* form,
               const compute_t<T>* bias, const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y,
               const Context& context) {
  using Compute = compute_t<T>;
  Executor& executor = executor_of(context);
  const Index out = weight.rows() / plan.groups, rows = plan.patch_rows(), positions = ConvPlan::product(plan.output);
  if (out == 0 || positions == 0) return;
  const Index tasks = std::max(executor.concurrency(), 1);
  Workspace& workspace = workspace_of(context);
  Scratch scratch(workspace.reserve(conv_workspace<T, Order>(plan, weight.rows(), form, tasks) - 63));
  const ConvScratch<T, Order> own(scratch, plan, weight.rows(), form, tasks);
  Workspace products(std::span(own.products, own.products_size));
  const Index per_group = plan.channels / plan.groups * ConvPlan::product(plan.size);
  for (Index c = 0; c < X.cols; ++c) {
    const Compute* const sample = unpacked(X.columns(c, 1), own.sample);
    for (Index g = 0; g < plan.groups; ++g) {
      Lines<const T> part = weight;
      part.data += g * out * (Order == row_major ? weight.stride : 1);
      (Order == row_major ? part.lines : part.length) = out;
      for (Index first = 0; first < positions; first += own.band) {
        const Index count = std::min(own.band, positions - first);
        share_rows(executor, tasks, count, 1, rows * count, [&](int, Index begin, Index end) {
          copy_patches(plan, sample + g * per_group, first + begin, end - begin, own.patches + begin * rows);
        });
        ActivationRef<Compute> results = Y.columns(c, 1);
        results.data = static_cast<char*>(results.data) + (g * out * positions + first) * Y.row_stride * Y.element_size;
        results.rows = out;
        results.cols = count;
        results.row_stride = positions * Y.row_stride;
        results.column_stride = Y.row_stride;
        forward_pass<T, Order>(part, form, bias == nullptr ? nullptr : bias + g * out,
                               activation_ref<Compute>(own.patches, rows, count, 1, rows), results,
                               {context.executor, &products});
      }
    }
  }
}

LORA_TAGGED_END
