// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which tensors of a base file get which updates of which adapters.

#include <lora/io.hpp>

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace cli {

namespace fs = std::filesystem;

/// An adapter as the user asked for it, loaded.
struct ChosenAdapter {
  lora::io::Adapter adapter;
  double weight = 1.0;
};

/// The options --adapter DIR[=WEIGHT], repeated, and --base FILE, which several commands share.
struct AdapterOptions {
  fs::path base;
  std::vector<std::string> adapters;

  void add_to(CLI::App& command);

  /// Reads the adapters, in order. Throws UsageError for a weight that is not finite, FileError.
  std::vector<ChosenAdapter> load() const;
};

/// The help text about names that these commands share.
extern const char* const name_rules;

/// What one tensor gets from one adapter.
struct Part {
  const ChosenAdapter* chosen;
  const lora::io::AdapterModule* module;
};

/// One tensor that is to be merged.
struct Target {
  const lora::io::TensorInfo* tensor;
  std::string module;  ///< the path of the module, as in the adapter
  lora::ScalarType type;
  lora::Index rows, cols;  ///< out and in
  lora::StorageOrder order;
  std::vector<Part> parts;  ///< in the order of the adapters

  lora::Index rank() const;  ///< the sum of the ranks
};

/// The tensors of `base` that the adapters change, in the order of their data. Throws FileError, naming the
/// module, when a module has no weight in the base, or one that cannot be merged.
std::vector<Target> plan_merge(const lora::io::Safetensors& base, const std::vector<ChosenAdapter>& adapters);

/// The updates of a target in the compute type: factors of 64 bits are rounded once where the weight computes in float.
template <class Compute>
struct Updates {
  std::vector<lora::LowRank<Compute>> updates;
  std::vector<lora::Weighted<Compute>> set;

  Updates() = default;
  explicit Updates(const Target& target) {
    for (const Part& part : target.parts)
      updates.push_back(
          std::visit([](const auto& update) { return update.template cast<Compute>(); }, part.module->update));
    for (std::size_t i = 0; i < updates.size(); ++i) set.push_back({&updates[i], target.parts[i].chosen->weight});
  }
};

/// Calls run.template operator()<T, Order>() for a weight's type and order.
template <class Run>
void with_weight(lora::ScalarType type, lora::StorageOrder order, const Run& run) {
  const auto with_type = [&]<class T>() {
    if (order == lora::row_major)
      run.template operator()<T, lora::row_major>();
    else
      run.template operator()<T, lora::column_major>();
  };
  switch (type) {
    case lora::ScalarType::half: return with_type.template operator()<Eigen::half>();
    case lora::ScalarType::bfloat16: return with_type.template operator()<Eigen::bfloat16>();
    case lora::ScalarType::float32: return with_type.template operator()<float>();
    case lora::ScalarType::float64: return with_type.template operator()<double>();
  }
}

/// The bytes of a matrix.
template <class Matrix>
auto bytes_of(Matrix& matrix) {
  const std::span elements(matrix.data(), static_cast<std::size_t>(matrix.size()));
  if constexpr (std::is_const_v<std::remove_pointer_t<decltype(matrix.data())>>)
    return std::as_bytes(elements);
  else
    return std::as_writable_bytes(elements);
}

}  // namespace cli
