// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/model.hpp"
#include "lora/io/peft/adapter.hpp"

#include <utility>

LORA_NAMESPACE_BEGIN
namespace io {

/// A module of an adapter and the tensor of a model that it changes. Points into both. The first two are what
/// `for (auto& [tensor, update] : bind(model, adapter))` binds.
class BoundModule {
 public:
  BoundModule(const ModelTensor& tensor, const AdapterModule& module, StorageOrder order)
      : tensor_(&tensor), module_(&module), order_(order) {}

  const ModelTensor& tensor() const { return *tensor_; }
  const AdapterUpdate& update() const { return module_->update; }

  /// The module as the adapter has it: its path, and what its configuration says.
  const AdapterModule& module() const { return *module_; }

  /// column_major: the tensor is stored (in, out) and gets the transposed delta.
  StorageOrder order() const { return order_; }

  /// The type of the weight, and its out and in, whatever its order.
  ScalarType type() const { return *scalar_type(tensor_->info->dtype); }
  Index rows() const { return module_->rows(); }
  Index cols() const { return module_->cols(); }

 private:
  const ModelTensor* tensor_;
  const AdapterModule* module_;
  StorageOrder order_;
};

/// `get<0>` and `get<1>` of a structured binding: the tensor and the update.
template <std::size_t I>
const auto& get(const BoundModule& bound) {
  if constexpr (I == 0)
    return bound.tensor();
  else
    return bound.update();
}

/// Which tensor each module of an adapter means, in the order of the modules.
///
/// A module M changes the tensor `M.weight`. When the model has none of them under these names but all of them under one common
/// prefix, and each only once (an adapter of `encoder.layer.0.query`, a file with `bert.encoder.layer.0.query.weight`), these
/// are taken; likewise when it has all of them without the first parts that the modules share (`transformer.h.0.attn.c_attn`,
/// `h.0.attn.c_attn.weight`). The shape tells whether a weight is stored transposed; of a square one fan_in_fan_out does.
///
/// Throws FileError, naming the module and what is missing: no such tensor or several, one that is no matrix of F16, BF16, F32
/// or F64 or does not fit, a square weight whose fan_in_fan_out another module's shape contradicts, an output layer that the
/// model's config.json ties to its embeddings (what is merged into it would never be read). Where a config.json cannot be read
/// `warnings`, unless null, gets a sentence about it.
std::vector<BoundModule> bind(const Model& model, const Adapter& adapter, std::vector<std::string>* warnings = nullptr);

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

#if LORA_HEADER_ONLY
#include "lora/io/model/bind-inl.hpp"
#endif
