// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The kernels for one block of a weight: its cells in order.

#include "lora/exact/cell_codec.hpp"
#include "lora/kernel/extras_kernels.hpp"
#include "lora/kernel/mend.hpp"

LORA_TAGGED_BEGIN

/// Calls work(row, line, position) for the block's cells in order, some of them at a time.
template <class T, class Work>
LORA_INLINE void for_rows(const WeightBlock<T>& block, const Work& work) {
  for (Index line = 0; line < block.lines; line += cell_lines) {
    const Index lines = block.lines - line, whole = lines >= cell_lines ? block.length / cell_length * cell_length : 0;
    const Index below = lines + block.lines_below >= 2 * cell_lines ? cell_lines * block.stride : 0;
    T* data = block.data + line * block.stride;
    for (Index position = 0; position < whole; position += row_cells * cell_length) {
      const Index count = std::min(row_cells, (whole - position) / cell_length);
      work(CellRow<T>{data + position, block.stride, count, cell_lines, cell_length, below}, line, position);
    }
    for (Index position = whole; position < block.length; position += cell_length) {
      EdgeCell<T> edge(data + position, block.stride, lines, block.length - position);
      work(edge.row(), line, position);
      edge.write_back();
    }
  }
}

template <class T>
class BlockKernels {
 public:
  using Compute = compute_t<T>;
  using Weight = WeightBlock<T>;
  using Factors = BlockFactors<Compute>;

  /// For a set of this form.
  explicit BlockKernels(const Form<Compute>& form)
      : BlockKernels(form.extras_kernels() != nullptr ? form.extras_kernels()->template get<T>() : cell_kernels<T, false>(),
                     cell_codec()) {}
  BlockKernels(const CellKernels<T>& cells, const CellCodec& codec) : cells_(cells), codec_(codec) {}

  /// The order of lanes that the factors are packed in.
  const LaneOrder& order() const { return *cells_.order; }

  /// W' = round(W0 + delta).
  LORA_NOINLINE void add(const Weight& w, const Factors& factors) const {
    alignas(64) T old[row_elements];
    for_rows<T>(w, [&](const CellRow<T>& row, Index line, Index position) {
      const CellFactors<Compute> own = factors.cells(line, position);
      const unsigned nonfinite = cells_.add(row, own, old);
      if (nonfinite != 0) [[unlikely]]
        mend_added(row, own, old, nonfinite);
    });
  }

  /// The same, and what gives W0 back, through the cursors.
  LORA_NOINLINE void merge(const Weight& w, const Factors& factors, PayloadCursors& out) const {
    for_rows<T>(w, [&](const CellRow<T>& row, Index line, Index position) {
      merge_row(row, factors.cells(line, position), out);
    });
  }

  /// W0 out of W' and the payload.
  LORA_NOINLINE void unmerge(const Weight& w, const Factors& factors, PayloadView in) const {
    for_rows<T>(w, [&](const CellRow<T>& row, Index line, Index position) {
      unmerge_row(row, factors.cells(line, position), in);
    });
  }

  /// unmerge with `from`, then merge with `to` and its kernels, some cells at a time.
  LORA_NOINLINE void switch_over(const Weight& w, const Factors& from, PayloadView in, const BlockKernels& to_kernels,
                                 const Factors& to, PayloadCursors& out) const {
    for_rows<T>(w, [&](const CellRow<T>& row, Index line, Index position) {
      unmerge_row(row, from.cells(line, position), in);
      to_kernels.merge_row(row, to.cells(line, position), out);
    });
  }

  /// delta itself, over what was there; a NaN (of factors that overflow) is the canonical one.
  LORA_NOINLINE void write_delta(const Weight& w, const Factors& factors) const requires(std::is_same_v<T, Compute>) {
    for_rows<T>(w, [&](const CellRow<T>& row, Index line, Index position) {
      for (Index c = 0; c < row.count; ++c) {
        const CellDelta<T> delta = delta_of(factors.cells(line, position).cell(c));
        for (Index i = 0; i < cell_lines; ++i)
          for (Index j = 0; j < cell_length; ++j)  // lanes are positions here
            row.data[i * row.stride + c * cell_length + j] = narrow<T>(delta.lanes[i * cell_length + j]);
      }
    });
  }

 private:
  static constexpr Index row_elements = row_cells * cell_elements;

  LORA_NOINLINE CellDelta<T> delta_of(const CellFactors<Compute>& factors) const {
    CellDelta<T> delta;
    cells_.delta(factors, delta.lanes);
    delta.order = cells_.order;
    delta.extras = factors.extras;
    return delta;
  }
  LORA_NOINLINE void mend_added(const CellRow<T>& row, const CellFactors<Compute>& factors, const T* old,
                                unsigned cells) const {
    for (; cells != 0; cells &= cells - 1) {
      const Index i = std::countr_zero(cells);
      mend_sums(row.cell(i), old + i * cell_elements, delta_of(factors.cell(i)));
    }
  }
  LORA_NOINLINE void mend_merged(const CellRow<T>& row, const CellFactors<Compute>& factors, const T* old,
                                 std::int8_t* distances, const Doubts& doubts, unsigned char*& raw) const {
    for (unsigned cells = doubts.nonfinite | doubts.extreme; cells != 0; cells &= cells - 1) {
      const Index i = std::countr_zero(cells);
      std::uint16_t extreme[cell_groups];
      codec_.extreme(distances + i * cell_elements, extreme);
      mend_changes(row.cell(i), old + i * cell_elements, delta_of(factors.cell(i)), (doubts.nonfinite >> i & 1u) != 0,
                   extreme, distances + i * cell_elements, raw);
    }
  }
  LORA_NOINLINE static void load_escaped_of(const CellRow<T>& row, const std::int8_t* distances, unsigned cells,
                                            const unsigned char*& raw) {
    for (; cells != 0; cells &= cells - 1) {
      const Index i = std::countr_zero(cells);
      load_escaped(row.cell(i), distances + i * cell_elements, raw);
    }
  }
  /// Behind the weight's edge a gain may have turned a +0 into -0.
  LORA_NOINLINE static void clear_outside(const CellRow<T>& cell, std::int8_t* distances) {
    for (Index i = 0; i < cell_lines; ++i)
      for (Index j = i < cell.lines ? cell.length : 0; j < cell_length; ++j) distances[i * cell_length + j] = 0;
  }
  LORA_INLINE void merge_row(const CellRow<T>& row, const CellFactors<Compute>& factors, PayloadCursors& out) const {
    alignas(64) T old[row_elements];
    alignas(64) std::int8_t distances[row_elements];
    const Doubts doubts = cells_.merge(row, factors, old, distances);
    if ((doubts.nonfinite | doubts.extreme) != 0) [[unlikely]]
      mend_merged(row, factors, old, distances, doubts, out.raw);
    if (row.lines < cell_lines || row.length < cell_length) clear_outside(row, distances);
    codec_.pack(distances, row.count, out);
  }
  LORA_INLINE void unmerge_row(const CellRow<T>& row, const CellFactors<Compute>& factors, PayloadView& in) const {
    alignas(64) std::int8_t distances[row_elements];
    const unsigned escaped = codec_.unpack(in, row.count, distances);
    cells_.unmerge(row, factors, distances);
    if (escaped != 0) [[unlikely]]
      load_escaped_of(row, distances, escaped, in.raw);
  }

  CellKernels<T> cells_;
  CellCodec codec_;
};

LORA_TAGGED_END
