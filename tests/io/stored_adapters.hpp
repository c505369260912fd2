// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the tests of the adapter store share: a model of three layers, and adapters for it on disk that differ by a number.

#include "io/files.hpp"
#include "reference/random.hpp"

#include <lora/io/peft/save_adapter.hpp>
#include <lora/io/store/adapter_store.hpp>

namespace test {

using Group = lora::LayerGroup<float>;
using Store = lora::io::AdapterStore<float>;

inline const std::vector<std::string> layer_paths = {"block.0.query", "block.0.value", "block.1.query"};
inline constexpr lora::Index layer_rows = 24, layer_cols = 16;

/// With weights in three storage types.
inline Group make_model() {
  reference::Random random(41);
  Group model;
  model.add(layer_paths[0], lora::Linear<float>(reference::gaussian<float>(random, layer_rows, layer_cols)));
  model.add(layer_paths[1],
            lora::Linear<Eigen::bfloat16>(reference::gaussian<Eigen::bfloat16>(random, layer_rows, layer_cols)));
  model.add(layer_paths[2], lora::Linear<Eigen::half>(reference::gaussian<Eigen::half>(random, layer_rows, layer_cols)));
  return model;
}

/// Factors of half in which every element of B is `number`, exact up to 2048.
inline lora::LowRank<Eigen::half> numbered(int number, lora::Index rank = 2) {
  reference::Random random(static_cast<std::uint64_t>(number));
  lora::Matrix<Eigen::half> B(layer_rows, rank);
  B.fill(Eigen::half(static_cast<float>(number)));
  return {B, reference::gaussian<Eigen::half>(random, rank, layer_cols), lora::scaling::fixed(1)};
}

/// Saves an adapter with such factors for the layers given.
inline fs::path save_numbered(const fs::path& folder, int number, const std::vector<std::string>& paths = layer_paths,
                              lora::Index rank = 2) {
  lora::io::Adapter adapter{folder.filename().string(), folder, {}};
  for (const std::string& path : paths) adapter.modules.push_back({path, numbered(number, rank), false});
  lora::io::save_adapter(adapter, folder);
  return folder;
}

/// The number that a set was made of, -1 for an empty one.
inline int number_of(const lora::ActiveSet<float>& set) {
  return set.empty() ? -1 : static_cast<int>(set.form().B(0, 0));
}

/// Of all layers, which have to be of one adapter.
inline int number_of(const lora::io::AdapterPin<float>& pin) {
  const int number = number_of(pin->set(0));
  for (const lora::ActiveSet<float>& set : pin->sets())
    if (number_of(set) != number) return -2;
  return number;
}

/// Of memory that an adapter takes.
inline std::size_t bytes_of(const Group& model, const std::vector<lora::io::AdapterFile>& files) {
  Store store(model, 1 << 20);
  store.attach("one", files);
  return store.get("one")->bytes();
}

}  // namespace test
