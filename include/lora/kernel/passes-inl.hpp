// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/run_tasks.hpp"
#include "lora/kernel/passes.hpp"
#include "lora/kernel/weight_blocks.hpp"
#include "lora/simd/fp_environment.hpp"

#include <exception>

LORA_TAGGED_BEGIN

/// Enough elements for a thread of its own to be worth while.
inline constexpr Index elements_per_thread = 64 * 1024;

/// How many tasks `work` units are worth, of which one should have at least `grain`.
inline int task_count(Index work, Index grain, const Executor& executor) {
  return static_cast<int>(std::clamp<Index>(work / grain, 1, concurrency_of(executor)));
}

/// Calls of work(t, i) for every i < count, in contiguous shares, task t under an FpEnvironment. They must not outlive `work`.
class Shares {
 public:
  Shares(Index count, int tasks, FunctionRef<void(int, Index)> work)
      : count_(count), work_(work), shares_(static_cast<std::size_t>(tasks)) {
    for (int t = 0; t < tasks; ++t) at(t).begin = at(t).done = count * t / tasks;
  }

  /// What a call or the executor has thrown, or what an executor threw that does not call each task once; null when all is done.
  std::exception_ptr run(Executor& executor) {
    std::exception_ptr error;
    try {
      run_each_once(executor, tasks(), [&](int t) { run_share(t); });
    } catch (...) {
      error = std::current_exception();
    }
    for (const Share& share : shares_)
      if (share.error) error = share.error;
    return error;
  }

  /// Calls undo(i) for every i whose work was done. `undo` must not throw.
  void roll_back(FunctionRef<void(Index)> undo) const {
    with_fp_environment([&] {
      for (const Share& share : shares_)
        for (Index i = share.begin; i < share.done; ++i) undo(i);
    });
  }

  /// Does what is left on the calling thread.
  void complete() {
    for (int t = 0; t < tasks(); ++t) run_share(t);
  }

 private:
  struct Share {
    Index begin = 0, done = 0;
    std::exception_ptr error;
  };

  int tasks() const { return static_cast<int>(shares_.size()); }
  Share& at(int t) { return shares_[static_cast<std::size_t>(t)]; }

  LORA_NOINLINE void run_share(int t) {
    with_fp_environment([&] {
      Share& share = at(t);
      const Index end = count_ * (t + 1) / tasks();
      try {
        for (; share.done < end; ++share.done) work_(t, share.done);
      } catch (...) {
        share.error = std::current_exception();
      }
    });
  }

  Index count_;
  FunctionRef<void(int, Index)> work_;
  std::vector<Share> shares_;
};

/// Shares that are all done, or taken back: calls undo(i) for every i whose work was done, and throws, when one of the calls or
/// the executor throws, or this does not call each task once.
LORA_NOINLINE inline void for_shares(Index count, int tasks, Executor& executor, FunctionRef<void(int, Index)> work,
                                     FunctionRef<void(Index)> undo) {
  Shares shares(count, tasks, work);
  const std::exception_ptr error = shares.run(executor);
  if (!error) return;
  shares.roll_back(undo);
  std::rethrow_exception(error);
}

/// The tasks of a pass over a weight, and their memory.
template <class T>
class PassTasks {
 public:
  /// Throws what Workspace::reserve does.
  PassTasks(const Lines<T>& weight, const Context& context, const BlockOrder& order, Index from_size, Index to_size)
      : executor_(executor_of(context)),
        order_(order),
        count_(task_count(weight.lines * weight.length, elements_per_thread, executor_)) {
    Scratch needed;
    for (int t = 0; t < count_; ++t) PassMemory<T>::take(needed, from_size, to_size);
    Scratch scratch(workspace_of(context).reserve(needed.size()));
    memory_.reserve(static_cast<std::size_t>(count_));
    for (int t = 0; t < count_; ++t) memory_.push_back(PassMemory<T>::take(scratch, from_size, to_size));
  }

