// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The kernels for one block of a weight: its cells in order.

#include "lora/core/function_ref.hpp"
#include "lora/kernel/dispatch.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// Asks for the cell's part of the 8 lines below.
template <class T>
void prefetch_below([[maybe_unused]] const T* cell, [[maybe_unused]] Index stride) {
#if defined(__GNUC__) || defined(__clang__)
  for (Index i = cell_lines; i < 2 * cell_lines; ++i) {
    const char* line = reinterpret_cast<const char*>(cell + i * stride);
    for (std::size_t byte = 0; byte < cell_length * sizeof(T); byte += 64) __builtin_prefetch(line + byte, 0, 2);
  }
#endif
}

/// Calls work(cell, line, position) for each cell of the block, in order.
template <class T>
LORA_NOINLINE void for_cells(const WeightBlock<T>& block, FunctionRef<void(const Cell<T>&, Index, Index)> work) {
  for (Index line = 0; line < block.lines; line += cell_lines) {
    const bool below = block.lines + block.lines_below - line >= 2 * cell_lines;
    for (Index position = 0; position < block.length; position += cell_length) {
      T* data = block.data + line * block.stride + position;
      if (below) prefetch_below(data, block.stride);
      if (block.lines - line >= cell_lines && block.length - position >= cell_length) {
        work(Cell<T>{data, block.stride, all_lanes}, line, position);
      } else {
        EdgeCell<T> edge(data, block.stride, block.lines - line, block.length - position);
        work(edge.cell(), line, position);
        edge.write_back();
      }
    }
  }
}

template <class T>
struct BlockKernels {
  using Compute = compute_t<T>;
  using Weight = WeightBlock<T>;
  using Factors = BlockFactors<Compute>;

  BlockKernels() : cell(cell_kernels<T>()) {}

  /// W' = round(W0 + delta).
  void add(const Weight& w, const Factors& factors) const {
    for_cells<T>(
        w, [&](const Cell<T>& part, Index line, Index position) { cell.add(part, factors.cell(line, position)); });
  }

  /// The same, and what gives W0 back, through the cursors.
  void merge(const Weight& w, const Factors& factors, PayloadCursors& out) const {
    for_cells<T>(w, [&](const Cell<T>& part, Index line, Index position) {
      cell.merge(part, factors.cell(line, position), out);
    });
  }

  /// W0 out of W' and the payload.
  void unmerge(const Weight& w, const Factors& factors, PayloadView in) const {
    for_cells<T>(w, [&](const Cell<T>& part, Index line, Index position) {
      cell.unmerge(part, factors.cell(line, position), in);
    });
  }

  /// delta itself, over what was there; a NaN (of factors that overflow) is the canonical one.
  void write_delta(const Weight& w, const Factors& factors) const requires(std::is_same_v<T, Compute>) {
    alignas(64) Compute delta[cell_lines * cell_length];
    for_cells<T>(w, [&](const Cell<T>& part, Index line, Index position) {
      cell.delta(factors.cell(line, position), delta);
      for (Index i = 0; i < cell_lines; ++i)
        for (Index j = 0; j < cell_length; ++j) part.data[i * part.stride + j] = narrow<T>(delta[i * cell_length + j]);
    });
  }

  /// unmerge with `from`, then merge with `to`, cell by cell.
  void exchange(const Weight& w, const Factors& from, PayloadView in, const Factors& to, PayloadCursors& out) const {
    for_cells<T>(w, [&](const Cell<T>& part, Index line, Index position) {
      cell.unmerge(part, from.cell(line, position), in);
      cell.merge(part, to.cell(line, position), out);
    });
  }

 private:
  CellKernels<T> cell;
};

}  // namespace detail
LORA_NAMESPACE_END
