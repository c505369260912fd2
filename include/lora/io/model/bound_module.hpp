// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/model.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/update/active_set.hpp"

#include <memory>
#include <utility>

LORA_NAMESPACE_BEGIN
namespace io {

/// A module of an adapter and the weight of a model that it changes: a tensor, or one of the matrices (experts) of a tensor of
/// three dimensions. Points into both, but for module() where is_laid_out(). The first two are what
/// `for (auto& [tensor, update] : bind(model, adapter))` binds.
class BoundModule {
 public:
  /// `update` is the module's for a weight of rows x cols; `owner` holds the module where the adapter does not.
  BoundModule(const ModelTensor& tensor, const AdapterModule& module, AdapterUpdate update, StorageOrder order,
              std::shared_ptr<const Adapter> owner = nullptr)
      : tensor_(&tensor), module_(&module), update_(std::move(update)), order_(order), owner_(std::move(owner)) {}

  /// The tensor that is changed, and the update for it.
  const ModelTensor& tensor() const { return *tensor_; }
  const AdapterUpdate& update() const { return update_; }

  /// The update as a set for a weight that computes in `Compute`, as merge_model() makes it: of an update that computes in
  /// double for a weight that computes in float the factors are rounded once. Throws FileError, naming the module: an update
  /// of a class of its own that computes in the other type, factors that overflow in float, a coefficient that ActiveSet
  /// refuses.
  template <class Compute>
  [[nodiscard]] ActiveSet<Compute> set(double coefficient = 1.0) const;

  /// The module as the adapter has it: its path, and what its configuration says.
  const AdapterModule& module() const { return *module_; }

  /// Whether module() is not the adapter's own, but made of its modules for a base that stores experts otherwise: in a layer for
  /// each, or all in one parameter. Copies of this share it.
  bool is_laid_out() const { return owner_ != nullptr; }
  const std::shared_ptr<const Adapter>& owner() const { return owner_; }

  /// column_major: the weight is stored (in, out) and gets the transposed delta.
  StorageOrder order() const { return order_; }

  /// Which matrix of the tensor it is, -1 for the whole of it.
  Index expert() const { return tensor_->info->shape.size() == 3 ? module_->expert : -1; }

  /// The type of the weight, and its out and in, whatever its order. A convolution's (out, in, kernel...) is out x (in * the
  /// kernel's size), a bias is out x 1.
  ScalarType type() const { return *scalar_type(tensor_->info->dtype); }
  Index rows() const { return update_.rows(); }
  Index cols() const { return update_.cols(); }

 private:
  const ModelTensor* tensor_;
  const AdapterModule* module_;
  AdapterUpdate update_;
  StorageOrder order_;
  std::shared_ptr<const Adapter> owner_;
};

/// A tensor of a model that an adapter puts another in the place of, or some rows of one; one that it makes longer, since its
/// vocabulary grew; or one that the model does not have. Points into both.
struct Replacement {
  const ModelTensor* tensor;  ///< null: the model gets a new one
  const BaseCopy* copy;       ///< what was trained; null where rows are only added

  /// A whole tensor whose rows beyond those of the model's are added to it first; null: none are, or `copy` brings them.
  const BaseCopy* added_rows = nullptr;

  std::string name = {};                  ///< the tensor's, in the model
  std::vector<std::uint64_t> shape = {};  ///< the tensor's, afterwards
};

/// `get<0>` and `get<1>` of a structured binding: the tensor and the update.
template <std::size_t I>
const auto& get(const BoundModule& bound) {
  if constexpr (I == 0)
    return bound.tensor();
  else
    return bound.update();
}

}  // namespace io
LORA_NAMESPACE_END

template <>
struct std::tuple_size<lora::io::BoundModule> : std::integral_constant<std::size_t, 2> {};
template <>
struct std::tuple_element<0, lora::io::BoundModule> {
  using type = const lora::io::ModelTensor&;
};
template <>
struct std::tuple_element<1, lora::io::BoundModule> {
  using type = const lora::io::AdapterUpdate&;
};