  int count() const { return count_; }
  const PassMemory<T>& memory(int t) const { return memory_[static_cast<std::size_t>(t)]; }

  /// Calls work(t, i, next) for all blocks, `next` being the one that comes after block i in the order, and undo(i) where
  /// for_shares() does.
  void run(FunctionRef<void(int, Index, Index)> work, FunctionRef<void(Index)> undo) const {
    for_shares(
        order_.count(), count_, executor_, [&](int t, Index n) { work(t, order_[n], order_[n + 1]); },
        [&](Index n) { undo(order_[n]); });
  }

  /// The same of work that cannot be taken back and does not throw: it is all done, by the calling thread where the executor
  /// fails.
  void run_all(FunctionRef<void(int, Index)> work) const {
    const auto one = [&](int t, Index n) { work(t, order_[n]); };
    Shares shares(order_.count(), count_, one);
    if (shares.run(executor_)) shares.complete();
  }

 private:
  Executor& executor_;
  BlockOrder order_;
  int count_;
  std::vector<PassMemory<T>> memory_;
};

template <class T>
std::size_t pass_workspace(Index tasks) {
  Scratch needed;
  for (Index t = 0; t < tasks; ++t) PassMemory<T>::take(needed, block_elements, block_elements);
  return needed.size() + 63;  // the caller's memory may begin anywhere
}

LORA_FUNC void check_record(const UndoRecord& record, ScalarType type, StorageOrder order, Index rows, Index cols,
                         std::uint64_t fingerprint) {
  const auto order_text = [](StorageOrder which) { return which == row_major ? "row-major" : "column-major"; };
  if (record.rows() == 0 && record.cols() == 0 && rows != 0 && cols != 0)
    throw RecordError("lora: undo record: expected that of a merge, found an empty one: never filled, moved from or cleared");
  expect_record(record.type() == type, "scalar type", name(type), name(record.type()));
  expect_record(record.order() == order, "storage order (an owning lora::Linear stores W0 row-major unless told otherwise)",
                order_text(order), order_text(record.order()));
  expect_record(record.rows() == rows && record.cols() == cols, "shape", shape_text(rows, cols),
                shape_text(record.rows(), record.cols()));
  expect_record(record.fingerprint() == fingerprint,
                "fingerprint of the set (was the weight merged with other factors or coefficients, or in another order?)", fingerprint,
                record.fingerprint());
}

template <class T>
void check_record(const UndoRecord& record, const Lines<T>& weight, const ActiveSet<compute_t<T>>& set) {
  check_record(record, ScalarTraits<std::remove_const_t<T>>::type, weight.order, weight.rows(), weight.cols(), set.fingerprint());
}

LORA_FUNC void expect_no_gains(bool has_gains) {
  if (has_gains)
    throw StateError("lora: delta: expected a set without gains, found one that has some (DoRA): what it changes depends on W0");
}

/// Throws RecordError unless the block still is what the merge wrote.
template <class T>
void check_block(const WeightBlocks<T>& weight, Index i, const BlockEntry& entry) {
  const Block block = weight.grid[i];
  if (weight.checksum_of(block) == entry.checksum) return;
  const bool by_rows = weight.lines.order == row_major;
  throw RecordError(
      text("lora: undo record: the merged weight is not the one this record was made for, or was changed: ",
           by_rows ? "rows " : "columns ", block.line, " to ", block.line + block.lines - 1,
           by_rows ? ", columns " : ", rows ", block.position, " to ", block.position + block.length - 1,
           " do not match their checksum"));
}

/// A record while a pass makes it: without payloads at first, with memory of its own for each task. One whose pass throws is
/// left as a default one.
class RecordInMaking {
 public:
  template <class T>
  RecordInMaking(UndoRecord& record, const Lines<T>& weight, const ActiveSet<compute_t<T>>& set, int tasks)
      : record_(&record) {
    UndoRecordAccess::begin(record, weight.rows(), weight.cols(), ScalarTraits<T>::type, weight.order, set.fingerprint(),
                            tasks);
    try {
      for (const Gains<compute_t<T>>& gains : set.form().gains())
        UndoRecordAccess::add_gains(record, static_cast<std::uint8_t>(gains.axis),
                                    std::as_bytes(std::span(gains.values)));
    } catch (...) {
      record.clear();
      throw;
    }
  }
  RecordInMaking(const RecordInMaking&) = delete;
  ~RecordInMaking() {
    if (record_ != nullptr) record_->clear();
  }

