// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/aligned.hpp"
#include "lora/core/per_thread.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

LORA_NAMESPACE_BEGIN

/// Scratch memory for merges and forward passes: packed activations, partial results. Either its own, which grows when a call
/// needs more and stays, or the caller's, which never grows. One call at a time may use it. lora::forward_workspace() and
/// lora::merge_workspace() say how much a call needs.
class Workspace {
 public:
  Workspace() = default;

  /// Works in the caller's memory, which must outlive it.
  explicit Workspace(std::span<std::byte> memory) : memory_(memory.data()), size_(memory.size()), fixed_(true) {}

  /// What is moved from has no memory.
  Workspace(Workspace&& other) noexcept
      : own_(std::move(other.own_)),
        memory_(std::exchange(other.memory_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        fixed_(other.fixed_) {}
  Workspace& operator=(Workspace&& other) noexcept {
    own_ = std::move(other.own_);
    memory_ = std::exchange(other.memory_, nullptr);
    size_ = std::exchange(other.size_, 0);
    fixed_ = other.fixed_;
    return *this;
  }

  /// The bytes it has.
  std::size_t size() const { return size_; }

  /// `size` bytes on a 64-byte boundary; what they held before is lost. Throws ValueError when the caller's memory is too
  /// small. Allocates when its own is.
  std::byte* reserve(std::size_t size) {
    std::byte* begin = aligned_begin();
    if (size == 0 || size + static_cast<std::size_t>(begin - memory_) <= size_) return begin;
    if (fixed_)
      throw ValueError(detail::text("lora: workspace: expected at least ", size + static_cast<std::size_t>(begin - memory_),
                                    " bytes, found ", size_));
    own_.reset();
    memory_ = nullptr;
    size_ = 0;
    own_ = detail::aligned_array<std::byte>(size);
    memory_ = own_.get();
    size_ = size;
    return memory_;
  }

 private:
  std::byte* aligned_begin() const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_);
    return memory_ + (-address & 63u);
  }

  detail::AlignedArray<std::byte> own_;
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  bool fixed_ = false;
};

namespace detail {

/// The calling thread's own.
inline Workspace& thread_workspace() { return per_thread<Workspace>(); }

/// Pieces of memory one behind the other, each on a 64-byte boundary. Counts their bytes when it has no memory.
class Scratch {
 public:
  explicit Scratch(std::byte* memory = nullptr) : begin_(memory) {}

  template <class T>
  T* take(Index count) {
    T* out = begin_ == nullptr ? nullptr : reinterpret_cast<T*>(begin_ + used_);
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return out;
  }
  std::size_t size() const { return used_; }

 private:
  std::byte* begin_;
  std::size_t used_ = 0;
};

}  // namespace detail
LORA_NAMESPACE_END
