// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/config.hpp"

#include <array>
#include <atomic>
#include <thread>  // and durations; all of <chrono> would be two thousand lines more
#include <utility>

LORA_NAMESPACE_BEGIN
namespace detail {

/// Read-copy-update: readers of something that is replaced, never changed, mark how long they look at it. They wait for nobody; who
/// has put something new in its place waits until nobody looks at the old any more.
///
///     const auto section = sections.enter();          // a reader
///     use(*current.load());
///
///     old = current.exchange(next);                   // one writer at a time
///     sections.wait_for_readers();
///     delete old;
///
/// The atomic that they share has to be written and read in sequentially consistent order (the default): of a reader that has
/// entered and a writer that has published, one sees the other. A section may be left on another thread than it was entered on.
class ReadSections {
  struct alignas(64) Slot {
    std::atomic<unsigned> readers[2]{};
  };

 public:
  class Section {
   public:
    explicit Section(std::atomic<unsigned>& readers) : readers_(&readers) { readers.fetch_add(1); }
    Section(Section&& other) noexcept : readers_(std::exchange(other.readers_, nullptr)) {}
    /// One that begins in another: who waits for that waits for both.
    Section(const Section& outer) : Section(*outer.readers_) {}
    Section& operator=(const Section&) = delete;
    Section& operator=(Section&& other) noexcept {
      std::swap(readers_, other.readers_);
      return *this;
    }
    ~Section() {
      if (readers_ != nullptr) readers_->fetch_sub(1);
    }

   private:
    std::atomic<unsigned>* readers_;
  };

  /// Two atomic additions with the section's end, no lock. Threads mostly use different cache lines.
  [[nodiscard]] Section enter() const { return Section(slots_[own_slot()].readers[phase_.load()]); }

  /// Returns when all sections that had been entered before have been left. One caller at a time, outside of sections.
  void wait_for_readers() const {
    // Readers that enter meanwhile are counted apart. One may have read the phase long ago and enter the old side late: it
    // sees what is published, and is waited for in the second round of the next call at the latest.
    for (int round = 0; round < 2; ++round) {
      const unsigned old = phase_.load();
      phase_.store(old ^ 1u);
      for (const Slot& slot : slots_)
        for (int tries = 0; slot.readers[old].load() != 0; ++tries)
          if (tries < 100)
            std::this_thread::yield();
          else
            std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

 private:
  static std::size_t own_slot() {
    static std::atomic<std::size_t> next{0};
    thread_local const std::size_t own = next.fetch_add(1, std::memory_order_relaxed) % slot_count;
    return own;
  }

  static constexpr std::size_t slot_count = 32;
  mutable std::array<Slot, slot_count> slots_;
  mutable std::atomic<unsigned> phase_{0};
};

}  // namespace detail
LORA_NAMESPACE_END