  std::span<BlockEntry> entries() const { return UndoRecordAccess::entries(*record_); }
  std::span<PayloadArena> arenas() const { return UndoRecordAccess::arenas(*record_); }
  void done() { record_ = nullptr; }

 private:
  UndoRecord* record_;
};

template <class T>
void add_pass(const Lines<T>& lines, const ActiveSet<compute_t<T>>& set, const Context& context) {
  const WeightBlocks<T> weight(lines);
  const MergeSet<T> merge(set.form(), lines);
  const PassTasks<T> tasks(lines, context, {weight.grid, merge.factors.line_bytes()}, 0, merge.factors.scratch_size());
  tasks.run_all([&](int t, Index i) {
    merge.kernels.add(weight.at(weight.grid[i]), merge.factors.at(weight.grid[i], tasks.memory(t).to));
  });
}

template <class T>
void merge_pass(const Lines<T>& lines, const ActiveSet<compute_t<T>>& set, UndoRecord& record, const Context& context) {
  const WeightBlocks<T> weight(lines);
  const MergeSet<T> merge(set.form(), lines);
  const PassTasks<T> tasks(lines, context, {weight.grid, merge.factors.line_bytes()}, 0, merge.factors.scratch_size());
  RecordInMaking made(record, lines, set, tasks.count());
  const std::span<BlockEntry> entries = made.entries();
  const std::span<PayloadArena> arenas = made.arenas();
  tasks.run(
      [&](int t, Index i, Index) {
        const Block block = weight.grid[i];
        const BlockFactors<compute_t<T>> own = merge.factors.at(block, tasks.memory(t).to);
        write_entry<T>(weight, merge.kernels, block, own, arenas[static_cast<std::size_t>(t)], tasks.memory(t),
                       entries[static_cast<std::size_t>(i)],
                       [&](PayloadCursors& out) { merge.kernels.merge(weight.at(block), own, out); });
      },
      [&](Index i) {
        merge.restore(weight, weight.grid[i], entries[static_cast<std::size_t>(i)], tasks.memory(0).to);
      });
  made.done();
}

template <class T>
void unmerge_pass(const Lines<T>& lines, const ActiveSet<compute_t<T>>& set, const UndoRecord& record,
                  const Context& context) {
  check_record(record, lines, set);
  const WeightBlocks<T> weight(lines);
  const MergeSet<T> merged(set.form(), lines);
  const PassTasks<T> tasks(lines, context, {weight.grid, merged.factors.line_bytes()}, merged.factors.scratch_size(), 0);
  const std::span<const BlockEntry> entries = UndoRecordAccess::entries(record);
  tasks.run(
      [&](int t, Index i, Index after) {
        const BlockEntry& entry = entries[static_cast<std::size_t>(i)];
        prefetch_payload(entries, after);
        check_block(weight, i, entry);
        merged.restore(weight, weight.grid[i], entry, tasks.memory(t).from);
      },
      [&](Index i) { merged.merge_again(weight, weight.grid[i], tasks.memory(0).streams, tasks.memory(0).from); });
}

