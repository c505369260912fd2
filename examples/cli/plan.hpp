// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which tensors of a base model get which updates of which adapters.

#include "options.hpp"

#include <memory>
#include <variant>

namespace cli {

/// What one tensor gets from one adapter.
struct Part {
  const ChosenAdapter* chosen;
  const lora::io::AdapterModule* module;
};

/// One tensor that is to be merged.
struct Target {
  const lora::io::ModelTensor* tensor;
  std::string module;  ///< the path of the module, as in the adapter
  lora::ScalarType type;
  lora::Index rows, cols;  ///< out and in
  lora::StorageOrder order;
  std::vector<Part> parts;  ///< in the order of the adapters

  lora::Index rank() const;  ///< the sum of the ranks
};

/// The tensors of `base` that the adapters change, in the order of its tensors. Throws FileError, naming the module, when
/// a module has no weight in the base, or one that cannot be merged.
std::vector<Target> plan_merge(const lora::io::Model& base, const std::vector<ChosenAdapter>& adapters);

/// The targets as an undo file describes them.
std::vector<lora::io::UndoTensor> undo_tensors(const std::vector<Target>& targets);

/// Updates in the compute type and their weights. Those of adapters are used where they lie, unless they have another
/// type: factors of 64 bits are rounded once where the weight computes in float.
template <class Compute>
class UpdateSet {
 public:
  explicit UpdateSet(const std::vector<Part>& parts) {
    for (const Part& part : parts)
      std::visit([&](const auto& update) { add(update, part.chosen->weight); }, part.module->update);
  }
  UpdateSet(const lora::io::UndoFile& file, const lora::io::UndoTensor& tensor) {
    std::vector<lora::LowRank<Compute>> updates = file.updates<Compute>(tensor);
    for (std::size_t i = 0; i < updates.size(); ++i) keep(std::move(updates[i]), tensor.updates[i].weight);
  }

  lora::ActiveSet<Compute> set() const { return set_; }

 private:
  template <class Scalar>
  void add(const lora::LowRank<Scalar>& update, double weight) {
    if constexpr (std::is_same_v<Scalar, Compute>)
      set_.push_back({&update, weight});
    else
      keep(update.template cast<Compute>(), weight);
  }
  void keep(lora::LowRank<Compute> update, double weight) {
    kept_.push_back(std::make_unique<const lora::LowRank<Compute>>(std::move(update)));
    set_.push_back({kept_.back().get(), weight});
  }

  std::vector<std::unique_ptr<const lora::LowRank<Compute>>> kept_;
  std::vector<lora::Weighted<Compute>> set_;
};

/// Calls run.template operator()<T>() for the type of a weight.
template <class Run>
auto with_type(lora::ScalarType type, const Run& run) {
  switch (type) {
    case lora::ScalarType::half: return run.template operator()<Eigen::half>();
    case lora::ScalarType::bfloat16: return run.template operator()<Eigen::bfloat16>();
    case lora::ScalarType::float32: return run.template operator()<float>();
    case lora::ScalarType::float64: break;
  }
  return run.template operator()<double>();
}

/// Calls run(weight) with the bytes of a tensor as the rows x cols weight they are: an Eigen::Map of T in their order.
template <class T, class Run>
auto with_weight(std::span<std::byte> bytes, lora::Index rows, lora::Index cols, lora::StorageOrder order,
                 const Run& run) {
  T* const data = reinterpret_cast<T*>(bytes.data());
  if (order == lora::row_major) return run(Eigen::Map<lora::Matrix<T, lora::row_major>>(data, rows, cols));
  return run(Eigen::Map<lora::Matrix<T, lora::column_major>>(data, rows, cols));
}

}  // namespace cli
