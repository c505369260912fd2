// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/run_tasks.hpp"
#include "lora/io/peft/kinds.hpp"
#include "lora/io/peft/load_adapter.hpp"
#include "lora/io/store/adapter_store.hpp"

#include <algorithm>
#include <cmath>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// The sets that an adapter's files give the layers of a model, while they are put together.
template <class Compute>
class SetsOfLayers {
 public:
  SetsOfLayers(const LayerGroup<Compute>& model, const std::vector<std::string>& paths)
      : model_(model), paths_(paths), updates_(paths.size()) {}

  void add(const Adapter& adapter, double coefficient) {
    if (!adapter.base_copies.empty() && std::any_of(adapter.base_copies.begin(), adapter.base_copies.end(),
                                                    [](const BaseCopy& copy) { return copy.is_trained; }))
      fail(adapter.folder, "the adapter puts whole tensors in the place of the base's (modules_to_save, bias, "
                           "trainable_token_indices): expected one of updates alone, which layers can take unmerged");
    for (const AdapterModule& module : adapter.modules) add(adapter, module, coefficient);
  }

  std::vector<ActiveSet<Compute>> take() {
    std::vector<ActiveSet<Compute>> out;
    for (std::size_t i = 0; i < paths_.size(); ++i) {
      ActiveSet<Compute> set = ActiveSet<Compute>::in_storage_type(std::move(updates_[i]));
      if (!set.is_bound()) set = with_gains(set, paths_[i]);
      out.push_back(std::move(set));
    }
    return out;
  }

 private:
  void add(const Adapter& adapter, const AdapterModule& module, double coefficient) {
    const auto refuse = [&](const auto&... pieces) {
      fail(adapter.folder, "module ", in_quotes(module.path), ": ", pieces...);
    };
    const auto at = std::lower_bound(paths_.begin(), paths_.end(), module.path);
    if (at == paths_.end() || *at != module.path) refuse("the model has no layer of this path");
    if (module.parameter != "weight" || module.is_embedding || module.expert >= 0 || !module.kernel.empty())
      refuse("expected an update of a linear layer's weight, found one of ", in_quotes(module.tensor_name()),
             module.is_embedding ? ", an embedding" : module.expert >= 0 ? ", an expert" : "");
    const AnyLinear<Compute>& layer = model_[module.path];
    try {
      const EitherUpdate update = sized(module.update, layer.rows(), layer.cols(), 1);
      updates_[static_cast<std::size_t>(at - paths_.begin())].emplace_back(update_in<Compute>(update), coefficient);
    } catch (const Error& error) {
      refuse(bare(error));
    }
  }

  /// A load is a task of an executor, and whoever waits for it may hold a pass: it neither uses the executor nor waits for a change
  /// of the weights.
  ActiveSet<Compute> with_gains(const ActiveSet<Compute>& set, const std::string& path) const {
    const auto pass = model_.try_pass();
    if (!pass)
      throw StateError(lora::detail::text("lora: AdapterStore: layer ", in_quotes(path), ": the adapter's gains come from W0 (DoRA), "
                                          "and the model's weights are being changed: load it again afterwards"));
    DefaultExecutor serial(1);
    return model_[path].for_weight(set, {&serial, nullptr});
  }

  const LayerGroup<Compute>& model_;
  const std::vector<std::string>& paths_;
  std::vector<std::vector<ActiveUpdate<Compute>>> updates_;  // by layer
};

/// Bytes of memory that a set holds: its updates' tensors, and its form.
template <class Compute>
std::size_t bytes_of(const ActiveSet<Compute>& set) {
  if (set.empty()) return 0;
  std::size_t bytes = 0;
  for (const ActiveUpdate<Compute>& active : set.updates())
    for (const UpdateTensor& tensor : active.update->tensors())
      bytes += static_cast<std::size_t>(tensor.view.rows * tensor.view.cols) * lora::detail::element_size(tensor.view.type);
  return bytes + set.form().bytes();
}

}  // namespace detail

