// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/error.hpp"
#include "lora/core/per_thread.hpp"
#include "lora/core/read_sections.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <vector>

LORA_NAMESPACE_BEGIN

/// Keeps passes over weights and changes of these weights (merge, unmerge, switch) apart: any number of passes at once, or one change.
///
///     const auto pass = gate.enter();            // on many threads
///     layer.forward_into(X, Y);
///
///     gate.change([&] { layer.merge(); });       // when the passes that run have ended; later ones wait
///
/// A change goes first: passes that come while it waits for others wait for it.
class PassGate {
 public:
  /// A pass, until it is destroyed, on the thread that entered. Passes of one thread may end in any order.
  class Pass {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)), section_(std::move(other.section_)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_ == nullptr) return;
      Own& own = entered();
      const auto at = std::find_if(own.begin(), own.end(), [&](const Entered& entry) { return entry.gate == gate_; });
      LORA_ASSERT(at != own.end());
      if (--at->passes == 0) own.erase(at);
    }

   private:
    friend PassGate;
    Pass(const PassGate* gate, detail::ReadSections::Section section) : gate_(nullptr), section_(std::move(section)) {
      Own& own = entered();
      const auto at = std::find_if(own.begin(), own.end(), [&](const Entered& entry) { return entry.gate == gate; });
      if (at != own.end())
        ++at->passes;
      else
        own.push_back({gate, 1, section_});
      gate_ = gate;
    }

    const PassGate* gate_;
    detail::ReadSections::Section section_;
  };

  PassGate() = default;
  PassGate(const PassGate&) = delete;
  PassGate& operator=(const PassGate&) = delete;

  /// Begins a pass. Waits while a change runs or waits, and for nothing else; inside of a pass of this thread it does not wait at all.
  [[nodiscard]] Pass enter() const {
    while (true) {
      if (std::optional<Pass> pass = try_enter()) return std::move(*pass);
      changing_.wait(true);
    }
  }

  /// Begins a pass unless a change runs or waits. Never waits.
  [[nodiscard]] std::optional<Pass> try_enter() const {
    if (const Entered* const outer = own_entry()) return Pass(this, outer->section);
    detail::ReadSections::Section section = sections_.enter();
    if (changing_.load()) return std::nullopt;
    return Pass(this, std::move(section));
  }

  /// Calls run() while no pass runs. Waits for those that do, and for other changes. Throws StateError in a pass of this thread,
  /// which would wait for itself, and what run() throws.
  template <class Run>
  void change(const Run& run) const {
    if (is_entered())
      throw StateError("lora: a change of weights in a pass over them: expected that this thread's pass has ended");
    const std::lock_guard lock(mutex_);
    const Change now(changing_);
    sections_.wait_for_readers();
    run();
  }

 private:
  struct Change {
    explicit Change(std::atomic<bool>& own) : changing(own) { changing.store(true); }
    ~Change() {
      changing.store(false);
      changing.notify_all();
    }
    std::atomic<bool>& changing;
  };

  /// A gate that this thread has passes of. Its section ends with the last of them, so that one that begins in another is
  /// waited for with it.
  struct Entered {
    const PassGate* gate;
    int passes;
    detail::ReadSections::Section section;
  };
  using Own = std::vector<Entered>;

  static Own& entered() { return detail::per_thread<Own>(); }
  const Entered* own_entry() const {
    const Own& own = entered();
    const auto at = std::find_if(own.begin(), own.end(), [&](const Entered& entry) { return entry.gate == this; });
    return at == own.end() ? nullptr : &*at;
  }
  bool is_entered() const { return own_entry() != nullptr; }

  detail::ReadSections sections_;
  mutable std::mutex mutex_;
  mutable std::atomic<bool> changing_{false};
};

LORA_NAMESPACE_END
