// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What an adapter's whole tensors do to a base: nothing, where they are copies of its own; else they take the place of its tensors,
/// make them longer, or are new ones. For bodies (-inl.hpp).

#include "lora/io/model/base_copies.hpp"
#include "lora/io/model/tied_head.hpp"
#include "lora/io/safetensors/finite.hpp"

#include <unordered_map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

struct Replacements {
  std::vector<Replacement> all;

  /// Output layers among them that are not what the adapter makes of the embeddings.
  std::vector<std::string> own_heads;

  /// Embeddings that are replaced, where neither the file nor the base has an output layer: one that is tied to them stays as it was.
  const ModelTensor* trained_apart = nullptr;

  std::vector<std::string> warnings;  ///< about copies that could not be compared
};

/// Sorts an adapter's whole tensors. Throws FileError, naming the tensor and both shapes, for one that is neither trained, as the
/// configuration says, nor a copy of what the base has, and for trained ones that do not fit.
class ReplacementFinder {
 public:
  /// `find` gives the base's tensor for a name in the adapter's words, or null, `rename` the name that a new one gets; `read` gives
  /// the bytes of the base's.
  ReplacementFinder(const Model& base, const Adapter& adapter, FunctionRef<const ModelTensor*(const std::string&)> find,
                    FunctionRef<std::string(const std::string&)> rename, ReadBase read)
      : base_(base), adapter_(adapter), read_(read) {
    std::unordered_map<std::string_view, std::size_t> by_name;
    std::unordered_map<const ModelTensor*, std::size_t> by_tensor;  // which may have two names
    for (const BaseCopy& copy : adapter.base_copies) {
      const auto [place, is_new_name] = by_name.try_emplace(copy.tensor, groups_.size());
      if (is_new_name) {
        const ModelTensor* const tensor = find(copy.tensor);
        if (tensor != nullptr) place->second = by_tensor.try_emplace(tensor, groups_.size()).first->second;
        if (place->second == groups_.size()) groups_.push_back({copy.tensor, tensor});
      }
      Group& group = groups_[place->second];
      (!copy.rows.empty() ? group.rows : copy.is_trained ? group.trained : group.copies).push_back(&copy);
    }
    for (Group& group : groups_)
      if (group.tensor == nullptr) group.new_name = rename(group.name);
    for (const ModelTensor& tensor : base.tensors())
      if (is_embedding(module_of(tensor.info->name))) embeddings_.push_back(&tensor);
  }

  Replacements find() {
    for (const Group& group : groups_) {
      for (const auto* const same : {&group.trained, &group.rows}) expect_equal(*same);
      if (!group.trained.empty() && !group.rows.empty())
        refuse(*group.rows[0], ": expected one change of ", in_quotes(group.name), ", found ",
               in_quotes(group.trained[0]->name), " as well");
      const std::size_t before = out_.all.size();
      if (group.tensor != nullptr)
        replace(group);
      else if (!is_that_of_embeddings(group))
        add(group);
      if (is_output(group.name) && out_.all.size() != before && !agrees_with_embeddings(group))
        out_.own_heads.push_back(out_.all.back().name);
    }
    const auto is_of_head = [](const auto& name) { return is_output(name); };
    if (std::none_of(groups_.begin(), groups_.end(), [&](const Group& group) { return is_of_head(group.name); }) &&
        std::none_of(base_.tensors().begin(), base_.tensors().end(),
                     [&](const ModelTensor& tensor) { return is_of_head(tensor.info->name); }))
      for (const Replacement& replacement : out_.all)
        if (replacement.tensor != nullptr && replacement.copy != nullptr && replacement.copy->rows.empty() &&
            replacement.tensor->info->name.ends_with(".weight") && is_embedding(module_of(replacement.tensor->info->name)))
          out_.trained_apart = replacement.tensor;
    if (adapter_.file != nullptr) adapter_.file->file().expect_unchanged();
    return std::move(out_);
  }

 private:
  static std::string_view module_of(std::string_view tensor) { return tensor.substr(0, tensor.rfind('.')); }

  /// Whether it is an output layer's weight; GGUF calls that "output".
  static bool is_output(std::string_view tensor) {
    return tensor.ends_with(".weight") && (is_head(module_of(tensor)) || module_of(tensor) == "output");
  }