template <class Compute>
AdapterStore<Compute>::AdapterStore(const LayerGroup<Compute>& model, std::size_t budget, Executor* executor)
    : model_(model), budget_(budget), executor_(executor), owned_names_(std::make_unique<const Names>()) {
  for (const auto& [path, layer] : model_) paths_.push_back(path);
  names_.store(owned_names_.get());
  DefaultExecutor own;
  jobs_.reserve(static_cast<std::size_t>(lora::detail::concurrency_of(executor_ != nullptr ? *executor_ : own)));
  loader_ = std::thread([this] { load_in_background(); });
}

template <class Compute>
AdapterStore<Compute>::~AdapterStore() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  wakes_loader_.notify_all();
  loader_.join();
}

template <class Compute>
std::size_t AdapterStore<Compute>::layer(std::string_view path) const {
  const auto at = std::lower_bound(paths_.begin(), paths_.end(), path);
  if (at == paths_.end() || *at != path)
    throw ValueError(lora::detail::text("lora: AdapterStore: the model has no layer ", detail::in_quotes(path)));
  return static_cast<std::size_t>(at - paths_.begin());
}

// ---- names -----------------------------------------------------------------------------------------------------------------

template <class Compute>
void AdapterStore<Compute>::attach(const std::string& name, std::vector<AdapterFile> files) {
  std::vector<std::pair<std::string, std::vector<AdapterFile>>> one;
  one.emplace_back(name, std::move(files));
  attach(std::move(one));
}

template <class Compute>
void AdapterStore<Compute>::attach(std::vector<std::pair<std::string, std::vector<AdapterFile>>> adapters) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_unique<Names>(*owned_names_);
  for (auto& [name, files] : adapters) {
    expect_files(name, files);
    const auto entry = std::make_shared<Entry>(name, std::move(files));
    if (!next->emplace(entry->name, entry).second)
      throw ValueError(lora::detail::text("lora: AdapterStore: expected a name that is free, found ", detail::in_quotes(name)));
  }
  publish(std::move(next));
}

template <class Compute>
void AdapterStore<Compute>::detach(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const Shared entry = expect_entry(name);
  auto next = std::make_unique<Names>(*owned_names_);
  next->erase(name);
  publish(std::move(next));
  leave(*entry);
}

template <class Compute>
void AdapterStore<Compute>::switch_to(const std::string& name, std::vector<AdapterFile> files) {
  expect_files(name, files);
  {
    const std::lock_guard lock(mutex_);
    expect_entry(name);
  }
  Pin loaded = load(name, files);
  const std::lock_guard lock(mutex_);
  const Pin pin = std::move(loaded);  // goes away, when it has no place, before the lock does
  arriving_ -= pin->bytes();
  const Shared before = expect_entry(name);
  // An entry of its own: a load of the old files that is running finds itself detached.
  const auto entry = std::make_shared<Entry>(name, std::move(files));
  auto next = std::make_unique<Names>(*owned_names_);
  next->erase(before->name);
  next->emplace(entry->name, entry);
  place(*entry, pin);
  publish(std::move(next));
  leave(*before);
}

/// Of an entry that no name leads to any more, since publish(): no reader can find it.
template <class Compute>
void AdapterStore<Compute>::leave(Entry& entry) {
  entry.is_attached = false;
  entry.resident.store(nullptr);
  entry.pin.reset();
  load_ended_.notify_all();
}

template <class Compute>
std::vector<std::string> AdapterStore<Compute>::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [name, entry] : *owned_names_) out.push_back(entry->name);
  return out;
}

template <class Compute>
void AdapterStore<Compute>::refuse_unknown(std::string_view name) {
  throw ValueError(lora::detail::text("lora: AdapterStore: no adapter ", detail::in_quotes(name), " is attached"));
}

template <class Compute>
void AdapterStore<Compute>::expect_files(std::string_view name, const std::vector<AdapterFile>& files) {
  if (files.empty())
    throw ValueError(lora::detail::text("lora: AdapterStore: ", detail::in_quotes(name), ": expected an adapter's file, found none"));
  for (const AdapterFile& file : files)
    if (!std::isfinite(file.coefficient))
      throw ValueError(lora::detail::text("lora: AdapterStore: ", detail::in_quotes(name),
                                          ": expected a finite coefficient, found ", file.coefficient));
}

