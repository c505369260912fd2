// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/kernel/frozen_rows.hpp"
#include "lora/kernel/passes-inl.hpp"

#include <algorithm>

LORA_TAGGED_BEGIN

/// What FrozenRows needs of a weight: bands of rows, as doubles.
class RowBands {
 public:
  virtual ~RowBands() = default;
  virtual Index rows() const = 0;
  virtual Index cols() const = 0;
  virtual Index band_rows() const = 0;
  /// Rows of a band into out, row-major without gaps; `task` has memory of its own.
  virtual void read(int task, Index first, Index count, double* out) = 0;
};

class FrozenRowsOf final : public FrozenRows {
 public:
  /// Takes as many tasks as the bands have memory for.
  FrozenRowsOf(RowBands& bands, int tasks, Executor& executor) : bands_(bands), tasks_(tasks), executor_(executor) {}

  void for_bands(FunctionRef<void(Index, Index, const double*)> use) const override {
    const Index rows = bands_.rows(), size = bands_.band_rows() * bands_.cols();
    const Index count = (rows + bands_.band_rows() - 1) / bands_.band_rows();
    const auto memory = aligned_array<double>(static_cast<std::size_t>(tasks_ * size));
    for_shares(
        count, tasks_, executor_,
        [&](int t, Index b) {
          const Index first = b * bands_.band_rows(), used = std::min(bands_.band_rows(), rows - first);
          double* band = memory.get() + t * size;
          bands_.read(t, first, used, band);
          use(first, used, band);
        },
        [](Index) {});
  }

 private:
  RowBands& bands_;
  int tasks_;
  Executor& executor_;
};

/// A weight's rows where they lie.
template <class T>
class WeightRows final : public RowBands {
 public:
  explicit WeightRows(const Lines<const T>& weight) : weight_(weight) {}

  Index rows() const override { return weight_.rows(); }
  Index cols() const override { return weight_.cols(); }
  Index band_rows() const override { return 16; }
  void read(int, Index first, Index count, double* out) override {
    if (weight_.order == row_major) {
      for (Index i = 0; i < count; ++i, out += cols()) {
        const T* const row = weight_.data + (first + i) * weight_.stride;
        for (Index j = 0; j < cols(); ++j) out[j] = static_cast<double>(widen(row[j]));
      }
      return;
    }
    // A cache line of each row at a time: the columns, which all rows are read from, then stay in the first cache.
    for (Index begin = 0; begin < cols(); begin += 8)
      for (Index i = 0; i < count; ++i)
        for (Index j = begin; j < std::min(begin + 8, cols()); ++j)
          out[i * cols() + j] = static_cast<double>(widen(weight_.data[j * weight_.stride + first + i]));
  }

 private:
  Lines<const T> weight_;
};

/// The rows of the W0 under a merged weight. Throws RecordError where W' is not what the merge wrote.
template <class T>
class MergedRows final : public RowBands {
 public:
  using Compute = compute_t<T>;

  MergedRows(const Lines<const T>& merged, const ActiveSet<Compute>& set, const UndoRecord& record, int tasks)
      : lines_{const_cast<T*>(merged.data), merged.lines, merged.length, merged.stride, merged.order},  // only read
        weight_(lines_),
        set_(set.form(), lines_),
        entries_(UndoRecordAccess::entries(record)),
        copies_(aligned_array<T>(static_cast<std::size_t>(tasks * block_elements))),
        dense_(aligned_array<Compute>(static_cast<std::size_t>(tasks * set_.factors.scratch_size()))) {}

  Index rows() const override { return lines_.rows(); }
  Index cols() const override { return lines_.cols(); }
  /// A block's rows. Those of a column-major weight may be too many of `cols` numbers; a block is then read several times.
  Index band_rows() const override {
    if (by_rows()) return weight_.grid.block_lines();
    const Index rows = weight_.grid.block_length();
    if (rows * cols() <= most_numbers) return rows;
    return std::max<Index>(32, static_cast<Index>(std::bit_floor(static_cast<std::size_t>(most_numbers / cols()))));
  }

