// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The memory behind an undo record: its blocks' payloads.

#include "lora/exact/block_payload.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace detail {

/// What the record knows of one block.
struct BlockEntry {
  std::uint64_t checksum = 0;              ///< of the merged elements
  const unsigned char* payload = nullptr;  ///< null as long as the block has not been merged
  std::uint32_t size = 0;                  ///< of the payload
  bool raw = false;                        ///< the payload is W0's elements
};

/// Payloads of blocks, in pieces that never move.
class PayloadArena {
 public:
  PayloadArena() = default;

  /// For payloads of `size` bytes in all, in one piece. Allocates.
  explicit PayloadArena(std::size_t size) {
    add_piece(size + PayloadBuffer::slack);
    std::memset(next_ + size, 0, PayloadBuffer::slack);
  }

  /// Room for `size` bytes and the slack the kernels need. Allocates.
  unsigned char* reserve(std::size_t size) {
    if (size + PayloadBuffer::slack > left_) {
      const std::size_t piece = std::max(size + PayloadBuffer::slack, next_piece_);
      add_piece(piece);
      next_piece_ = std::min(2 * piece, largest_piece);
    }
    return next_;
  }
  /// Keeps the first `size` of the reserved bytes.
  void keep(std::size_t size) {
    next_ += size;
    left_ -= size;
  }

 private:
  /// Pieces double up to this: a small weight's record stays small.
  static constexpr std::size_t largest_piece = 256 * 1024;

  void add_piece(std::size_t size) {
    std::unique_ptr<unsigned char[]> piece(new unsigned char[size]);
    pieces_.push_back(std::move(piece));
    next_ = pieces_.back().get();
    left_ = size;
  }

  std::vector<std::unique_ptr<unsigned char[]>> pieces_;
  unsigned char* next_ = nullptr;
  std::size_t left_ = 0, next_piece_ = 0;
};

}  // namespace detail
LORA_NAMESPACE_END
