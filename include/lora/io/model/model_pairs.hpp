// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tensors of two models, and how an adapter could say what they differ in. For bodies (-inl.hpp).

#include "lora/io/model/base_names.hpp"
#include "lora/io/model/conv1d.hpp"
#include "lora/io/model/tied_head.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A tensor of the base, of the tuned model, or of both.
struct ModelPair {
  const ModelTensor *base = nullptr, *tuned = nullptr;
  std::string name;    // without wrappers
  std::string reason;  // why it has no factors; empty for those that may have
  bool is_embedding = false, is_conv1d = false;

  std::string module() const { return name.substr(0, name.rfind('.')); }
  const TensorInfo& info() const { return base != nullptr ? *base->info : *tuned->info; }
  bool is_same_shape() const { return base != nullptr && tuned != nullptr && base->info->shape == tuned->info->shape; }
  bool is_readable() const {
    return is_same_shape() && scalar_type(base->info->dtype).has_value() && scalar_type(tuned->info->dtype).has_value();
  }

  /// The weight as the base stores it, all axes but the first as one.
  Index rows() const { return static_cast<Index>(info().shape[0]); }
  Index cols() const {
    Index out = 1;
    for (std::size_t k = 1; k < info().shape.size(); ++k) out *= static_cast<Index>(info().shape[k]);
    return out;
  }
};

/// Whether a module with a weight of two dimensions is an embedding, by the names that transformers gives them.
inline bool is_lookup_table(std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);  // npos + 1 is 0
  return is_embedding(module) || last == "wpe" || last == "relative_attention_bias" || last.ends_with("embedding") ||
         last.ends_with("embeddings") || (last.starts_with("embed_") && !is_head(module));
}

/// All tensors of two models, in the order of the base, those of the tuned model alone behind them. Left out are output
/// layers that go with the embeddings: what is said of them stands in `warnings`.
class ModelPairs {
 public:
  ModelPairs(const Model& base, const Model& tuned, std::vector<std::string>& warnings)
      : base_(base), tuned_(tuned), layers_(base), is_tied_(is_head_tied(base)) {
    const auto names_of = [](const Model& model) {
      std::vector<std::string_view> out;
      for (const ModelTensor& tensor : model.tensors()) out.push_back(tensor.info->name);
      return BaseNames(std::move(out));
    };
    const BaseNames tuned_names = names_of(tuned), base_names = names_of(base);
    for (std::size_t i = 0; i < base.tensors().size(); ++i) {
      const std::optional<std::size_t> other = tuned_names.find(base_names.unwrapped(i));
      add(std::string(base_names.unwrapped(i)), &base.tensors()[i], other ? &tuned.tensors()[*other] : nullptr);
    }
    if (std::none_of(all_.begin(), all_.end(), [](const ModelPair& pair) { return pair.tuned != nullptr; }))
      fail(tuned.path(), "expected the tensors of ", printable(base.path().string()), ", as ",
           in_quotes(base.tensors().empty() ? "" : base.tensors().front().info->name), ", found none of these names",
           tuned.tensors().empty() ? "" : ", but ",
           in_quotes(tuned.tensors().empty() ? "" : tuned.tensors().front().info->name));
    for (std::size_t i = 0; i < tuned.tensors().size(); ++i)
      if (!base_names.find(tuned_names.unwrapped(i)))
        add(std::string(tuned_names.unwrapped(i)), nullptr, &tuned.tensors()[i]);
    if (!left_out_.empty())
      warnings.push_back(text("the base's configuration ties ", in_quotes(left_out_),
                              " to its embeddings: it changes with these, and was passed over"));
  }

  std::vector<ModelPair>& all() { return all_; }

 private:
  void add(std::string name, const ModelTensor* base, const ModelTensor* tuned) {
    ModelPair pair{base, tuned, std::move(name), {}};
    const std::string module = pair.module();
    if (is_tied_ && pair.name.ends_with(".weight") && is_head(module)) {
      left_out_ = pair.name;
      return;
    }
    const std::vector<std::uint64_t>& shape = pair.info().shape;
    if (base == nullptr)
      pair.reason = "the base has no such tensor";
    else if (tuned == nullptr)
      pair.reason = "the tuned model has no such tensor";
    else if (!pair.is_same_shape())
      pair.reason = text("its shape is ", shape_list(base->info->shape), " in the base and ",
                         shape_list(tuned->info->shape), " in the tuned model");
    else if (!pair.is_readable())
      pair.reason = text("expected F16, BF16, F32 or F64, found ", io::name(base->info->dtype), " in the base and ",
                         io::name(tuned->info->dtype), " in the tuned model");
    else if (shape.size() < 2)
      pair.reason = text("it is no matrix, but ", shape_list(shape));
    else if (!pair.name.ends_with(".weight"))
      pair.reason = "it is no layer's weight";
    else if (shape.size() > 2 && shape[1] == 1)
      pair.reason = "a convolution of one input channel, which may be grouped";
    else if (shape.size() > 5)
      pair.reason = text("it is no matrix, but ", shape_list(shape));
    pair.is_embedding = shape.size() == 2 && is_lookup_table(module);
    pair.is_conv1d = shape.size() == 2 && layers_.is_transposed(module).value_or(false);
    all_.push_back(std::move(pair));
  }

  const Model &base_, &tuned_;
  Conv1DLayers layers_;
  bool is_tied_;
  std::string left_out_;
  std::vector<ModelPair> all_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
