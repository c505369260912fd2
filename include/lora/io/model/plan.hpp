// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Which tensors of a model get which updates of which adapters. For bodies (-inl.hpp).

#include "lora/io/model/bind_modules.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/undo/undo_tensor.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// What one weight gets from one adapter.
struct MergePart {
  const Adapter* adapter;
  const AdapterModule* module;
  AdapterUpdate update;  ///< the module's, for the weight
  double coefficient;
  std::shared_ptr<const Adapter> owner = {};  ///< of the module, where that is not the adapter's own
};

/// A tensor that a model does not have.
struct NewTensor {
  NewTensor(std::size_t shard, TensorInfo about) : info(std::move(about)), tensor{shard, &info} {}
  NewTensor(const NewTensor&) = delete;
  NewTensor& operator=(const NewTensor&) = delete;

  TensorInfo info;
  ModelTensor tensor;
};

/// A whole tensor of an adapter's file.
struct WholeTensor {
  const Adapter* adapter = nullptr;
  const BaseCopy* copy = nullptr;

  explicit operator bool() const { return copy != nullptr; }
  const Safetensors& file() const { return *adapter->file; }
  const TensorInfo& info() const { return file().tensor(copy->name); }
};

/// One weight that is to be merged into; or a tensor that is to be replaced, or is new; either may get more rows first.
struct MergeTarget {
  const ModelTensor* tensor;
  std::string module;  ///< the path of the module, as in the adapter
  ScalarType type;
  Index rows, cols;  ///< out and in
  StorageOrder order;
  Index expert;                  ///< which matrix of the tensor it is, -1: all of it
  std::vector<MergePart> parts;  ///< in the order of the adapters; none for a tensor that is replaced
  std::vector<std::uint64_t> shape = {};  ///< the tensor's, afterwards
  WholeTensor replacement = {}, added_rows = {};
  std::shared_ptr<const NewTensor> made = {};  ///< `tensor`, where the model has none
  const ModelTensor* copied = nullptr;         ///< of the model, which a new one is a copy of

  bool is_grown() const { return made == nullptr && shape != tensor->info->shape; }
  bool is_reshaped() const { return made != nullptr || is_grown(); }

  /// The sizes of the tensor before and afterwards.
  std::uint64_t original_bytes() const { return made != nullptr ? 0 : tensor->info->bytes(); }
  std::uint64_t bytes() const { return tensor_bytes(tensor->info->dtype, shape).value_or(0); }

  Index rank() const {
    Index sum = 0;
    for (const MergePart& part : parts) sum += part.module->rank();
    return sum;
  }
};

/// What a merge does to a model.
struct MergePlan {
  std::vector<MergeTarget> targets;  ///< in the order of the model's tensors, then those that are new
  bool unties = false;               ///< the configuration must no longer tie the output layer to the embeddings
};

/// Throws ValueError for a rename that no module's path, and no whole tensor's name, begins with, and for two of one beginning.
LORA_ON_CALL_DECLARED inline void expect_used(std::span<const Rename> renames,
                                              const std::vector<ActiveAdapter>& adapters) {
  for (const Rename& rename : renames) {
    const auto begins = [&](const AdapterModule& module) {
      const FlatPrefix* const prefix = module.is_flat ? find_flat_prefix(module.path) : nullptr;
      return begins_with(module.path, rename.from) ||
             (prefix != nullptr && is_rename_of_prefix(rename, prefix->prefix));
    };
    if (std::none_of(adapters.begin(), adapters.end(), [&](const ActiveAdapter& active) {
          const auto& [modules, copies] = std::tie(active.adapter.modules, active.adapter.base_copies);
          return std::any_of(modules.begin(), modules.end(), begins) ||
                 std::any_of(copies.begin(), copies.end(),
                             [&](const BaseCopy& copy) { return begins_with(copy.tensor, rename.from); });
        }))
      throw ValueError(text("lora: the rename of ", in_quotes(rename.from), " to ", in_quotes(rename.to),
                            ": expected modules whose paths begin with ", in_quotes(rename.from),
                            ", found none in the adapters"));
    if (std::count_if(renames.begin(), renames.end(), [&](const Rename& other) { return other.from == rename.from; }) !=
        1)
      throw ValueError(text("lora: the rename of ", in_quotes(rename.from), ": expected one, found several"));
  }
}