  void warn_of_blocks(const TensorInfo& copy, const TensorInfo& base) {
    out_.warnings.push_back(text("the adapter ", printable(adapter_.name), ": passed over ", in_quotes(copy.name),
                                 " as a copy of the base's ", in_quotes(base.name),
                                 ": its shape is the same, its numbers could not be compared, since the base's are quantised"));
  }

  /// The whole tensors that stand for one of the base's.
  struct Group {
    std::string name;  // in the adapter's words
    const ModelTensor* tensor = nullptr;
    std::string new_name = {};
    std::vector<const BaseCopy*> trained = {}, copies = {}, rows = {};

    bool is_embedding() const { return tensor != nullptr && detail::is_embedding(module_of(tensor->info->name)); }
    const BaseCopy* whole() const { return !trained.empty() ? trained[0] : !copies.empty() ? copies[0] : nullptr; }
  };

  const TensorInfo& info_of(const BaseCopy& copy) const { return adapter_.file->tensor(copy.name); }

  template <class... Pieces>
  [[noreturn]] void refuse(const BaseCopy& copy, const Pieces&... pieces) const {
    fail(adapter_.file->path(), "tensor ", in_quotes(copy.name), pieces...);
  }
  template <class... Pieces>
  [[noreturn]] void refuse_copy(const BaseCopy& copy, const Pieces&... found) const {
    const TensorInfo& info = info_of(copy);
    refuse(copy, ": expected a copy of the base's ", in_quotes(copy.tensor), ", found ", name(info.dtype), " ",
           shape_list(info.shape), found...,
           copy.tensor.starts_with("v_head.") ? ": a value head of TRL's, which no merged model has: save the adapter of the model within "
                                                "it (model.pretrained_model.save_pretrained)"
                                              : ": the adapter was made for another base");
  }

  /// One that was trained in the base's place and does not fit there.
  [[noreturn]] void refuse_trained(const BaseCopy& copy, const TensorInfo& base) const {
    const TensorInfo& info = info_of(copy);
    const std::string_view module = module_of(base.name);
    const bool has_other_rows = info.shape.size() == base.shape.size() && !base.shape.empty() && info.shape[0] != base.shape[0] &&
                                std::equal(base.shape.begin() + 1, base.shape.end(), info.shape.begin() + 1);
    std::string why = "the adapter was made for another base";
    if (info.shape == base.shape)
      why = "numbers of these types are not converted into each other";
    else if (has_other_rows && (detail::is_embedding(module) || is_head(module)))
      why = text("the adapter was trained with a vocabulary of ", info.shape[0],
                 " rows: merge into a base that was resized to as many (resize_token_embeddings(", info.shape[0], ")) and saved");
    else if (has_other_rows)
      why = text("a classifier of another number of labels, perhaps: merge into a base that was loaded as for the training (num_labels=",
                 info.shape[0], ") and saved, or into one without this tensor");
    refuse(copy, ": expected ", name(base.dtype), " ", shape_list(base.shape), ", as the base's ", in_quotes(base.name),
           " in whose place it was trained, found ", name(info.dtype), " ", shape_list(info.shape), ": ", why);
  }

  /// PEFT writes a tensor twice that two keys name, or with the wrappers' names as well.
  void expect_equal(const std::vector<const BaseCopy*>& copies) const {
    for (const BaseCopy* const copy : copies)
      if (copy != copies[0] && !are_equal(adapter_, *copies[0], adapter_, *copy))
        refuse(*copy, ": expected the numbers of ", in_quotes(copies[0]->name),
               ", which stands for the same tensor, found others");
  }

  /// Whether a tensor has more rows than the base's: that of a vocabulary, which may grow.
  bool is_grown(const TensorInfo& info, const TensorInfo& base) const {
    const std::string_view module = module_of(base.name);
    if (!is_embedding(module) && !is_head(module) && !is_at_end(base.name, "predictions.bias")) return false;  // the last: BERT's head's
    return info.shape.size() == base.shape.size() && !base.shape.empty() && info.shape[0] > base.shape[0] &&
           std::equal(base.shape.begin() + 1, base.shape.end(), info.shape.begin() + 1) && scalar_type(base.dtype);
  }
  static bool can_convert(const TensorInfo& info, const TensorInfo& base) {
    return info.dtype == base.dtype || (scalar_type(info.dtype) && scalar_type(base.dtype));
  }