template <class Compute>
auto AdapterStore<Compute>::expect_entry(std::string_view name) const -> Shared {
  const auto at = owned_names_->find(name);
  if (at == owned_names_->end()) refuse_unknown(name);
  return at->second;
}

template <class Compute>
void AdapterStore<Compute>::publish(std::unique_ptr<const Names> names) {
  names_.store(names.get());
  sections_.wait_for_readers();
  owned_names_ = std::move(names);
}

// ---- adapters in memory ------------------------------------------------------------------------------------------------------

template <class Compute>
auto AdapterStore<Compute>::resident(std::string_view name) const -> Pin {
  const auto section = sections_.enter();
  const Names& names = *names_.load();
  const auto at = names.find(name);
  if (at == names.end()) refuse_unknown(name);
  const StoredAdapter<Compute>* const adapter = at->second->resident.load();
  if (adapter == nullptr) return nullptr;
  at->second->last_use.store(std::chrono::steady_clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  hits_.fetch_add(1, std::memory_order_relaxed);
  return adapter->shared_from_this();
}

template <class Compute>
auto AdapterStore<Compute>::find(std::string_view name) -> Pin {
  if (Pin pin = resident(name)) return pin;
  misses_.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  const Shared entry = expect_entry(name);
  if (entry->pin != nullptr) return entry->pin;
  if (entry->error != nullptr) std::rethrow_exception(std::exchange(entry->error, nullptr));
  request(entry);
  return nullptr;
}

template <class Compute>
auto AdapterStore<Compute>::get(std::string_view name) -> Pin {
  if (Pin pin = resident(name)) return pin;
  misses_.fetch_add(1, std::memory_order_relaxed);
  std::unique_lock lock(mutex_);
  Shared entry = expect_entry(name);
  // A load that is on its way may have failed by what has been mended before this call.
  const auto not_its_own = [&] { return entry->attempts + std::uint64_t{entry->is_loading}; };
  std::uint64_t before = not_its_own();
  while (entry->pin == nullptr) {
    if (entry->attempts > before && entry->error != nullptr) std::rethrow_exception(entry->error);
    request(entry);
    load_ended_.wait(lock);
    if (const Shared now = expect_entry(name); now != entry) {  // it was switched
      entry = now;
      before = not_its_own();
    }
  }
  return entry->pin;
}

template <class Compute>
void AdapterStore<Compute>::prefetch(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const Shared entry = expect_entry(name);
  if (entry->pin == nullptr) request(entry);
}

template <class Compute>
AdapterStoreStatistics AdapterStore<Compute>::statistics() const {
  const std::lock_guard lock(mutex_);
  AdapterStoreStatistics out{hits_.load(), misses_.load(), loads_.load(), failures_.load(), evictions_, 0, live_->load()};
  for (const auto& [name, entry] : *owned_names_)
    if (entry->pin != nullptr) ++out.resident;
  return out;
}

/// Puts an adapter under its name, the least recently used ones out of the way. Throws when there is no room.
template <class Compute>
void AdapterStore<Compute>::place(Entry& entry, Pin pin) {
  make_room(pin->bytes(), entry.name);
  entry.last_use.store(std::chrono::steady_clock::now().time_since_epoch().count(), std::memory_order_relaxed);
  entry.pin = std::move(pin);
  entry.resident.store(entry.pin.get());
}

/// Until the adapters alive, among which the one of `bytes` is already, are within the budget. Adapters that somebody holds stay.
template <class Compute>
void AdapterStore<Compute>::make_room(std::size_t bytes, std::string_view for_name) {
  const auto refuse = [&](const auto& Error, const auto&... pieces) {
    throw Error(lora::detail::text("lora: AdapterStore: adapter ", detail::in_quotes(for_name), ": ", pieces...));
  };
  if (bytes > budget_)
    refuse([](const std::string& what) { return ValueError(what); }, "expected at most the budget, ", budget_, " bytes, found ", bytes);
  while (true) {
    const std::size_t alive = live_->load() - arriving_;
    if (alive <= budget_) return;
    struct Idle {
      std::int64_t last_use;  // as it was: readers write it while this sorts
      Entry* entry;
    };
    std::vector<Idle> idle;
    for (const auto& [name, entry] : *owned_names_)
      if (entry->pin != nullptr && entry->pin.use_count() == 1)
        idle.push_back({entry->last_use.load(std::memory_order_relaxed), entry.get()});
    std::sort(idle.begin(), idle.end(), [](const Idle& a, const Idle& b) { return a.last_use < b.last_use; });
    std::size_t going = 0, count = 0;
    while (count < idle.size() && alive - going > budget_) going += idle[count++].entry->pin->bytes();
    if (alive - going > budget_)
      refuse([](const std::string& what) { return StateError(what); }, "expected room for ", bytes, " bytes in a budget of ",
             budget_, ", found ", alive - going - bytes, " bytes in adapters that are in use");
    idle.resize(count);
    for (const Idle& leaves : idle) leaves.entry->resident.store(nullptr);
    sections_.wait_for_readers();
    for (const auto& [last_use, entry] : idle) {
      if (entry->pin.use_count() > 1) {  // a reader was faster
        entry->resident.store(entry->pin.get());
        continue;
      }
      entry->pin.reset();
      ++evictions_;
    }
  }
}

// ---- loading -----------------------------------------------------------------------------------------------------------------

template <class Compute>
void AdapterStore<Compute>::request(const Shared& entry) {
  if (entry->is_loading) return;
  queue_.push_back(entry);
  entry->is_loading = true;
  wakes_loader_.notify_one();
}

template <class Compute>
auto AdapterStore<Compute>::load(const std::string& name, const std::vector<AdapterFile>& files) const -> Pin {
  try {
    detail::SetsOfLayers<Compute> sets(model_, paths_);
    for (const AdapterFile& file : files) sets.add(load_adapter(file.path), file.coefficient);
    std::vector<ActiveSet<Compute>> taken = sets.take();
    std::size_t bytes = 0;
    for (const ActiveSet<Compute>& set : taken) bytes += detail::bytes_of(set);
    const std::lock_guard lock(mutex_);  // so that make_room() sees both numbers grow
    Pin pin = std::make_shared<const StoredAdapter<Compute>>(name, std::move(taken), bytes, live_);
    arriving_ += bytes;
    loads_.fetch_add(1, std::memory_order_relaxed);
    return pin;
  } catch (...) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    throw;
  }
}