/// Collects what adapters do to a model's tensors.
template <class = void>
class BasicMergePlanner {
 public:
  explicit BasicMergePlanner(const Model& base) : base_(base) {}

  void add(const Replacement& found, const Adapter& adapter) {
    if (found.added_rows != nullptr) add_rows(found, adapter);
    if (found.copy == nullptr) return;
    if (found.tensor == nullptr && is_made(found.name))
      fail(adapter.folder, "tensor ", in_quotes(found.copy->name), ": expected one adapter to bring ",
           in_quotes(found.name), ", found another before it");
    if (found.tensor == nullptr) {
      const TensorInfo& info = adapter.file->tensor(found.copy->name);
      auto made = std::make_shared<const NewTensor>(base_.shards().size() - 1,
                                                    TensorInfo{found.name, info.dtype, info.shape, 0, info.bytes()});
      MergeTarget target = whole(made->tensor, found.copy->tensor);
      target.replacement = {&adapter, found.copy};
      target.made = std::move(made);
      made_.push_back(std::move(target));
      return;
    }
    const auto [place, is_new] = targets_.try_emplace({found.tensor, -1}, whole(*found.tensor, found.copy->tensor));
    if (!is_new) {
      const WholeTensor& other = place->second.replacement;
      if (other && place->second.shape == found.shape && are_equal(*other.adapter, *other.copy, adapter, *found.copy)) return;
      fail(adapter.folder, "tensor ", in_quotes(found.copy->name), ": expected one adapter to change ", in_quotes(found.name),
           ", since this one replaces it, found another before it",
           other ? text(", ", in_quotes(utf8_text(other.adapter->folder)), ", with other numbers") : std::string());
    }
    place->second.replacement = {&adapter, found.copy};
    place->second.shape = found.shape;
  }

  void add(const BoundModule& bound, const Adapter& adapter, double coefficient) {
    const MergeTarget wanted{&bound.tensor(),
                             bound.module().path,
                             bound.type(),
                             bound.rows(),
                             bound.cols(),
                             bound.order(),
                             bound.expert(),
                             {},
                             bound.tensor().info->shape};
    MergeTarget& target = targets_.try_emplace({&bound.tensor(), bound.expert()}, wanted).first->second;
    if (target.replacement)
      fail(adapter.folder, "module ", in_quotes(bound.module().path), ": expected the base's ",
           in_quotes(bound.tensor().info->name), " to change, found it replaced by ",
           in_quotes(target.replacement.copy->name), " of ", in_quotes(utf8_text(target.replacement.adapter->folder)));
    if (wanted.order != target.order)
      fail(base_.shard_of(bound.tensor()).path(), "tensor ", in_quotes(bound.tensor().info->name),
           ": expected adapters that agree on fan_in_fan_out, found ",
           in_quotes(utf8_text(target.parts.front().adapter->folder)), " and ", in_quotes(utf8_text(adapter.folder)),
           " with different values");
    expect_rows(target, wanted.rows, wanted.cols, adapter);
    target.parts.push_back({&adapter, &bound.module(), bound.update(), coefficient, bound.owner()});
  }

  /// A new tensor that is what another one was before the merge.
  void add_copy(const ModelTensor& tensor, std::string name) {
    if (is_made(name))
      fail(base_.path(), "tensor ", in_quotes(name),
           ": expected one adapter to bring it, found another that trains the embeddings it is tied to");
    const TensorInfo& info = *tensor.info;
    auto made = std::make_shared<const NewTensor>(base_.shards().size() - 1,
                                                  TensorInfo{std::move(name), info.dtype, info.shape, 0, info.bytes()});
    MergeTarget target = whole(made->tensor, made->info.name);
    target.copied = &tensor;
    target.made = std::move(made);
    made_.push_back(std::move(target));
  }

