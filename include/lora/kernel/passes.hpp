// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Passes over a whole weight, on all threads: merge, unmerge, exchange. Each either completes or throws with the weight as
/// it was.

#include "lora/core/matrix.hpp"
#include "lora/exact/undo_record.hpp"
#include "lora/kernel/block_kernels.hpp"
#include "lora/kernel/packed_factors.hpp"
#include "lora/kernel/threads.hpp"
#include "lora/simd/fp_environment.hpp"

#include <exception>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// A weight, its blocks and its kernels.
template <class T>
struct WeightBlocks {
  using Compute = typename ScalarTraits<T>::Compute;

  explicit WeightBlocks(const Lines<T>& weight) : lines(weight), grid(weight.lines, weight.length) {}

  WeightBlock<T> at(const Block& block) const {
    return {lines.line(block.line) + block.position, lines.stride, block.lines, block.length,
            lines.lines - block.line - block.lines};
  }
  std::uint64_t checksum_of(const Block& block) const {
    return checksum(ByteLines{reinterpret_cast<const unsigned char*>(lines.line(block.line) + block.position),
                              block.lines, block.length * Index{sizeof(T)}, lines.stride * Index{sizeof(T)}});
  }
  static std::size_t bytes(const Block& block) { return static_cast<std::size_t>(block.elements()) * sizeof(T); }

  /// The block's elements, line after line, out of it and into it.
  static void store(const WeightBlock<T>& block, unsigned char* out) {
    const std::size_t size = static_cast<std::size_t>(block.length) * sizeof(T);
    for (Index i = 0; i < block.lines; ++i, out += size) std::memcpy(out, block.data + i * block.stride, size);
  }
  static void load(const WeightBlock<T>& block, const unsigned char* in) {
    const std::size_t size = static_cast<std::size_t>(block.length) * sizeof(T);
    for (Index i = 0; i < block.lines; ++i, in += size)
      std::memcpy(static_cast<void*>(block.data + i * block.stride), in, size);
  }

  /// W0 out of W', in place.
  void restore(const Block& block, const PackedFactors<Compute>& factors, const BlockEntry& entry) const {
    if (entry.raw)
      load(at(block), entry.payload);
    else
      kernels.unmerge(at(block), factors.at(block), view_payload(entry.payload, block));
  }

  Lines<T> lines;
  BlockGrid grid;
  BlockKernels<T> kernels;
};

/// One thread's share of a pass, and the memory it needs: allocated before the pass begins, but for the record's payloads.
template <class T>
class RecordWriter {
 public:
  using Compute = typename ScalarTraits<T>::Compute;

  explicit RecordWriter(PayloadArena& arena)
      : arena_(&arena),
        streams_(aligned_array<unsigned char>(PayloadBuffer::bytes(sizeof(T)))),
        copy_(aligned_array<T>(block_elements)) {}

  /// Fills `entry` with what `kernel` (called with the cursors) records while it merges the block with `factors`. Throws
  /// std::bad_alloc before the kernel is called, or not at all.
  void write(const WeightBlocks<T>& weight, const Block& block, const BlockFactors<Compute>& factors, BlockEntry& entry,
             FunctionRef<void(PayloadCursors&)> kernel) {
    const std::size_t raw_size = weight.bytes(block);
    unsigned char* out = arena_->reserve(raw_size);
    const PayloadBuffer buffer(streams_.get());
    PayloadCursors cursors = buffer.cursors();
    kernel(cursors);
    entry.raw = buffer.size(cursors) > raw_size;
    entry.size = static_cast<std::uint32_t>(entry.raw ? raw_size : buffer.size(cursors));
    if (entry.raw) {
      const WeightBlock<T> merged = weight.at(block);
      const WeightBlock<T> copy{copy_.get(), block.length, block.lines, block.length, 0};
      weight.store(merged, reinterpret_cast<unsigned char*>(copy.data));
      weight.kernels.unmerge(copy, factors, buffer.view());
      weight.store(copy, out);
    } else {
      buffer.concatenate(cursors, out);
    }
    entry.checksum = weight.checksum_of(block);
    entry.payload = out;
    arena_->keep(entry.size);
  }

