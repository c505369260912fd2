// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// A weight cut in blocks, and what one task of a pass over it needs.

#include "lora/core/workspace.hpp"
#include "lora/exact/undo_record.hpp"
#include "lora/kernel/block_kernels.hpp"
#include "lora/kernel/merge_factors.hpp"

#include <span>
#include <vector>

LORA_TAGGED_BEGIN

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

  Lines<T> lines;
  BlockGrid grid;
};

/// The order in which a pass takes the blocks of a weight; results do not depend on it. Along the lines, as they are numbered,
/// so that what the kernels prefetch is needed a line of blocks later. Or, where the second cache does not hold the factors of
/// a line, so that each block would fetch its own anew, from the top to the bottom of four lines of blocks, then of the next
/// column.
class BlockOrder {
 public:
  /// `line_bytes` of factors go with a line of blocks.
  BlockOrder(const BlockGrid& grid, std::size_t line_bytes)
      : count_(grid.count()), per_line_(grid.blocks_per_line()), height_(line_bytes > cached ? 4 : 1) {}

  Index count() const { return count_; }
  /// The n-th block to be taken; count() behind the last one.
  Index operator[](Index n) const {
    if (height_ == 1 || n == count_) return n;
    const Index top = n / (height_ * per_line_) * height_, height = std::min(height_, count_ / per_line_ - top);
    const Index at = n - top * per_line_;
    return (top + at % height) * per_line_ + at / height;
  }

 private:
  /// Half of the second cache of a processor that has little of it.
  static constexpr std::size_t cached = 512 * 1024;

  Index count_, per_line_, height_;
};

/// A set as the block kernels take it, for one weight.
template <class T>
struct MergeSet {
  using Compute = compute_t<T>;

  LORA_NOINLINE MergeSet(const Form<Compute>& form, const Lines<T>& weight)
      : kernels(form), factors(form, weight.rows(), weight.cols(), weight.order, kernels.order()) {}

  /// W0 out of W', in place. `scratch` is factors.scratch_size() numbers.
  void restore(const WeightBlocks<T>& weight, const Block& block, const BlockEntry& entry, Compute* scratch) const {
    restore(weight.at(block), block, entry, scratch);
  }
  void restore(const WeightBlock<T>& merged, const Block& block, const BlockEntry& entry, Compute* scratch) const {
    if (entry.raw)
      WeightBlocks<T>::load(merged, entry.payload);
    else
      kernels.unmerge(merged, factors.at(block, scratch), view_payload(entry.payload, block));
  }

  /// W' out of W0, in place. Merges, like the passes that it is for, and forgets the record in the memory for
  /// `streams`.
  void merge_again(const WeightBlocks<T>& weight, const Block& block, unsigned char* streams, Compute* scratch) const {
    PayloadCursors unused = PayloadBuffer(streams).cursors();
    kernels.merge(weight.at(block), factors.at(block, scratch), unused);
  }

  BlockKernels<T> kernels;
  MergeFactors<Compute> factors;
};

/// One task's memory for a pass.
template <class T>
struct PassMemory {
  unsigned char* streams;
  T* copy;
  compute_t<T>*from, *to;  ///< dense parts of a block

  static PassMemory take(Scratch& scratch, Index from_size, Index to_size) {
    return {scratch.take<unsigned char>(static_cast<Index>(PayloadBuffer::bytes(sizeof(T)))),
            scratch.take<T>(block_elements), scratch.take<compute_t<T>>(from_size), scratch.take<compute_t<T>>(to_size)};
  }
};

/// Asks for the payload of the block that is to be undone next: it lies anywhere in memory, and is too short for the processor to
/// see a pattern in. No more than the first cache has room for.
LORA_INLINE void prefetch_payload(std::span<const BlockEntry> entries, Index i) {
  if (static_cast<std::size_t>(i) >= entries.size()) return;
  const BlockEntry& entry = entries[static_cast<std::size_t>(i)];
  const auto size = std::min<std::uint32_t>(entry.size, 4096);
  for (std::uint32_t at = 0; at < size; at += 64) prefetch<3>(entry.payload + at);
}

/// Fills `entry` with what `kernel` (called with the cursors) records while it merges the block with `factors`. Throws
/// std::bad_alloc before the kernel is called, or not at all.
template <class T>
void write_entry(const WeightBlocks<T>& weight, const BlockKernels<T>& kernels, const Block& block,
                 const BlockFactors<compute_t<T>>& factors, PayloadArena& arena, const PassMemory<T>& memory,
                 BlockEntry& entry, FunctionRef<void(PayloadCursors&)> kernel) {
  const std::size_t raw_size = weight.bytes(block);
  unsigned char* out = arena.reserve(raw_size);
  const PayloadBuffer buffer(memory.streams);
  PayloadCursors cursors = buffer.cursors();
  kernel(cursors);
  entry.raw = buffer.size(cursors) > raw_size;
  entry.size = static_cast<std::uint32_t>(entry.raw ? raw_size : buffer.size(cursors));
  if (entry.raw) {
    const WeightBlock<T> merged = weight.at(block);
    const WeightBlock<T> copy{memory.copy, block.length, block.lines, block.length, 0};
    weight.store(merged, reinterpret_cast<unsigned char*>(copy.data));
    kernels.unmerge(copy, factors, buffer.view());
    weight.store(copy, out);
  } else {
    buffer.concatenate(cursors, out);
  }
  entry.checksum = weight.checksum_of(block);
  entry.payload = out;
  arena.keep(entry.size);
}

LORA_TAGGED_END