  /// Whether one of the adapters brings a new tensor of this name.
  bool is_made(std::string_view name) const {
    return std::any_of(made_.begin(), made_.end(),
                       [&](const MergeTarget& made) { return made.tensor->info->name == name; });
  }
  /// Whether a tensor of the model changes.
  bool is_changed(const ModelTensor& tensor) const {
    const auto place = targets_.lower_bound({&tensor, -1});
    return (place != targets_.end() && place->first.first == &tensor) || added_rows_.contains(&tensor);
  }
  /// Whether a copy of a tensor's own shape was trained in its place, from which what is tied to it stays apart in PEFT.
  bool is_trained_apart(const ModelTensor& tensor) const {
    const auto place = targets_.find({&tensor, -1});
    return place != targets_.end() && place->second.replacement && place->second.replacement.copy->rows.empty() &&
           place->second.shape == tensor.info->shape;
  }
  /// A new tensor that is what the adapters put in the place of another one, in its type. False where they put nothing whole there.
  bool add_twin(const ModelTensor& tensor, const std::string& name) {
    WholeTensor source;
    if (const auto rows = added_rows_.find(&tensor); rows != added_rows_.end()) source = rows->second.second;
    if (const auto place = targets_.find({&tensor, -1}); place != targets_.end()) source = place->second.replacement;
    if (!source || !source.copy->rows.empty()) return false;
    const TensorInfo& info = source.info();
    const DType dtype = tensor.info->dtype;
    auto made = std::make_shared<const NewTensor>(
        base_.shards().size() - 1, TensorInfo{name, dtype, info.shape, 0, tensor_bytes(dtype, info.shape).value_or(0)});
    MergeTarget target = whole(made->tensor, name);
    target.replacement = source;
    target.made = std::move(made);
    made_.push_back(std::move(target));
    return true;
  }

  std::vector<MergeTarget> take() {
    for (const auto& [tensor, rows] : added_rows_) {
      MergeTarget& target = targets_.try_emplace({tensor, -1}, whole(*tensor, rows.second.copy->tensor)).first->second;
      if (target.replacement && target.replacement.copy->rows.empty())
        fail(rows.second.adapter->folder, "tensor ", in_quotes(rows.second.copy->name),
             ": expected one adapter to change ", in_quotes(tensor->info->name), ", found it replaced by another");
      if (target.replacement && target.shape != rows.first)
        fail(rows.second.adapter->folder, "tensor ", in_quotes(rows.second.copy->name), ": expected ", target.shape[0],
             " rows, as ", in_quotes(utf8_text(target.replacement.adapter->folder)), " makes of ",
             in_quotes(tensor->info->name), ", found ", rows.first[0],
             ": the adapters were trained with vocabularies of different sizes");
      target.added_rows = rows.second;
      if (!target.replacement) target.shape = rows.first;
      if (!target.parts.empty())
        expect_rows(target, cols_or_rows(target, true), cols_or_rows(target, false), *rows.second.adapter);
    }
    std::vector<MergeTarget> out;
    for (auto& [place, target] : targets_) {
      if (!out.empty() && out.back().tensor == target.tensor && out.back().expert < 0)
        fail(base_.shard_of(*target.tensor).path(), "tensor ", in_quotes(target.tensor->info->name),
             ": expected adapters that change the whole of it or its experts, found both");
      out.push_back(std::move(target));
    }
    for (MergeTarget& target : made_) out.push_back(std::move(target));
    return out;
  }

 private:
  static MergeTarget whole(const ModelTensor& tensor, std::string module) {
    return {
        &tensor, std::move(module), scalar_type(tensor.info->dtype).value_or(ScalarType::float32), 0, 0, row_major, -1,
        {},      tensor.info->shape};
  }