template <class Compute>
void AdapterStore<Compute>::load_in_background() {
  DefaultExecutor own;
  Executor& executor = executor_ != nullptr ? *executor_ : own;
  std::vector<Job>& jobs = jobs_;
  const std::size_t most_jobs = std::min(jobs.capacity(), std::size_t{lora::detail::most_tasks_at_once});
  std::unique_lock lock(mutex_);
  while (true) {
    wakes_loader_.wait(lock, [&] { return is_ending_ || !queue_.empty(); });
    if (is_ending_) return;
    for (; jobs.size() < most_jobs && !queue_.empty(); queue_.pop_front())
      jobs.push_back({queue_.front(), nullptr, nullptr});
    lock.unlock();
    const auto load_one = [&](int i) {
      Job& job = jobs[static_cast<std::size_t>(i)];
      try {
        job.pin = load(job.entry->name, job.entry->files);
      } catch (...) {
        job.error = std::current_exception();
      }
    };
    try {
      lora::detail::run_each_once(executor, static_cast<int>(jobs.size()), load_one);
    } catch (...) {
      for (Job& job : jobs)
        if (job.pin == nullptr && job.error == nullptr) job.error = std::current_exception();
    }
    lock.lock();
    for (Job& job : jobs) {
      Entry& entry = *job.entry;
      try {
        if (job.pin != nullptr) arriving_ -= job.pin->bytes();
        if (!entry.is_attached) job.pin.reset();
        if (job.pin != nullptr) place(entry, std::move(job.pin));
      } catch (...) {
        job.error = std::current_exception();
      }
      entry.error = job.error;
      entry.is_loading = false;
      ++entry.attempts;
    }
    jobs.clear();
    load_ended_.notify_all();
  }
}

}  // namespace io
LORA_NAMESPACE_END