  void replace(const Group& group) {
    const TensorInfo& base = *group.tensor->info;
    const auto refuse_shape = [&](const BaseCopy& copy) {
      const TensorInfo& info = info_of(copy);
      refuse_copy(copy, info.shape == base.shape ? " with other numbers than the base's " : " where the base has ",
                  name(base.dtype), " ", shape_list(base.shape));
    };
    const BaseCopy *grown = nullptr, *tied = nullptr;
    for (const BaseCopy* const copy : group.copies) {
      const TensorInfo& info = info_of(*copy);
      if (is_copy(*adapter_.file, info, base_, *group.tensor, read_)) {
        if (is_stored_in_blocks(base_, *group.tensor)) warn_of_blocks(info, base);
        continue;
      }
      if (!group.trained.empty() && are_equal(adapter_, *group.trained[0], adapter_, *copy)) continue;
      if (is_grown(info, base) && begins_as(*adapter_.file, info, base_, *group.tensor, read_)) {
        if (grown != nullptr) expect_equal({grown, copy});
        grown = copy;
      } else if (group.trained.empty() && group.rows.empty() && is_output(group.name) && is_new_embedding(*copy)) {
        tied = copy;
      } else {
        refuse_shape(*copy);
      }
    }
    if (tied != nullptr) return put(group, tied, nullptr, info_of(*tied).shape);
    if (!group.trained.empty()) {
      const BaseCopy& copy = *group.trained[0];
      const TensorInfo& info = info_of(copy);
      if (!can_convert(info, base) || (info.shape != base.shape && !is_grown(info, base))) refuse_trained(copy, base);
      if (!is_copy(*adapter_.file, info, base_, *group.tensor, read_)) put(group, &copy, nullptr, info.shape);
    } else if (!group.rows.empty()) {
      put_rows(group, *group.rows[0], grown);
    } else if (grown != nullptr) {
      put(group, nullptr, grown, info_of(*grown).shape);
    }
  }

  /// The rows of trained tokens, which may be new.
  void put_rows(const Group& group, const BaseCopy& copy, const BaseCopy* grown) {
    const TensorInfo &info = info_of(copy), &base = *group.tensor->info;
    if (base.shape.size() != 2 || !scalar_type(base.dtype) || !scalar_type(info.dtype) ||
        info.shape[1] != base.shape[1])
      refuse_copy(copy, " where the base has ", name(base.dtype), " ", shape_list(base.shape));
    std::vector<std::uint64_t> shape = grown != nullptr ? info_of(*grown).shape : base.shape;
    std::vector<std::uint64_t> beyond;  // new rows that no copy brings
    for (const std::uint64_t row : copy.rows)
      if (row >= shape[0]) beyond.push_back(row);
    std::sort(beyond.begin(), beyond.end());
    if (!beyond.empty()) {
      if (beyond.back() - shape[0] + 1 != beyond.size())
        refuse(copy, ": expected trained tokens of the base's ", shape[0],
               " rows, or all that were added behind them, found the token ", beyond.back(),
               ": save the adapter with save_embedding_layers=True, so that it has the others");
      shape[0] += beyond.size();
    }
    put(group, &copy, grown, shape);
  }

  /// Throws FileError, naming the tensor, for numbers that are not finite.
  void put(const Group& group, const BaseCopy* copy, const BaseCopy* added_rows, std::vector<std::uint64_t> shape) {
    if (copy != nullptr) expect_finite(*adapter_.file, info_of(*copy));
    if (added_rows != nullptr) {
      const TensorInfo& base = *group.tensor->info;
      expect_finite(*adapter_.file, info_of(*added_rows), base.bytes() * 8 / bits(base.dtype));
    }
    const std::string& name = group.tensor != nullptr ? group.tensor->info->name : group.new_name;
    out_.all.push_back({group.tensor, copy, added_rows, name, std::move(shape)});
  }