  void read(int task, Index first, Index count, double* out) override {
    T* copy = copies_.get() + task * block_elements;
    Compute* dense = dense_.get() + task * set_.factors.scratch_size();
    const Index along = weight_.grid.blocks_per_line();
    const Index begin = by_rows() ? first / weight_.grid.block_lines() * along : first / weight_.grid.block_length();
    const Index end = by_rows() ? begin + along : weight_.grid.count(), step = by_rows() ? 1 : along;
    for (Index b = begin; b < end; b += step) {
      const Block block = weight_.grid[b];
      const WeightBlock<T> own{copy, block.length, block.lines, block.length, 0};
      if (by_rows() || first == block.position) check_block(weight_, b, entries_[static_cast<std::size_t>(b)]);
      weight_.store(weight_.at(block), reinterpret_cast<unsigned char*>(copy));
      set_.restore(own, block, entries_[static_cast<std::size_t>(b)], dense);
      const Index skipped = by_rows() ? 0 : first - block.position;  // positions before this band
      const Index used = by_rows() ? block.length : std::min(count, block.length - skipped);
      for (Index i = 0; i < block.lines; ++i)
        for (Index j = 0; j < used; ++j) {
          const Index at = by_rows() ? i * cols() + block.position + j : j * cols() + block.line + i;
          out[at] = static_cast<double>(widen(copy[i * block.length + skipped + j]));
        }
    }
  }

 private:
  static constexpr Index most_numbers = 1024 * 1024;

  bool by_rows() const { return lines_.order == row_major; }

  Lines<T> lines_;
  WeightBlocks<T> weight_;
  MergeSet<T> set_;
  std::span<const BlockEntry> entries_;
  AlignedArray<T> copies_;
  AlignedArray<Compute> dense_;
};

template <class T>
ActiveSet<compute_t<T>> bind_pass(const Lines<const T>& W0, const ActiveSet<compute_t<T>>& set, const Context& context) {
  if (!set.depends_on_W0()) return set;
  Executor& executor = executor_of(context);
  WeightRows<T> rows(W0);
  return set.bound_to(FrozenRowsOf(rows, task_count(W0.lines * W0.length, elements_per_thread, executor), executor));
}

template <class T>
ActiveSet<compute_t<T>> bind_merged_pass(const Lines<const T>& weight, const ActiveSet<compute_t<T>>& merged,
                                         const UndoRecord& record, const ActiveSet<compute_t<T>>& set,
                                         const Context& context) {
  if (!set.depends_on_W0()) return set;
  check_record(record, weight, merged);
  Executor& executor = executor_of(context);
  const int tasks = task_count(weight.lines * weight.length, elements_per_thread, executor);
  MergedRows<T> rows(weight, merged, record, tasks);
  return set.bound_to(FrozenRowsOf(rows, tasks, executor));
}

template <class Compute>
ActiveSet<Compute> bind_recorded(const UndoRecord& record, const ActiveSet<Compute>& set) {
  if (!set.depends_on_W0()) return set;
  std::vector<Gains<Compute>> gains;
  for (const RecordedGains& recorded : UndoRecordAccess::gains(record)) {
    Gains<Compute> own;
    own.axis = static_cast<typename Gains<Compute>::Axis>(recorded.axis);
    own.values.resize(recorded.values.size() / sizeof(Compute));
    if (!recorded.values.empty()) std::memcpy(own.values.data(), recorded.values.data(), recorded.values.size());
    gains.push_back(std::move(own));
  }
  const auto is_same = [](const Gains<Compute>& a, const Gains<Compute>& b) {
    return a.axis == b.axis && a.values.size() == b.values.size() &&
           std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(Compute)) == 0;
  };
  const bool same = set.is_bound() && std::equal(set.form().gains().begin(), set.form().gains().end(), gains.begin(),
                                                 gains.end(), is_same);
  return same ? set : set.bound_to(gains);
}

LORA_TAGGED_END
