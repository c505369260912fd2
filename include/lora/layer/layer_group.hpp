// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/any_linear.hpp"
#include "lora/layer/pass_gate.hpp"

#include <algorithm>
#include <functional>
#include <map>

LORA_NAMESPACE_BEGIN

/// The layers of a model by their paths, which take an adapter by name, merge and switch together.
///
///     lora::LayerGroup<float> model;
///     model.add("encoder.0.query", lora::Linear<Eigen::bfloat16>::view(W));
///     model.attach("science", {{"encoder.0.query", update}});
///     model.activate({{"science", 1.0}});
///     model.merge();
///
/// A layer that an adapter has no update for goes without. Calls that change layers are all or nothing: when one throws, the
/// layers before it are taken back, which needs the memory that the call itself needs; the error names the layer. Can
/// be moved, not copied; what has been moved from can only be assigned to or destroyed.
///
/// One thread at a time changes the group. Threads that run forward passes meanwhile hold a pass():
///
///     const auto pass = model.pass();
///     model["encoder.0.query"].forward_into(X, Y);
///
/// What changes weights or the active set (activate, merge, unmerge, resume, release) waits until the passes that run have ended, and
/// later ones wait for it. attach() and detach() wait for nobody. Layers are added and changed one by one only while there are no passes.
template <class Compute>
class LayerGroup {
 public:
  /// An update that layers hold together.
  using Shared = std::shared_ptr<const Update<Compute>>;

  /// Throws StateError when there is a layer with this path, or when layers are merged.
  void add(std::string path, AnyLinear<Compute> layer) {
    for (const auto& entry : layers_)
      if (entry.second.merged() || layer.merged())
        throw StateError(detail::text("lora: LayerGroup: the layer \"", path, "\" comes to merged ones; unmerge first"));
    if (layers_.contains(path)) throw StateError(detail::text("lora: LayerGroup: a layer \"", path, "\" is there already"));
    layers_.emplace(std::move(path), std::move(layer));
  }

  /// Throws ValueError when there is none.
  AnyLinear<Compute>& operator[](std::string_view path) { return find(path)->second; }
  const AnyLinear<Compute>& operator[](std::string_view path) const {
    return const_cast<LayerGroup*>(this)->find(path)->second;
  }

  /// Layers in the order of their paths.
  auto begin() { return layers_.begin(); }
  auto end() { return layers_.end(); }
  auto begin() const { return layers_.begin(); }
  auto end() const { return layers_.end(); }
  /// How many layers there are.
  std::size_t size() const { return layers_.size(); }

  /// A pass over the layers, until it is destroyed on this thread. Waits while something changes them, and for nothing else.
  [[nodiscard]] PassGate::Pass pass() const { return gate_->enter(); }

  /// The same, or nothing where it would have to wait.
  [[nodiscard]] std::optional<PassGate::Pass> try_pass() const { return gate_->try_enter(); }

  /// Gives the layers named an adapter's updates, not yet active. Throws ValueError for a path without a layer, and what
  /// Linear::attach throws.
  void attach(const std::string& name, const std::vector<std::pair<std::string, Shared>>& updates) {
    if (std::find(adapters_.begin(), adapters_.end(), name) != adapters_.end())
      throw StateError(detail::text("lora: LayerGroup: an adapter \"", name, "\" is attached already"));
    for (const auto& entry : updates) find(entry.first);
    adapters_.reserve(adapters_.size() + 1);
    all_or_nothing(
        updates, [&](const auto& entry) { find(entry.first)->second.attach(name, entry.second); },
        [&](const auto& entry) { find(entry.first)->second.detach(name); });
    adapters_.push_back(name);
  }

  /// Takes an adapter away. Throws ValueError when there is none of this name, StateError when it is active.
  void detach(const std::string& name) {
    expect_adapter(name);
    for (const ActiveName& entry : active_)
      if (entry.name == name)
        throw StateError(detail::text("lora: LayerGroup: the adapter \"", name, "\" is active; activate another set first"));
    for (const auto& [path, layer] : layers_)
      for (const ActiveName& entry : layer.active())
        if (entry.name == name)
          throw StateError(detail::text("lora: LayerGroup: the adapter \"", name, "\" is active in the layer \"", path, "\""));
    for (auto& [path, layer] : layers_)
      if (layer.is_attached(name)) layer.detach(name);
    std::erase(adapters_, name);
  }

  /// The names of the adapters, in the order they came.
  const std::vector<std::string>& attached() const { return adapters_; }

  /// Makes these the active adapters of all layers; on merged layers that is a switch. Throws what Linear::activate throws.
  void activate(std::span<const ActiveName> active, const Context& context = {}) {
    for (const ActiveName& entry : active) expect_adapter(entry.name);
    std::vector<ActiveName> names(active.begin(), active.end());
    std::map<std::string_view, std::vector<ActiveName>> before;
    for (const auto& [path, layer] : layers_) before.emplace(path, layer.active());
    change(
        [&](auto& entry) { activate(entry.second, names, context); },
        [&](auto& entry) { entry.second.activate(before.find(entry.first)->second, context); });
    active_ = std::move(names);
  }
  void activate(std::initializer_list<ActiveName> active, const Context& context = {}) {
    activate(std::span<const ActiveName>(active.begin(), active.size()), context);
  }
  /// The active adapters, in order.
  const std::vector<ActiveName>& active() const { return active_; }