  /// Rows of several adapters that were trained with the same larger vocabulary are the same.
  void add_rows(const Replacement& found, const Adapter& adapter) {
    const WholeTensor rows{&adapter, found.added_rows};
    const auto [place, is_new] = added_rows_.try_emplace(found.tensor, found.shape, rows);
    const WholeTensor& known = place->second.second;
    if (!is_new && !are_equal(*known.adapter, *known.copy, adapter, *rows.copy))
      fail(adapter.folder, "tensor ", in_quotes(rows.copy->name), ": expected the rows that ",
           in_quotes(utf8_text(known.adapter->folder)), " adds to ", in_quotes(found.name), ", found others");
  }

  /// Out or in of the tensor as it will be.
  static Index cols_or_rows(const MergeTarget& target, bool rows) {
    const bool is_first = rows == (target.order == row_major);
    return static_cast<Index>(target.shape[is_first ? 0 : 1]);
  }
  static void expect_rows(const MergeTarget& target, Index rows, Index cols, const Adapter& adapter) {
    if (target.rows != rows || target.cols != cols)
      fail(adapter.folder, "module ", in_quotes(target.module), ": expected a change of ",
           lora::detail::shape_text(target.rows, target.cols), ", as that of ",
           in_quotes(utf8_text(target.parts.front().adapter->folder)), ", found ", lora::detail::shape_text(rows, cols),
           ": the adapters were trained with vocabularies of different sizes");
  }

  const Model& base_;
  std::map<std::pair<const ModelTensor*, Index>, MergeTarget> targets_;  // of a model's tensors in their order
  std::map<const ModelTensor*, std::pair<std::vector<std::uint64_t>, WholeTensor>> added_rows_;
  std::vector<MergeTarget> made_;
};
using MergePlanner = BasicMergePlanner<>;

/// The output layer that is tied to these embeddings, or "" where models call it differently (Whisper's is proj_out).
inline std::string head_of(std::string_view embeddings) {
  for (const std::string_view end :
       {"model.language_model.embed_tokens", "model.embed_tokens", "backbone.embeddings", "transformer.wte", "wte"})
    if (is_at_end(embeddings, end)) return text(embeddings.substr(0, embeddings.size() - end.size()), "lm_head");
  return "";
}

/// Embeddings that modules_to_save names are a copy in PEFT, and an output layer that was tied to them stays what it was: it becomes a
/// tensor of its own, and the configuration no longer ties it. Where that cannot be done a warning says so.
LORA_ON_CALL_DECLARED inline bool keep_head(const Model& base, const Replacement& embeddings, MergePlanner& planner,
                                            bool can_copy, std::vector<std::string>* warnings) {
  if (!is_head_tied(base)) return false;
  const std::string_view name = embeddings.name;
  const std::string head = head_of(name.substr(0, name.rfind('.')));
  if (base.is_folder() && !head.empty() && embeddings.shape == embeddings.tensor->info->shape) {
    if (!can_copy)
      fail(base.path(), "tensor ", in_quotes(name),
           ": expected the original model, of which an output layer of its own is made where the "
           "embeddings that it is tied to were trained, found one to switch from: unmerge it, and merge into the "
           "original");
    planner.add_copy(*embeddings.tensor, head + ".weight");
    return true;
  }
  if (warnings != nullptr)
    warnings->push_back(
        text("tensor ", in_quotes(name),
             ": the embeddings were trained (modules_to_save), and in PEFT the output layer that is tied "
             "to them stayed as it was: in the merged model it changes with them",
             is_at_end(name, "shared.weight") ? ", and so do those of encoder and decoder" : ""));
  return false;
}

