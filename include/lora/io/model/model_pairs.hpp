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

  /// An output layer that the base ties to its embeddings (`base` is these) and the tuned model may not: its own one says
  /// nothing more where it equals one of `twins`, the tuned embeddings of its shape.
  bool is_tied_head = false;
  std::vector<const ModelTensor*> twins = {};

  std::string module() const { return name.substr(0, name.rfind('.')); }
  const TensorInfo& info() const { return base != nullptr ? *base->info : *tuned->info; }
  const std::string& tensor() const { return is_tied_head ? tuned->info->name : info().name; }
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

/// Whether a module with a weight of two dimensions and no bias is an embedding, by how models call theirs: a guess. A
/// linear layer without a bias that has such a name is taken for one (docs/COMPOSE.md).
inline bool is_lookup_table(std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);  // npos + 1 is 0
  if (is_head(module) || last.ends_with("_proj") || last.ends_with("_projection")) return false;
  static constexpr std::array<std::string_view, 6> ends{"embedding", "embeddings",    "embedder",
                                                        "_embed",    "_embeds_layer", "_emb"};
  static constexpr std::array<std::string_view, 4> whole{"wpe", "emb", "embed", "relative_attention_bias"};
  return is_embedding(module) || std::find(whole.begin(), whole.end(), last) != whole.end() ||
         last.starts_with("embed_") ||
         std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return last.ends_with(end); });
}

/// All tensors of two models, in the order of the base, those of the tuned model alone behind them. Output layers that go
/// with the embeddings in both are left out: what is said of them stands in `warnings`.
class ModelPairs {
 public:
  ModelPairs(const Model& base, const Model& tuned, std::vector<std::string>& warnings)
      : base_(base),
        tuned_(tuned),
        base_names_(names_of(base)),
        layers_(base),
        is_tied_(is_head_tied(base)),
        is_tuned_tied_(is_tied_ && is_head_tied(tuned)) {
    const BaseNames tuned_names(names_of(tuned));
    for (std::size_t i = 0; i < base.tensors().size(); ++i) {
      const std::optional<std::size_t> other = tuned_names.find(base_names_.unwrapped(i));
      add(std::string(base_names_.unwrapped(i)), &base.tensors()[i], other ? &tuned.tensors()[*other] : nullptr);
    }
    expect_partners(warnings);
    for (std::size_t i = 0; i < tuned.tensors().size(); ++i)
      if (!base_names_.find(tuned_names.unwrapped(i)))
        add(std::string(tuned_names.unwrapped(i)), nullptr, &tuned.tensors()[i]);
    if (!left_out_.empty()) warnings.push_back(passed_over(left_out_));
  }

  std::vector<ModelPair>& all() { return all_; }

  static std::string passed_over(std::string_view head) {
    return text("the base's configuration ties ", in_quotes(head),
                " to its embeddings: it changes with these, and was passed over");
  }

 private:
  static std::vector<std::string_view> names_of(const Model& model) {
    std::vector<std::string_view> out;
    for (const ModelTensor& tensor : model.tensors()) out.push_back(tensor.info->name);
    return out;
  }

  /// Throws FileError where no tensor of the base is in the tuned model; warns where few are.
  void expect_partners(std::vector<std::string>& warnings) const {
    const auto first_of = [](const Model& model) {
      return model.tensors().empty() ? std::string_view() : model.tensors().front().info->name;
    };
    const auto has_partner = [](const ModelPair& pair) { return pair.tuned != nullptr; };
    const auto found = static_cast<std::size_t>(std::count_if(all_.begin(), all_.end(), has_partner));
    if (found == 0)
      fail(tuned_.path(), "expected the tensors of ", printable(base_.path().string()), ", as ",
           in_quotes(first_of(base_)), ", found none of these names",
           tuned_.tensors().empty() ? "" : text(", but ", in_quotes(first_of(tuned_))));
    if (2 * found >= all_.size()) return;
    const auto lone = std::find_if_not(all_.begin(), all_.end(), has_partner);
    warnings.push_back(text(printable(tuned_.path().string()), ": it has ", found, " of the base's ", all_.size(),
                            " tensors, and none of the name ", in_quotes(lone->name),
                            ": it may be another model, or its names begin otherwise"));
  }

  void add(std::string name, const ModelTensor* base, const ModelTensor* tuned) {
    ModelPair pair{base, tuned, std::move(name), {}};
    const std::string module = pair.module();
    if (is_tied_ && pair.name.ends_with(".weight") && is_head(module)) {
      if (tuned == nullptr || is_tuned_tied_) {
        left_out_ = pair.name;
        return;
      }
      tie(pair);
    }
    const std::vector<std::uint64_t>& shape = pair.info().shape;
    if (pair.is_tied_head)
      pair.reason = "the base ties it to its embeddings, and the tuned model has another one";
    else if (base == nullptr)
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
    pair.is_embedding = shape.size() == 2 && is_lookup_table(module) && !base_names_.find(module + ".bias");
    pair.is_conv1d = shape.size() == 2 && layers_.is_transposed(module).value_or(false);
    all_.push_back(std::move(pair));
  }

  /// Of a head that the tuned model has for itself.
  void tie(ModelPair& pair) const {
    const auto embeddings_of = [&](const Model& model) {
      std::vector<const ModelTensor*> out;
      for (const ModelTensor& tensor : model.tensors()) {
        const std::string name = without_wrappers(tensor.info->name).name;
        if (name.ends_with(".weight") && is_embedding(before(name, "weight")) &&
            tensor.info->shape == pair.tuned->info->shape)
          out.push_back(&tensor);
      }
      return out;
    };
    pair.is_tied_head = true;
    pair.twins = embeddings_of(tuned_);
    const std::vector<const ModelTensor*> originals = embeddings_of(base_);
    if (!originals.empty()) pair.base = originals.front();
  }

  const Model &base_, &tuned_;
  BaseNames base_names_;
  Conv1DLayers layers_;
  bool is_tied_, is_tuned_tied_;
  std::string left_out_;
  std::vector<ModelPair> all_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