  /// The sets of a layer for mixed batches (layer/routes.hpp): one for each of these lists of adapters, as activate()
  /// takes them, with factors in their storage type. Made once, for routes that are the lists' numbers:
  ///
  ///     const auto sets = model.sets_of("encoder.0.query", {{}, {{"science", 1.0}}, {{"games", 0.5}, {"science", 0.5}}});
  ///     model["encoder.0.query"].forward_into(X, Y, {lora::Routes{1, 2, 0, 1}, sets}, context);
  ///
  /// Throws ValueError for a path without a layer, and an adapter that is not attached.
  [[nodiscard]] std::vector<ActiveSet<Compute>> sets_of(std::string_view path,
                                                        const std::vector<std::vector<ActiveName>>& lists,
                                                        const Context& context = {}) const {
    const AnyLinear<Compute>& layer = (*this)[path];
    std::vector<ActiveSet<Compute>> sets;
    for (const std::vector<ActiveName>& list : lists) {
      for (const ActiveName& entry : list) expect_adapter(entry.name);
      const ActiveSet<Compute> set = layer.set_of(own_names(layer, list), context);
      std::vector<ActiveUpdate<Compute>> updates(set.updates().begin(), set.updates().end());
      sets.push_back(layer.for_weight(ActiveSet<Compute>::in_storage_type(std::move(updates)), context));
    }
    return sets;
  }

  /// Writes the active adapters into all weights, or takes them out again. Throws StateError when that is so already.
  void merge(const Context& context = {}) {
    change(
        [&](auto& entry) { entry.second.merge(context); }, [&](auto& entry) { entry.second.unmerge(context); });
  }
  void unmerge(const Context& context = {}) {
    change(
        [&](auto& entry) { entry.second.unmerge(context); }, [&](auto& entry) { entry.second.merge(context); });
  }

  /// Gives the memory of all layers back that only a later merge or switch would use: see Linear::shrink_to_fit. Waits for
  /// passes as merge() does.
  void shrink_to_fit() {
    gate_->change([&] {
      for (auto& [path, layer] : layers_) layer.shrink_to_fit();
    });
  }

  /// Whether all layers are merged.
  bool merged() const {
    return !layers_.empty() &&
           std::all_of(layers_.begin(), layers_.end(), [](const auto& entry) { return entry.second.merged(); });
  }

  /// Hands out the undo records of all layers by path, for a restart: see Linear::release. Throws StateError unless all are
  /// merged.
  [[nodiscard("the records are all that gives W0 back")]] std::map<std::string, UndoRecord> release() {
    if (!merged()) throw StateError("lora: LayerGroup::release: expected merged layers");
    std::map<std::string, UndoRecord> records;
    for (auto& [path, layer] : layers_) records.emplace(path, UndoRecord());  // what allocates comes first
    gate_->change([&] {
      for (auto& [path, layer] : layers_) records.find(path)->second = layer.release();
    });
    active_.clear();
    return records;
  }

  /// Says that the weights hold W' of these adapters, which are attached: see Linear::resume. Throws ValueError for a layer
  /// without a record, and what Linear::resume throws.
  void resume(std::span<const ActiveName> active, const std::map<std::string, UndoRecord>& records) {
    for (const ActiveName& entry : active) expect_adapter(entry.name);
    for (const auto& [path, layer] : layers_)
      if (!records.contains(path))
        throw ValueError(detail::text("lora: LayerGroup::resume: no record for the layer \"", path, "\""));
    std::vector<ActiveName> names(active.begin(), active.end());
    change(
        [&](auto& entry) {
          entry.second.resume(own_names(entry.second, names), records.find(entry.first)->second);
        },
        [&](auto& entry) { static_cast<void>(entry.second.release()); });
    active_ = std::move(names);
  }

 private:
  auto find(std::string_view path) {
    const auto found = layers_.find(path);
    if (found == layers_.end()) {
      std::vector<std::string> paths;
      for (const auto& [name, layer] : layers_) paths.push_back(name);
      throw ValueError(detail::text("lora: LayerGroup: no layer \"", path, "\"; layers are: ", listed(paths)));
    }
    return found;
  }
  void expect_adapter(const std::string& name) const {
    if (std::find(adapters_.begin(), adapters_.end(), name) == adapters_.end())
      throw ValueError(
          detail::text("lora: LayerGroup: no adapter \"", name, "\" is attached; attached are: ", listed(adapters_)));
  }
  /// Eight of them at most.
  static std::string listed(const std::vector<std::string>& names) {
    std::string all;
    for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 8); ++i) all += (i == 0 ? "" : ", ") + names[i];
    if (names.size() > 8) all += detail::text(" and ", names.size() - 8, " more");
    return names.empty() ? "none" : all;
  }
  static void activate(AnyLinear<Compute>& layer, const std::vector<ActiveName>& active, const Context& context) {
    const std::vector<ActiveName> own = own_names(layer, active);
    if (own != layer.active()) layer.activate(own, context);
  }
  static std::vector<ActiveName> own_names(const AnyLinear<Compute>& layer, const std::vector<ActiveName>& active) {
    std::vector<ActiveName> own;
    for (const ActiveName& entry : active)
      if (layer.is_attached(entry.name)) own.push_back(entry);
    return own;
  }
  /// While no pass runs.
  template <class Do, class Undo>
  void change(const Do& apply, const Undo& undo) {
    gate_->change([&] { all_or_nothing(layers_, apply, undo); });
  }
  template <class Entries, class Do, class Undo>
  static void all_or_nothing(Entries& entries, const Do& apply, const Undo& undo) {
    auto next = entries.begin();
    try {
      for (; next != entries.end(); ++next) apply(*next);
    } catch (...) {
      for (auto done = entries.begin(); done != next; ++done) undo(*done);
      detail::rethrow_from(detail::text("layer \"", next->first, "\""));
    }
  }

  std::map<std::string, AnyLinear<Compute>, std::less<>> layers_;
  std::vector<std::string> adapters_;
  std::vector<ActiveName> active_;
  std::unique_ptr<PassGate> gate_ = std::make_unique<PassGate>();
};

LORA_NAMESPACE_END
