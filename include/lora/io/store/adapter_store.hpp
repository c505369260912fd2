// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/read_sections.hpp"
#include "lora/io/store/stored_adapter.hpp"
#include "lora/layer/layer_group.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>

LORA_NAMESPACE_BEGIN
namespace io {

/// A file or folder that load_adapter() reads, and what its updates are multiplied with.
struct AdapterFile {
  std::filesystem::path path;  ///< of a file or folder
  double coefficient = 1.0;  ///< of all its updates
};

/// What an AdapterStore has done and holds.
struct AdapterStoreStatistics {
  std::uint64_t hits = 0;       ///< find() and get() that found the adapter in memory
  std::uint64_t misses = 0;     ///< those that did not
  std::uint64_t loads = 0;      ///< adapters read from disk
  std::uint64_t failures = 0;   ///< that could not be
  std::uint64_t evictions = 0;  ///< adapters that made room for others
  std::size_t resident = 0;     ///< adapters in memory that a name leads to
  std::size_t bytes = 0;        ///< of all adapters alive, those that only pins keep among them
};

/// Thousands of adapters on disk, as many of them in memory as a budget allows, for a model whose layers stay unmerged.
///
///     lora::io::AdapterStore<float> store(model, 256 << 20);
///     store.attach("style", {{"adapters/style"}});
///     const auto pin = store.find("style");          // null while it is on its way
///     if (pin != nullptr) layer.forward_into(X, Y, pin->set(store.layer("encoder.0.query")));
///
/// All calls may run on any threads at once. find() never waits for a file, for a load or for another find(); when the adapter is in
/// memory it takes no lock. What it gives out stays whole, on all layers, while somebody holds it. Files are read, not mapped, so that
/// one that disappears or is cut while it is read ends in an error of that one adapter.
template <class Compute>
class AdapterStore {
 public:
  /// What find() gives: an adapter that stays in memory meanwhile.
  using Pin = AdapterPin<Compute>;

  /// For the layers of a model, which outlives the store and keeps its layers. Gains of DoRA come from their weights: such an adapter
  /// cannot be loaded while these change (StateError). `budget`: bytes of adapters in memory, beside those that are
  /// being read. Loads run on `executor`, as many at once as it has threads, called by a thread of the store's own;
  /// null: DefaultExecutor.
  AdapterStore(const LayerGroup<Compute>& model, std::size_t budget, Executor* executor = nullptr);
  AdapterStore(const AdapterStore&) = delete;
  AdapterStore& operator=(const AdapterStore&) = delete;
  /// Waits for loads that are running. Pins stay valid.
  ~AdapterStore();

  /// The number of a layer for StoredAdapter::set, by its path in the model. Throws ValueError when there is none.
  std::size_t layer(std::string_view path) const;

  /// Gives adapters a name each, without reading them yet. One of several files applies them in their order. Throws ValueError for a
  /// name that is taken or stands twice, for no source, and for a coefficient that is not finite; nothing has changed
  /// then. Each call copies all names: many adapters belong into one.
  void attach(const std::string& name, std::vector<AdapterFile> files);
  void attach(std::vector<std::pair<std::string, std::vector<AdapterFile>>> adapters);

  /// Takes a name away. Pins go on. Throws ValueError when there is none.
  void detach(const std::string& name);

  /// Other files for a name: reads them on the calling thread, then replaces what find() gives out. Throws what get() throws; the name
  /// leads where it led then.
  void switch_to(const std::string& name, std::vector<AdapterFile> files);

  /// The adapter, or null when it is not in memory: then it is on its way. Throws ValueError for an unknown name; when the last load
  /// failed, its error, once: the next call begins another.
  Pin find(std::string_view name);

  /// The adapter, loaded now if need be: waits. Throws ValueError for an unknown name, FileError as load_adapter() does and for an adapter
  /// that does not fit the model, StateError when pins leave no room for it in the budget. A name that is detached meanwhile is unknown.
  /// Of a load that was on its way before the call a failure does not count: it is tried again.
  Pin get(std::string_view name);

  /// Loads it in the background unless it is in memory. Throws ValueError for an unknown name.
  void prefetch(std::string_view name);

  /// The names, in no order.
  std::vector<std::string> names() const;

  /// What it has done so far, and holds now.
  AdapterStoreStatistics statistics() const;

 private:
  /// A name. All but `resident` and `last_use` belong to who holds the mutex.
  struct Entry {
    Entry(std::string own_name, std::vector<AdapterFile> own_files)
        : name(std::move(own_name)), files(std::move(own_files)) {}

    const std::string name;
    const std::vector<AdapterFile> files;
    std::atomic<const StoredAdapter<Compute>*> resident{nullptr};  // what find() sees of `pin`
    std::atomic<std::int64_t> last_use{0};
    Pin pin;
    bool is_loading = false, is_attached = true;
    std::uint64_t attempts = 0;  // that have ended
    std::exception_ptr error;    // of the last one
  };
  using Shared = std::shared_ptr<Entry>;
  using Names = std::unordered_map<std::string_view, Shared>;  // of Entry::name; never changed, only replaced

  /// A load and what came of it.
  struct Job {
    Shared entry;
    Pin pin;
    std::exception_ptr error;
  };

  [[noreturn]] static void refuse_unknown(std::string_view name);
  static void expect_files(std::string_view name, const std::vector<AdapterFile>& files);
  Shared expect_entry(std::string_view name) const;       // these need the mutex
  void publish(std::unique_ptr<const Names> names);
  void leave(Entry& entry);
  void request(const Shared& entry);
  void place(Entry& entry, Pin pin);
  void make_room(std::size_t bytes, std::string_view for_name);

  Pin resident(std::string_view name) const;  // without the mutex
  Pin load(const std::string& name, const std::vector<AdapterFile>& files) const;
  void load_in_background();

  const LayerGroup<Compute>& model_;
  std::vector<std::string> paths_;  // of layers, sorted
  const std::size_t budget_;
  Executor* const executor_;
  const std::shared_ptr<std::atomic<std::size_t>> live_ = std::make_shared<std::atomic<std::size_t>>(0);

  lora::detail::ReadSections sections_;
  std::atomic<const Names*> names_{nullptr};  // what find() sees of owned_names_

  mutable std::mutex mutex_;
  std::condition_variable wakes_loader_, load_ended_;
  std::unique_ptr<const Names> owned_names_;
  std::deque<Shared> queue_;
  bool is_ending_ = false;
  mutable std::size_t arriving_ = 0;  // of the bytes alive, those of adapters that have no place yet
  mutable std::atomic<std::uint64_t> hits_{0}, misses_{0}, loads_{0}, failures_{0};
  std::uint64_t evictions_ = 0;
  std::vector<Job> jobs_;  // the loader's: as many as run at once
  std::thread loader_;     // last: it uses the rest
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/store/adapter_store-inl.hpp"
#endif