 private:
  PayloadArena* arena_;
  AlignedArray<unsigned char> streams_;
  AlignedArray<T> copy_;
};

template <class T>
std::vector<RecordWriter<T>> record_writers(UndoRecord& record) {
  std::vector<RecordWriter<T>> writers;
  const std::span<PayloadArena> arenas = UndoRecordAccess::arenas(record);
  writers.reserve(arenas.size());
  for (PayloadArena& arena : arenas) writers.emplace_back(arena);
  return writers;
}

/// Enough elements for a thread of its own to be worth while.
inline constexpr Index elements_per_thread = 64 * 1024;

/// Calls work(t, i) for every block i, in contiguous shares, thread t under an FpEnvironment. When a call throws, calls
/// undo(i) for every block whose work was done, and rethrows. `undo` must not throw.
LORA_NOINLINE inline void for_blocks(const BlockGrid& grid, int threads, FunctionRef<void(int, Index)> work,
                                     FunctionRef<void(Index)> undo) {
  struct Share {
    Index begin = 0, done = 0;
    std::exception_ptr error;
  };
  std::vector<Share> shares(static_cast<std::size_t>(threads));
  const Index count = grid.count();
  const auto run_share = [&](int t) LORA_NOINLINE {
    Share& share = shares[static_cast<std::size_t>(t)];
    const Index end = count * (t + 1) / threads;
    share.begin = count * t / threads;
    try {
      for (share.done = share.begin; share.done < end; ++share.done) work(t, share.done);
    } catch (...) {
      share.error = std::current_exception();
    }
  };
  parallel(threads, [&](int t) {
    const FpEnvironment environment;
    run_share(t);
  });
  for (const Share& failed : shares) {
    if (!failed.error) continue;
    const auto undo_all = [&]() LORA_NOINLINE {
      for (const Share& share : shares)
        for (Index i = share.begin; i < share.done; ++i) undo(i);
    };
    {
      const FpEnvironment environment;
      undo_all();
    }
    std::rethrow_exception(failed.error);
  }
}