/// tie_word_embeddings ties more than the output layer: the bias of a decoder in BERT's and its kin's, and the embeddings of encoders
/// and decoders to `shared`. Where it becomes false they are tensors of their own, as they were tied. Throws FileError where these
/// would not be whole tensors that are known.
LORA_ON_CALL_DECLARED inline void keep_what_was_tied(const Model& base, const std::vector<std::string>& own_heads, MergePlanner& planner,
                                                     bool can_copy) {
  const std::optional<TiedHead> config = head_in_config(base);
  const std::string type = config ? plain_type(config->type) : "";
  if (type == "switchtransformers")
    fail(config_file(base), "tie_word_embeddings: expected false to merge an output layer of its own into a model of type ",
         in_quotes(config->type),
         ", found it tied: such models scale what goes into a tied one alone, so the merged model would be another");
  const auto keep = [&](const ModelTensor& tensor, const std::string& name, bool is_embedding) {
    if (base.find(name) != nullptr || planner.is_made(name)) return;
    const bool stays = !planner.is_changed(tensor) || (is_embedding && planner.is_trained_apart(tensor));
    if (stays && can_copy) return planner.add_copy(tensor, name);
    if (planner.add_twin(tensor, name)) return;
    fail(base.path(), "tensor ", in_quotes(tensor.info->name), ": expected one that does not change, of which ", in_quotes(name),
         " is made where tie_word_embeddings becomes false, found ",
         planner.is_changed(tensor)
             ? "one that does: give the base that tensor, an output layer of its own, and \"tie_word_embeddings\": false first"
             : "a merged model to switch from: unmerge it, and merge into the original");
  };
  for (const std::string& head : own_heads) {
    const std::string bias = text(head.substr(0, head.rfind('.')), ".bias"), other = other_name(bias);
    const ModelTensor* const tensor = other.empty() || type == "esm" ? nullptr : base.find(other);  // ESM's decoder has none
    if (tensor != nullptr) keep(*tensor, bias, false);
  }
  for (const ModelTensor& tensor : base.tensors()) {
    const std::string_view name = tensor.info->name, end = "shared.weight";
    if (!is_at_end(name, end) || is_within_numbered(name)) continue;
    for (const std::string_view part : {"encoder.", "decoder.", "text_encoder.", "text_decoder."}) {
      const std::string path = text(name.substr(0, name.size() - end.size()), part);
      if (std::any_of(base.tensors().begin(), base.tensors().end(),
                      [&](const ModelTensor& t) { return t.info->name.starts_with(path); }))
        keep(tensor, text(path, "embed_tokens.weight"), true);
    }
  }
}

/// A change of tied embeddings is one of the output layer as well.
LORA_ON_CALL_DECLARED inline void warn_of_tied_embeddings(const Model& base, const std::vector<BoundModule>& modules,
                                                          std::vector<std::string>* warnings) {
  if (warnings == nullptr) return;
  for (const BoundModule& bound : modules) {
    const std::string_view name = bound.tensor().info->name;
    if (!is_embedding(name.substr(0, name.rfind('.'))) || !is_head_tied(base)) continue;
    warnings->push_back(text("tensor ", in_quotes(name),
                             ": the output layer is tied to these embeddings and gets their change as well, as in "
                             "PEFT's own merge; before it, PEFT changes the embeddings alone"));
    return;
  }
}

