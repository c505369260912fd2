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

/// Payloads of blocks, in pieces that never move and can be filled anew.
class PayloadArena {
 public:
  PayloadArena() = default;

  /// For payloads of `size` bytes in all, in one piece. Allocates.
  explicit PayloadArena(std::size_t size) {
    add_piece(size + PayloadBuffer::slack);
    std::memset(next_ + size, 0, PayloadBuffer::slack);
  }

  /// Room for `size` bytes and the slack the kernels need. Allocates when no piece that is left has it.
  unsigned char* reserve(std::size_t size) {
    const std::size_t needed = size + PayloadBuffer::slack;
    while (needed > left_ && used_ < pieces_.size()) use_next();
    if (needed > left_) {
      const std::size_t piece = std::max(needed, next_piece_);
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

  /// Forgets the payloads and keeps their memory.
  void rewind() noexcept {
    next_ = nullptr;
    left_ = used_ = 0;
  }

  /// The bytes of all pieces.
  std::size_t capacity() const {
    std::size_t size = 0;
    for (const Piece& piece : pieces_) size += piece.size;
    return size;
  }

 private:
  struct Piece {
    std::unique_ptr<unsigned char[]> memory;
    std::size_t size;
  };

  /// Pieces double up to this: a small weight's record stays small.
  static constexpr std::size_t largest_piece = 256 * 1024;

  void add_piece(std::size_t size) {
    Piece piece{std::unique_ptr<unsigned char[]>(new unsigned char[size]), size};
    pieces_.push_back(std::move(piece));
    use_next();
  }
  void use_next() noexcept {
    next_ = pieces_[used_].memory.get();
    left_ = pieces_[used_].size;
    ++used_;
  }

  std::vector<Piece> pieces_;
  std::size_t used_ = 0;  // of the pieces
  unsigned char* next_ = nullptr;
  std::size_t left_ = 0, next_piece_ = 0;
};

}  // namespace detail
LORA_NAMESPACE_END
