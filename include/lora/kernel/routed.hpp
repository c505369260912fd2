// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What precedes W X where columns have forms of their own: each group's X packed by itself, and its H and D X.
/// Everything that depends on an instruction set or on the type of factors is behind RoutedKernels.

#include "lora/kernel/forward.hpp"
#include "lora/kernel/routed_kernels.hpp"

LORA_TAGGED_BEGIN

/// What is of columns first ... first + batch - 1 in each group, counted from `first`. Their number.
template <class Compute>
Index groups_of(const ColumnForms<Compute>& forms, Index first, Index batch, ColumnGroup<Compute>* out) {
  Index count = 0;
  for (Index g = 0; g < forms.groups; ++g) {
    const Index begin = forms.offsets == nullptr ? 0 : std::max<Index>(forms.offsets[g] - first, 0);
    const Index end = forms.offsets == nullptr ? batch : std::min(forms.offsets[g + 1] - first, batch);
    if (begin < end) out[count++] = {begin, end - begin, forms.of_group(g), nullptr, nullptr, nullptr, nullptr, 0};
  }
  return count;
}

/// The one that has column c.
template <class Compute>
const ColumnGroup<Compute>* group_of(const ColumnGroup<Compute>* groups, Index count, Index c) {
  return std::upper_bound(groups, groups + count, c,
                          [](Index column, const ColumnGroup<Compute>& other) { return column < other.first; }) -
         1;
}

/// Calls run(group, first, last) for shares of all groups' units, units(group) each, in as many tasks as their work is
/// worth: work(group) multiply-adds for one of them.
template <class Compute>
void share_groups(Executor& executor, Index most, const ColumnGroup<Compute>* groups, Index count,
                  FunctionRef<Index(const ColumnGroup<Compute>&)> units,
                  FunctionRef<Index(const ColumnGroup<Compute>&)> work,
                  FunctionRef<void(const ColumnGroup<Compute>&, Index, Index)> run) {
  Index total = 0;
  for (Index g = 0; g < count; ++g) total += units(groups[g]) * work(groups[g]);
  if (total == 0) return;
  share_rows(executor, most, total, 1, total, [&](int, Index from, Index to) {
    Index begin = 0;  // of a group's work
    for (Index g = 0; g < count; ++g) {
      const Index all = units(groups[g]), one = work(groups[g]);
      const auto unit = [&](Index at) { return std::clamp<Index>((at - begin + one - 1) / one, 0, all); };
      if (const Index first = unit(std::max(from, begin)), last = unit(std::max(to, begin)); first < last)
        run(groups[g], first, last);
      begin += all * one;
    }
  });
}

/// Makes what follows W X for the groups. The sum of their depths times their columns, over all columns.
template <class Compute>
Index prepare_groups(const GroupMemory<Compute>& memory, Index rows, const ActivationRef<Compute>& X,
                     ColumnGroup<Compute>* groups, Index count, Executor& executor) {
  using Group = ColumnGroup<Compute>;
  const Index cols = X.rows, depth_of_panel = padded(cols, 16), width = memory.kernels.width;
  const auto depth_of = [](const Group& group) { return group.form == nullptr ? 0 : group.form->depth(); };
  const auto dense_of = [](const Group& group) { return group.form == nullptr ? nullptr : group.form->dense(); };
  Compute* panels = memory.panels;
  Index depths = 0;
  for (Group* group = groups; group != groups + count; ++group) {
    if (depth_of(*group) == 0 && dense_of(*group) == nullptr) continue;
    group->panels = panels;
    panels += panels_size(cols, group->count, width);
    if (depth_of(*group) != 0) {
      const Form<Compute>& form = *group->form;
      const StoredFactors<Compute> stored = form.stored();
      group->H = memory.H + group->first * memory.most_depth;
      group->B = static_cast<const char*>(form.stored_kernels() != nullptr ? stored.B : form.B());
      group->B_stride = epilogue_rows * form.depth() * static_cast<Index>(element_size(stored.type));
    }
    if (dense_of(*group) != nullptr) {
      group->DX = memory.DX + group->first * memory.dense_stride;
      for (Index c = 0; c < group->count && rows != memory.dense_stride; ++c)  // whole vectors of it are read
        std::fill(group->DX + c * memory.dense_stride + rows, group->DX + (c + 1) * memory.dense_stride, Compute{0});
    }
    depths += depth_of(*group) * group->count;
  }
  share_groups<Compute>(
      executor, memory.most_tasks, groups, count,
      [&](const Group& group) { return group.panels == nullptr ? 0 : (group.count + width - 1) / width; },
      [&](const Group& group) { return 8 * depth_of_panel * std::min(width, group.count); },
      [&](const Group& group, Index first, Index last) {
        first *= width;
        last = std::min(last * width, group.count);
        X.kernels->pack_panels(X.columns(group.first + first, last - first), width,
                               group.panels + first * depth_of_panel);
      });
  // A matrix of a few columns takes as long as its memory.
  const auto work = [&](const Group& group) { return 4 * cols * (group.count + 3); };
  share_groups<Compute>(
      executor, memory.most_tasks, groups, count,
      [&](const Group& group) { return (depth_of(group) + skinny_rows - 1) / skinny_rows; },
      [&](const Group& group) { return skinny_rows * work(group); },
      [&](const Group& group, Index first, Index last) {
        const Form<Compute>& form = *group.form;
        const Index depth = form.depth();
        const StoredFactors<Compute> stored = form.stored();
        const ForwardTerms<Compute> result{nullptr, nullptr, 0, nullptr, group.H, 1, depth, group.count};
        memory.kernels.multiply(stored.type, form.stored_kernels() != nullptr ? stored.A : form.A(), cols, group.panels,
                                result, first * skinny_rows, std::min(last * skinny_rows, depth));
      });
  share_groups<Compute>(
      executor, memory.most_tasks, groups, count,
      [&](const Group& group) { return dense_of(group) == nullptr ? 0 : memory.dense_stride / epilogue_rows; },
      [&](const Group& group) { return epilogue_rows * work(group); },
      [&](const Group& group, Index first, Index last) {
        const ForwardTerms<Compute> result{nullptr, nullptr, 0, nullptr, group.DX, 1, memory.dense_stride, group.count};
        memory.kernels.multiply(ScalarTraits<Compute>::type, dense_of(group), cols, group.panels, result,
                                first * epilogue_rows, std::min(last * epilogue_rows, rows));
      });
  return X.cols == 0 ? 0 : depths / X.cols;
}

LORA_TAGGED_END