/// Throws RecordError unless the record was made for this weight and these factors.
template <class T>
void check_record(const UndoRecord& record, const Lines<T>& weight, std::uint64_t fingerprint) {
  using Plain = std::remove_const_t<T>;
  expect_record(record.type() == ScalarTraits<Plain>::type, "scalar type", ScalarTraits<Plain>::name,
                name(record.type()));
  expect_record(record.order() == weight.order, "storage order",
                weight.order == row_major ? "row-major" : "column-major",
                record.order() == row_major ? "row-major" : "column-major");
  expect_record(record.rows() == weight.rows() && record.cols() == weight.cols(), "shape",
                shape_text(weight.rows(), weight.cols()), shape_text(record.rows(), record.cols()));
  expect_record(record.fingerprint() == fingerprint,
                "fingerprint of the factors (was the weight merged with other ones?)", fingerprint,
                record.fingerprint());
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

/// W' = round(W0 + delta) in place, without a record.
template <class T>
void add_pass(const Lines<T>& lines, const PackedFactors<typename ScalarTraits<T>::Compute>& factors) {
  const WeightBlocks<T> weight(lines);
  for_blocks(
      weight.grid, thread_count(lines.lines * lines.length, elements_per_thread),
      [&](int, Index i) { weight.kernels.add(weight.at(weight.grid[i]), factors.at(weight.grid[i])); }, [](Index) {});
}

/// W' = round(W0 + delta) in place; returns the record.
template <class T>
UndoRecord merge_pass(const Lines<T>& lines, const PackedFactors<typename ScalarTraits<T>::Compute>& factors) {
  const WeightBlocks<T> weight(lines);
  const int threads = thread_count(lines.lines * lines.length, elements_per_thread);
  UndoRecord record = UndoRecordAccess::create(lines.rows(), lines.cols(), ScalarTraits<T>::type, lines.order,
                                               factors.fingerprint(), threads);
  const std::span<BlockEntry> entries = UndoRecordAccess::entries(record);
  std::vector<RecordWriter<T>> writers = record_writers<T>(record);
  for_blocks(
      weight.grid, threads,
      [&](int t, Index i) {
        const Block block = weight.grid[i];
        const BlockFactors<typename ScalarTraits<T>::Compute> own = factors.at(block);
        writers[static_cast<std::size_t>(t)].write(
            weight, block, own, entries[static_cast<std::size_t>(i)],
            [&](PayloadCursors& out) { weight.kernels.merge(weight.at(block), own, out); });
      },
      [&](Index i) { weight.restore(weight.grid[i], factors, entries[static_cast<std::size_t>(i)]); });
  return record;
}

/// W0 in place, every bit.
template <class T>
void unmerge_pass(const Lines<T>& lines, const PackedFactors<typename ScalarTraits<T>::Compute>& factors,
                  const UndoRecord& record) {
  check_record(record, lines, factors.fingerprint());
  const WeightBlocks<T> weight(lines);
  const std::span<const BlockEntry> entries = UndoRecordAccess::entries(record);
  for_blocks(
      weight.grid, thread_count(lines.lines * lines.length, elements_per_thread),
      [&](int, Index i) {
        const BlockEntry& entry = entries[static_cast<std::size_t>(i)];
        check_block(weight, i, entry);
        weight.restore(weight.grid[i], factors, entry);
      },
      [&](Index i) { weight.kernels.add(weight.at(weight.grid[i]), factors.at(weight.grid[i])); });
}

/// From the merged set `from` to the merged set `to` in one pass; returns the new record. `record` stays valid for `from`.
template <class T>
UndoRecord exchange_pass(const Lines<T>& lines, const PackedFactors<typename ScalarTraits<T>::Compute>& from,
                         const UndoRecord& record, const PackedFactors<typename ScalarTraits<T>::Compute>& to) {
  check_record(record, lines, from.fingerprint());
  const WeightBlocks<T> weight(lines);
  const int threads = thread_count(lines.lines * lines.length, elements_per_thread);
  UndoRecord next = UndoRecordAccess::create(lines.rows(), lines.cols(), ScalarTraits<T>::type, lines.order,
                                             to.fingerprint(), threads);
  const std::span<const BlockEntry> old_entries = UndoRecordAccess::entries(record);
  const std::span<BlockEntry> entries = UndoRecordAccess::entries(next);
  std::vector<RecordWriter<T>> writers = record_writers<T>(next);
  for_blocks(
      weight.grid, threads,
      [&](int t, Index i) {
        const Block block = weight.grid[i];
        const BlockEntry& old_entry = old_entries[static_cast<std::size_t>(i)];
        check_block(weight, i, old_entry);
        writers[static_cast<std::size_t>(t)].write(
            weight, block, to.at(block), entries[static_cast<std::size_t>(i)], [&](PayloadCursors& out) {
              if (old_entry.raw) {
                weight.load(weight.at(block), old_entry.payload);
                weight.kernels.merge(weight.at(block), to.at(block), out);
              } else {
                weight.kernels.exchange(weight.at(block), from.at(block), view_payload(old_entry.payload, block),
                                        to.at(block), out);
              }
            });
      },
      [&](Index i) {
        const Block block = weight.grid[i];
        weight.restore(block, to, entries[static_cast<std::size_t>(i)]);
        weight.kernels.add(weight.at(block), from.at(block));
      });
  return next;
}

/// delta of the whole set: the numbers merge_pass adds, into memory of the compute type.
template <class Compute>
void delta_pass(const Lines<Compute>& lines, const PackedFactors<Compute>& factors) {
  const WeightBlocks<Compute> out(lines);
  for_blocks(
      out.grid, thread_count(lines.lines * lines.length, elements_per_thread),
      [&](int, Index i) { out.kernels.write_delta(out.at(out.grid[i]), factors.at(out.grid[i])); }, [](Index) {});
}

#if defined(LORA_EXTERN_TEMPLATES)  // see instantiate.hpp
#define LORA_INSTANCE extern template
#include "lora/kernel/pass_instances.inc"
#endif

}  // namespace detail
LORA_NAMESPACE_END
