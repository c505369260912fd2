// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/routes.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {

/// What an AdapterStore gives out for a name: the active sets of all layers of a model, in the store's order of layers. It never
/// changes, so a pass that uses one sees the same adapter in every layer.
template <class Compute>
class StoredAdapter : public std::enable_shared_from_this<StoredAdapter<Compute>> {
 public:
  /// `live` counts the bytes of all that are alive. Throws nothing.
  StoredAdapter(std::string name, std::vector<ActiveSet<Compute>> sets, std::size_t bytes,
                std::shared_ptr<std::atomic<std::size_t>> live)
      : name_(std::move(name)), sets_(std::move(sets)), bytes_(bytes), live_(std::move(live)) {
    live_->fetch_add(bytes_);
  }
  StoredAdapter(const StoredAdapter&) = delete;
  StoredAdapter& operator=(const StoredAdapter&) = delete;
  ~StoredAdapter() { live_->fetch_sub(bytes_); }

  /// The name that it has in the store.
  const std::string& name() const { return name_; }

  /// The set of a layer by its number (AdapterStore::layer); empty where the adapter has nothing for it. Throws ValueError when there
  /// is no such layer.
  const ActiveSet<Compute>& set(std::size_t layer) const {
    if (layer >= sets_.size())
      throw ValueError(lora::detail::text("lora: StoredAdapter: expected a layer below ", sets_.size(), ", found ", layer));
    return sets_[layer];
  }
  /// The sets of all layers, by their numbers.
  std::span<const ActiveSet<Compute>> sets() const { return sets_; }

  /// Of memory.
  std::size_t bytes() const { return bytes_; }

 private:
  std::string name_;
  std::vector<ActiveSet<Compute>> sets_;
  std::size_t bytes_;
  std::shared_ptr<std::atomic<std::size_t>> live_;
};

/// A reason to keep a StoredAdapter: who holds one has the adapter, whatever the store does meanwhile.
template <class Compute>
using AdapterPin = std::shared_ptr<const StoredAdapter<Compute>>;

/// The requests of one model step, each with an adapter and some columns of X one after another: their routes, and the sets of every
/// layer.
///
///     step.assign(pins, tokens);                                  // request i: pins[i], tokens[i] columns
///     layer.forward_into(X, Y, step.layer(number), context);      // every layer of the model
///
/// It holds the pins until the next assign().
template <class Compute>
class AdapterBatch {
 public:
  /// A null pin is the base model. Throws ShapeError unless there is a number of columns for every pin, ValueError for a negative
  /// one and for pins of stores with different layers. Allocates only for more than there has been.
  void assign(std::span<const AdapterPin<Compute>> pins, std::span<const Index> columns) {
    if (pins.size() != columns.size())
      throw ShapeError(lora::detail::text("lora: AdapterBatch: expected a number of columns for each of ", pins.size(),
                                          " requests, found ", columns.size()));
    for (std::size_t i = 0; i < pins.size(); ++i)
      if (columns[i] < 0)
        throw ValueError(lora::detail::text("lora: AdapterBatch: request ", i, ": expected a number of columns, found ", columns[i]));
    const std::size_t layers = layers_of(pins);
    pins_.clear();
    of_column_.clear();
    for (std::size_t i = 0; i < pins.size(); ++i)
      of_column_.insert(of_column_.end(), static_cast<std::size_t>(columns[i]), number_of(pins[i]));
    if (layers > sets_.size()) sets_.resize(layers);
    for (auto& sets : sets_) sets.clear();
    for (std::size_t layer = 0; layer < layers; ++layer)
      for (const AdapterPin<Compute>& pin : pins_) sets_[layer].push_back(pin->set(layer));
    routes_.assign(of_column_);
  }

  /// For all layers.
  const Routes& routes() const { return routes_; }

  /// For forward_into of the layer of this number. Without adapters there are no layers, and none has sets.
  RoutedSets<Compute> layer(std::size_t number) const {
    return {routes_, number < sets_.size() ? std::span<const ActiveSet<Compute>>(sets_[number]) : std::span<const ActiveSet<Compute>>()};
  }

 private:
  static std::size_t layers_of(std::span<const AdapterPin<Compute>> pins) {
    const AdapterPin<Compute>* first = nullptr;
    for (const AdapterPin<Compute>& pin : pins) {
      if (pin == nullptr) continue;
      if (first == nullptr) first = &pin;
      if (pin->sets().size() != (*first)->sets().size())
        throw ValueError(lora::detail::text("lora: AdapterBatch: expected adapters of one store, found \"", (*first)->name(), "\" of ",
                                            (*first)->sets().size(), " layers and \"", pin->name(), "\" of ", pin->sets().size()));
    }
    return first == nullptr ? 0 : (*first)->sets().size();
  }

  Index number_of(const AdapterPin<Compute>& pin) {
    if (pin == nullptr) return Routes::base;
    auto at = std::find(pins_.begin(), pins_.end(), pin);
    if (at == pins_.end()) at = pins_.insert(at, pin);
    return at - pins_.begin();
  }

  std::vector<AdapterPin<Compute>> pins_;  // each once
  std::vector<Index> of_column_;
  std::vector<std::vector<ActiveSet<Compute>>> sets_;  // by layer, in the order of pins_
  Routes routes_;
};

}  // namespace io
LORA_NAMESPACE_END