/// What the adapters change in `base`; see bind(). `read` gives the bytes of the base's tensors before any merge; `can_copy` says that
/// these are those of `base` itself. Throws FileError, and ValueError for coefficients that are not finite or all 0.
LORA_ON_CALL_DECLARED inline MergePlan plan_merge(const Model& base, const std::vector<ActiveAdapter>& adapters,
                                                  std::span<const Rename> renames, std::vector<std::string>* warnings,
                                                  ReadBase read, bool can_copy) {
  expect_used(renames, adapters);
  if (const Safetensors* const file = base.shards().front().safetensors(); file != nullptr && is_undo_file(*file))
    fail(base.path(), "expected a model, found an undo file");
  MergePlanner planner(base);
  std::vector<BoundModule> used;
  std::vector<Replacement> replacements;
  std::vector<std::string> own_heads;
  std::optional<Replacement> apart;
  bool any_coefficient = false;
  for (const auto& [adapter, coefficient] : adapters) {
    if (!lora::detail::is_finite(coefficient))
      throw ValueError(
          text("lora: the adapter ", in_quotes(adapter.name), ": expected a finite coefficient, found ", coefficient));
    const BoundAdapter all = bind_modules(base, adapter, renames, read);
    if (warnings != nullptr) warnings->insert(warnings->end(), all.warnings.begin(), all.warnings.end());
    if (lora::detail::is_zero(coefficient)) continue;  // it has to fit all the same
    any_coefficient = true;
    if (warnings != nullptr && all.modules.empty() && !all.replacements.empty() &&
        lora::detail::to_bits(coefficient) != lora::detail::to_bits(1.0))
      warnings->push_back(text("the adapter ", in_quotes(adapter.name), ": its coefficient, ", coefficient,
                               ", changes nothing: it has whole tensors alone, in the place of the base's, as ",
                               in_quotes(all.replacements.front().name)));
    for (const Replacement& found : all.replacements) planner.add(found, adapter);
    for (const BoundModule& bound : all.modules) planner.add(bound, adapter, coefficient);
    used.insert(used.end(), all.modules.begin(), all.modules.end());
    replacements.insert(replacements.end(), all.replacements.begin(), all.replacements.end());
    own_heads.insert(own_heads.end(), all.own_heads.begin(), all.own_heads.end());
    for (const Replacement& found : all.replacements)
      if (all.trained_apart != nullptr && found.tensor == all.trained_apart) apart = found;
  }
  const bool keeps_head = apart && keep_head(base, *apart, planner, can_copy, warnings);
  warn_of_tied_embeddings(base, used, warnings);
  if (can_copy) warn_of_equal_head(base, used, replacements, own_heads, warnings);
  const bool unties = expect_untied_head(base, used, own_heads, warnings, base.is_folder()) || keeps_head;
  if (unties) keep_what_was_tied(base, own_heads, planner, can_copy);
  MergePlan out{planner.take(), unties};
  if (!any_coefficient) throw ValueError("lora: the adapters: expected a coefficient other than 0, found 0 for all");
  if (out.targets.empty())
    throw ValueError("lora: the adapters: expected a change, found only copies of what the base has");
  return out;
}
/// Of a base that nothing was merged into.
LORA_ON_CALL_DECLARED inline MergePlan plan_merge(const Model& base, const std::vector<ActiveAdapter>& adapters,
                                                  std::span<const Rename> renames, std::vector<std::string>* warnings) {
  return plan_merge(
      base, adapters, renames, warnings,
      [&](const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) {
        base.read(tensor, offset, into);
      },
      true);
}

/// The targets as an undo file describes them. Throws FileError for an update of a kind that it cannot hold.
LORA_ON_CALL_DECLARED inline std::vector<UndoTensor> undo_tensors(const std::vector<MergeTarget>& targets) {
  std::vector<UndoTensor> out;
  for (const MergeTarget& target : targets) {
    UndoTensor tensor{
        target.tensor->info->name, target.tensor->shard, target.type, target.rows, target.cols, target.order, {}};
    tensor.expert = target.expert;
    tensor.shape = target.shape;
    tensor.is_new = target.made != nullptr;
    if (target.is_grown()) tensor.grown_from = target.tensor->info->shape[0];
    if (target.parts.empty()) {
      tensor.replaced = UndoReplacement{target.tensor->info->dtype};
      if (target.made == nullptr && (!target.replacement || !target.replacement.copy->rows.empty()))
        tensor.replaced->rows.emplace();
      if (target.replacement)
        for (const std::uint64_t row : target.replacement.copy->rows)
          if (row < target.tensor->info->shape[0]) tensor.replaced->rows->push_back(row);
    }
    for (const MergePart& part : target.parts) {
      try {
        tensor.updates.push_back(visit_update(
            [&](const auto& shared) { return undo_update(part.adapter->name, *shared, part.coefficient, target.type); },
            part.update));
      } catch (const ValueError& error) {
        fail(part.adapter->folder, "module ", in_quotes(part.module->path), ": ", bare(error));
      }
    }
    out.push_back(std::move(tensor));
  }
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