  /// A tensor that the base does not have: one that was trained. Or an output layer that is no longer what it was tied to.
  void add(const Group& group) {
    const BaseCopy* const whole = group.whole();
    if (!group.rows.empty() || whole == nullptr) refuse_copy(*group.rows[0], " where the base has no such tensor");
    if (group.trained.empty() && !is_head_apart(group, *whole))
      refuse_copy(*whole, " where the base has no such tensor");
    if (is_within_layer(group.new_name))
      refuse(*whole, ": expected a tensor of the base, found none of that name, which is that of a part of a layer, not of a new head: "
                     "what the base calls otherwise can be told (--rename OLD=NEW, Rename)");
    put(group, whole, nullptr, info_of(*whole).shape);
  }

  /// Whether a name is one of a module in a numbered layer, of a list that has a part of its path in common with one of the base's.
  bool is_within_layer(std::string_view tensor) const {
    const std::vector<std::string_view> parts = parts_of(tensor);
    const auto number = std::find_if(parts.begin(), parts.end(), is_number);
    if (number == parts.begin() || parts.end() - number < 3) return false;  // no list, or a layer of a list itself
    return std::any_of(base_.tensors().begin(), base_.tensors().end(), [&](const ModelTensor& other) {
      const std::vector<std::string_view> theirs = parts_of(other.info->name);
      const auto end = std::find_if(theirs.begin(), theirs.end(), is_number);
      return end != theirs.end() && std::find_first_of(parts.begin(), number, theirs.begin(), end) != number;
    });
  }

  /// Whether the tensor is that of the base's embeddings, which the adapter changes: PEFT trains a copy of these, and the layer
  /// that was tied to them stays as it was.
  bool is_head_apart(const Group& group, const BaseCopy& copy) const {
    return is_output(group.name) &&
           std::any_of(embeddings_.begin(), embeddings_.end(), [&](const ModelTensor* tensor) {
             const TensorInfo& info = info_of(copy);
             return (info.shape == tensor->info->shape || is_grown(info, *tensor->info)) &&
                    begins_as(*adapter_.file, info, base_, *tensor, read_);
           });
  }

  /// Of tied layers a model's file has one, PEFT writes both. Whether an output layer that the base does not have is what the
  /// embeddings become.
  bool is_that_of_embeddings(const Group& group) const {
    if (!is_output(group.name)) return false;
    if (agrees_with_embeddings(group)) return true;
    const BaseCopy* const whole = group.whole();
    return whole != nullptr && group.rows.empty() &&
           std::any_of(embeddings_.begin(), embeddings_.end(), [&](const ModelTensor* tensor) {
             const bool is_trained = std::any_of(groups_.begin(), groups_.end(), [&](const Group& other) {
               return other.tensor == tensor && !(other.trained.empty() && other.rows.empty());
             });
             return !is_trained && is_copy(*adapter_.file, info_of(*whole), base_, *tensor, read_);
           });
  }

  /// Whether a whole tensor is what the adapter puts in the place of the embeddings.
  bool is_new_embedding(const BaseCopy& copy) const {
    return std::any_of(groups_.begin(), groups_.end(), [&](const Group& group) {
      return group.is_embedding() && group.whole() != nullptr && are_equal(adapter_, copy, adapter_, *group.whole());
    });
  }

  /// Whether what the file has for an output layer it has for the embeddings as well.
  bool agrees_with_embeddings(const Group& head) const {
    const auto is_whole_of = [&](const Group& group) {
      if (group.whole() == nullptr || head.whole() == nullptr) return group.whole() == head.whole();
      const std::vector<const BaseCopy*>& own = head.trained.empty() ? head.copies : head.trained;
      return std::any_of(own.begin(), own.end(),
                         [&](const BaseCopy* copy) { return are_equal(adapter_, *copy, adapter_, *group.whole()); });
    };
    return std::any_of(groups_.begin(), groups_.end(), [&](const Group& group) {
      return group.is_embedding() && is_whole_of(group) && group.rows.empty() == head.rows.empty() &&
             (head.rows.empty() || are_equal(adapter_, *head.rows[0], adapter_, *group.rows[0]));
    });
  }

  const Model& base_;
  const Adapter& adapter_;
  ReadBase read_;
  std::vector<Group> groups_;
  std::vector<const ModelTensor*> embeddings_;
  Replacements out_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