template <class T>
void switch_pass(const Lines<T>& lines, const ActiveSet<compute_t<T>>& from, const UndoRecord& record,
                 const ActiveSet<compute_t<T>>& to, UndoRecord& next_record, const Context& context) {
  if (&record == &next_record)
    throw ValueError("lora: switch_into: expected another record for the new set than that of the old one, found the same");
  check_record(record, lines, from);
  const WeightBlocks<T> weight(lines);
  const MergeSet<T> old(from.form(), lines), next(to.form(), lines);
  const PassTasks<T> tasks(lines, context, {weight.grid, old.factors.line_bytes() + next.factors.line_bytes()},
                           old.factors.scratch_size(), next.factors.scratch_size());
  RecordInMaking made(next_record, lines, to, tasks.count());
  const std::span<const BlockEntry> old_entries = UndoRecordAccess::entries(record);
  const std::span<BlockEntry> entries = made.entries();
  const std::span<PayloadArena> arenas = made.arenas();
  tasks.run(
      [&](int t, Index i, Index after) {
        const Block block = weight.grid[i];
        const PassMemory<T>& memory = tasks.memory(t);
        const BlockEntry& old_entry = old_entries[static_cast<std::size_t>(i)];
        prefetch_payload(old_entries, after);
        check_block(weight, i, old_entry);
        const BlockFactors<compute_t<T>> own = next.factors.at(block, memory.to);
        write_entry<T>(weight, next.kernels, block, own, arenas[static_cast<std::size_t>(t)], memory,
                       entries[static_cast<std::size_t>(i)], [&](PayloadCursors& out) {
                         // The whole block twice: rows by turns would want both sets' factors in the first cache.
                         old.restore(weight, block, old_entry, memory.from);
                         next.kernels.merge(weight.at(block), own, out);
                       });
      },
      [&](Index i) {
        const Block block = weight.grid[i];
        next.restore(weight, block, entries[static_cast<std::size_t>(i)], tasks.memory(0).to);
        old.merge_again(weight, block, tasks.memory(0).streams, tasks.memory(0).from);
      });
  made.done();
}

template <class Compute>
void delta_pass(const Lines<Compute>& lines, const ActiveSet<Compute>& set, const Context& context) {
  const WeightBlocks<Compute> out(lines);
  const MergeSet<Compute> merge(set.form(), lines);
  const PassTasks<Compute> tasks(lines, context, {out.grid, merge.factors.line_bytes()}, 0, merge.factors.scratch_size());
  tasks.run(
      [&](int t, Index i, Index) {
        merge.kernels.write_delta(out.at(out.grid[i]), merge.factors.at(out.grid[i], tasks.memory(t).to));
      },
      [](Index) {});
}

template <class T>
Index overflow_pass(const Lines<const T>& merged, const ActiveSet<compute_t<T>>& set, const UndoRecord& record) {
  check_record(record, merged, set);
  const Lines<T> lines{const_cast<T*>(merged.data), merged.lines, merged.length, merged.stride, merged.order};  // only read
  const WeightBlocks<T> weight(lines);
  const MergeSet<T> merge(set.form(), lines);
  const std::span<const BlockEntry> entries = UndoRecordAccess::entries(record);
  const auto copy = aligned_array<T>(static_cast<std::size_t>(block_elements));
  const auto dense = aligned_array<compute_t<T>>(static_cast<std::size_t>(merge.factors.scratch_size()));
  Index count = 0;
  with_fp_environment([&] {
    for (Index b = 0; b < weight.grid.count(); ++b) {
      const Block block = weight.grid[b];
      check_block(weight, b, entries[static_cast<std::size_t>(b)]);
      const WeightBlock<T> now = weight.at(block), before{copy.get(), block.length, block.lines, block.length, 0};
      bool any = false;
      for (Index i = 0; i < block.lines && !any; ++i)
        any = !std::all_of(now.data + i * now.stride, now.data + i * now.stride + block.length, is_finite<T>);
      if (!any) continue;
      weight.store(now, reinterpret_cast<unsigned char*>(copy.get()));
      merge.restore(before, block, entries[static_cast<std::size_t>(b)], dense.get());
      for (Index i = 0; i < block.lines; ++i)
        for (Index j = 0; j < block.length; ++j)
          count += !is_finite(now.data[i * now.stride + j]) && is_finite(copy[static_cast<std::size_t>(i * block.length + j)]);
    }
  });
  return count;
}

LORA_TAGGED_END
