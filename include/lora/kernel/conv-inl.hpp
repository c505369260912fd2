// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/conv.hpp"
#include "lora/kernel/forward-inl.hpp"

LORA_TAGGED_BEGIN

/// A sample with zeros around it.
template <class Compute>
LORA_NOINLINE void pad(const ConvPlan& plan, const Compute* sample, Compute* out) {
  const auto& [n0, n1, n2] = plan.size;
  const ConvPlan::Sizes to = plan.padded_size();
  std::fill_n(out, plan.channels * ConvPlan::product(to), Compute{0});
  out += (plan.padding[0] * to[1] + plan.padding[1]) * to[2] + plan.padding[2];
  for (Index i = 0; i < plan.channels; ++i)
    for (Index x0 = 0; x0 < n0; ++x0)
      for (Index x1 = 0; x1 < n1; ++x1)
        std::copy_n(sample + ((i * n0 + x0) * n1 + x1) * n2, n2, out + ((i * to[0] + x0) * to[1] + x1) * to[2]);
}

/// Patches of output positions first ... first + count - 1 of padded channels, one column each: row i K + k is channel
/// i at the kernel's position k. A few positions at a time, so that what they share is read once.
template <class Compute>
LORA_NOINLINE void copy_patches(const ConvPlan& plan, const Compute* channels, Index first, Index count, Compute* out) {
  constexpr Index most = 8;
  const ConvPlan::Sizes from = plan.padded_size();
  const Index rows = plan.patch_rows(), of_group = plan.channels / plan.groups;
  const Index step[] = {plan.dilation[0] * from[1] * from[2], plan.dilation[1] * from[2], plan.dilation[2]};
  for (Index p = 0; p < count; p += most, out += most * rows) {
    const Index used = std::min(most, count - p);
    Index begin[most];
    for (Index q = 0; q < used; ++q) {
      const Index at = first + p + q, line = at / plan.output[2];
      begin[q] = (line / plan.output[1] * plan.stride[0] * from[1] + line % plan.output[1] * plan.stride[1]) * from[2] +
                 at % plan.output[2] * plan.stride[2];
    }
    Compute* row = out;
    for (Index i = 0; i < of_group; ++i)
      for (Index k0 = 0; k0 < plan.kernel[0]; ++k0)
        for (Index k1 = 0; k1 < plan.kernel[1]; ++k1) {
          const Compute* place = channels + i * ConvPlan::product(from) + k0 * step[0] + k1 * step[1];
          for (Index k2 = 0; k2 < plan.kernel[2]; ++k2, ++row, place += step[2])
            for (Index q = 0; q < used; ++q) row[q * rows] = place[begin[q]];
        }
  }
}

/// The memory of a pass: a sample in the compute type, the same with its padding, patches, and what products need.
template <class T, StorageOrder Order>
struct ConvScratch {
  using Compute = compute_t<T>;

  ConvScratch(Scratch& scratch, const ConvPlan& plan, Index out, const Form<Compute>* form, Index tasks)
      : band(std::min(most_columns<Compute>(plan.patch_rows()), ConvPlan::product(plan.output))),
        sample(scratch.take<Compute>(padded(plan.channels * ConvPlan::product(plan.size), 16))),
        padded_sample(scratch.take<Compute>(plan.channels * ConvPlan::product(plan.padded_size()))),
        patches(scratch.take<Compute>(plan.patch_rows() * band)),
        products_size(
            forward_workspace<T, Order>(out / plan.groups, plan.patch_rows(), FormSizes<Compute>(form), band, tasks)),
        products(scratch.take<std::byte>(static_cast<Index>(products_size))) {}

  Index band;
  Compute *sample, *padded_sample, *patches;
  std::size_t products_size;
  std::byte* products;
};

template <class T, StorageOrder Order>
std::size_t conv_workspace(const ConvPlan& plan, Index out, const Form<compute_t<T>>* form, Index tasks) {
  Scratch scratch;
  ConvScratch<T, Order>(scratch, plan, out, form, tasks);
  return scratch.size() + 63;  // the caller's memory may begin anywhere
}

/// A sample in the compute type with its padding, one number behind the other.
template <class Compute>
const Compute* padded_sample(const ConvPlan& plan, const ActivationRef<Compute>& sample, Compute* memory,
                             Compute* padded) {
  const auto* numbers = static_cast<const Compute*>(sample.data);
  if (sample.kernels != &activation_kernels<Compute, Compute>() || sample.row_stride != 1) {
    with_fp_environment([&] { sample.kernels->pack_panels(sample, 1, memory); });
    numbers = memory;
  }
  if (plan.padding == ConvPlan::Sizes{}) return numbers;
  pad(plan, numbers, padded);
  return padded;
}

template <class T, StorageOrder Order>
void conv_pass(const ConvPlan& plan, const Lines<const T>& weight, const Form<compute_t<T>>* form,
               const compute_t<T>* bias, const ActivationRef<compute_t<T>>& X, const ActivationRef<compute_t<T>>& Y,
               const Context& context) {
  using Compute = compute_t<T>;
  Executor& executor = executor_of(context);
  const Index out = weight.rows() / plan.groups, rows = plan.patch_rows(), positions = ConvPlan::product(plan.output);
  if (out == 0 || positions == 0) return;
  const Index tasks = concurrency_of(executor);
  Workspace& workspace = workspace_of(context);
  Scratch scratch(workspace.reserve(conv_workspace<T, Order>(plan, weight.rows(), form, tasks) - 63));
  const ConvScratch<T, Order> own(scratch, plan, weight.rows(), form, tasks);
  Workspace products(std::span(own.products, own.products_size));
  const ActivationKernels<Compute>* kernels = &activation_kernels<Compute, Compute>();
  if constexpr (has_pairs<T>)  // patches are in float
    if (X.kernels->pack_pairs != nullptr) kernels = &bfloat16_kernels<Compute>();
  const Index per_group = plan.channels / plan.groups * ConvPlan::product(plan.padded_size());
  for (Index c = 0; c < X.cols; ++c) {
    const Compute* const sample = padded_sample(plan, X.columns(c, 1), own.sample, own.padded_sample);
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
        ActivationRef<Compute> patches = activation_ref<Compute>(own.patches, rows, count, 1, rows);
        patches.kernels = kernels;
        forward_pass<T, Order>(part, form, bias == nullptr ? nullptr : bias + g * out, patches, results,
                               {context.executor, &products});
      }
    }
  }
}

LORA_TAGGED_END
