// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Headers, index and configuration of a merged model whose tensors are not those of the base in name and shape. For bodies
/// (-inl.hpp).

#include "lora/io/model/model_files.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/plan.hpp"
#include "lora/io/model/reshape.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Makes the Reshape of a merge.
template <class = void>
class BasicMergedFiles {
 public:
  BasicMergedFiles(const Model& model, const MergePlan& plan, std::vector<std::string>& warnings)
      : model_(model), plan_(plan), warnings_(warnings) {}

  /// Throws FileError, naming the tensor, for a GGUF model, whose tensors keep their shapes.
  Reshape make() {
    const bool is_reshaped =
        std::any_of(plan_.targets.begin(), plan_.targets.end(), [](const MergeTarget& t) { return t.is_reshaped(); });
    if (is_reshaped) {
      make_headers();
      change_index();
      warn_of_new_tensors();
    }
    change_config();
    return std::move(out_);
  }

 private:
  void make_headers() {
    out_.headers.resize(model_.shards().size());
    for (std::size_t i = 0; i < model_.shards().size(); ++i) {
      const TensorFile& shard = model_.shards()[i];
      std::vector<TensorInfo> tensors = shard.tensors();
      bool is_other = false;
      for (const MergeTarget& target : plan_.targets) {
        if (target.tensor->shard != i || !target.is_reshaped()) continue;
        if (shard.safetensors() == nullptr)
          fail(model_.path(), "tensor ", in_quotes(target.tensor->info->name),
               ": expected a tensor of the model's own shape, found ", shape_list(target.shape),
               ": a GGUF file keeps its tensors; merge into the safetensors folder, and convert that");
        is_other = true;
        if (target.made != nullptr)
          tensors.push_back(target.made->info);
        else
          tensors[static_cast<std::size_t>(target.tensor->info - shard.tensors().data())].shape = target.shape;
      }
      if (is_other) out_.headers[i] = SafetensorsHeader::make(shard.path(), tensors, shard.metadata());
    }
  }

  /// A JSON file of the folder, to be changed; null where there is none. Throws FileError.
  struct Document {
    std::string before;
    Json json;
  };
  std::optional<Document> read(const std::string& name, std::uint64_t max_bytes) const {
    std::error_code ignored;
    const std::filesystem::path path = model_.path() / utf8_path(name);
    if (!std::filesystem::exists(path, ignored)) return std::nullopt;
    const InputFile file(path);
    Document out;
    Json json = read_json_file(path, max_bytes);
    out.before.resize(file.size());
    file.read(0, std::as_writable_bytes(std::span(out.before)));
    file.expect_unchanged();
    out.json = std::move(json);
    return out;
  }
  /// As Python's json.dumps(indent=2) writes it.
  void write(const std::string& name, Document document) {
    std::string after = document.json.dump(2);
    if (document.before.ends_with('\n')) after += '\n';
    out_.files[name] = {std::move(document.before), std::move(after)};
  }

  static Json* member(Json& object, std::string_view key) {
    if (!object.is_object()) return nullptr;
    for (auto& [name, value] : object.get_ref<Json::object_t&>())
      if (name == key) return &value;
    return nullptr;
  }
  static void set(Json& object, std::string_view key, Json value) {
    if (Json* const found = member(object, key))
      *found = std::move(value);
    else
      object.get_ref<Json::object_t&>().emplace_back(std::string(key), std::move(value));
  }

  void change_index() {
    if (!model_.is_folder()) return;
    const std::optional<ModelFile> file = model_in(model_.path());
    if (!file || !file->is_index) return;
    std::optional<Document> index = read(file->name, SafetensorsHeader::max_header_bytes);
    if (!index) return;
    std::int64_t bytes = 0, elements = 0;
    for (const MergeTarget& target : plan_.targets) {
      if (!target.is_reshaped()) continue;
      const auto added = static_cast<std::int64_t>(target.bytes() - target.original_bytes());
      bytes += added;
      elements += added * 8 / bits(target.tensor->info->dtype);
      Json* const map = member(index->json, "weight_map");
      if (target.made != nullptr && map != nullptr)
        set(*map, target.made->info.name, json_value(Json::value_t::string, model_.shard_name(target.tensor->shard)));
    }
    if (Json* const metadata = member(index->json, "metadata"))
      for (const auto& [key, added] : {std::pair("total_size", bytes), std::pair("total_parameters", elements)})
        if (Json* const total = member(*metadata, key); total != nullptr && total->is_number_integer())
          *total = json_value(Json::value_t::number_integer, integer(*total) + added);
    write(file->name, std::move(*index));
  }

  /// A configuration and that of the language model within it.
  template <class Visit>
  static void visit_configs(Json& config, const Visit& visit) {
    if (!config.is_object()) return;
    visit(config);
    for (const std::string_view key : {"text_config", "llm_config", "language_config"})
      if (Json* const inner = member(config, key)) visit_configs(*inner, visit);
  }

  /// vocab_size, which readers take for the rows of embeddings and output layer, and tie_word_embeddings.
  void change_config() {
    const MergeTarget *embeddings = nullptr, *any = nullptr;
    for (const MergeTarget& target : plan_.targets) {
      if (!target.is_grown()) continue;
      any = &target;
      if (is_embedding(module_of(target))) embeddings = &target;
    }
    if (any == nullptr && !plan_.unties) return;
    if (embeddings == nullptr) embeddings = any;
    const std::uint64_t before = embeddings == nullptr ? 0 : embeddings->tensor->info->shape[0],
                        after = embeddings == nullptr ? 0 : embeddings->shape[0];
    const auto warn = [&](const auto&... why) {
      if (any != nullptr)
        warnings_.push_back(text("the vocabulary grew from ", before, " to ", after, " rows: ", why...,
                                 ": set vocab_size to ", after, " where the merged model is loaded, or that fails"));
    };
    expect_equal_rows(after);
    warn_of_logits_bias(before, after);
    if (!model_.is_folder()) return warn("a model that is one file brings no config.json");
    std::optional<Document> config;
    try {
      config = read("config.json", max_config_bytes);
    } catch (const FileError& error) {
      return warn(bare(error));
    }
    if (!config || !config->json.is_object()) return warn("there is no config.json");
    bool is_changed = false, is_sized = false;
    visit_configs(config->json, [&](Json& part) {
      Json* const size = member(part, "vocab_size");
      if (size != nullptr && size->is_number_integer() && any != nullptr) {
        is_sized = is_sized || integer(*size) == static_cast<std::int64_t>(after);
        if (integer(*size) == static_cast<std::int64_t>(before)) {
          *size = json_value(Json::value_t::number_integer, static_cast<std::int64_t>(after));
          is_changed = is_sized = true;
        }
      }
      if (Json* const ties = member(part, "tie_word_embeddings"); ties != nullptr && plan_.unties) {
        *ties = json_value(Json::value_t::boolean, false);
        is_changed = true;
      }
    });
    if (plan_.unties && member(config->json, "tie_word_embeddings") == nullptr) {
      set(config->json, "tie_word_embeddings", json_value(Json::value_t::boolean, false));
      is_changed = true;
    }
    // T5 scales what goes into the output layer where that is tied, unless this key says it.
    const Json* const type = member(config->json, "model_type");
    if (plan_.unties && type != nullptr && (is_string(*type, "t5") || is_string(*type, "longt5")) &&
        member(config->json, "scale_decoder_outputs") == nullptr)
      set(config->json, "scale_decoder_outputs", json_value(Json::value_t::boolean, true));
    if (!is_sized) warn("config.json has no vocab_size of ", before);
    if (is_changed) write("config.json", std::move(*config));
  }

  static std::string_view module_of(const MergeTarget& target) {
    const std::string_view name = target.tensor->info->name;
    return name.substr(0, name.rfind('.'));
  }

  /// Readers want as many rows in the output layer, and its bias, as in the embeddings.
  void expect_equal_rows(std::uint64_t rows) {
    if (rows == 0) return;
    for (const ModelTensor& tensor : model_.tensors()) {
      const std::string_view name = tensor.info->name;
      const std::string_view module = name.substr(0, name.rfind('.'));
      const std::size_t dimensions = tensor.info->shape.size();
      const bool is_weight = (is_head(module) || is_embedding(module)) && name.ends_with(".weight") && dimensions == 2;
      const bool is_bias = (is_head(module) || is_at_end(module, "predictions")) && name.ends_with(".bias") && dimensions == 1;
      if (!is_weight && !is_bias) continue;
      const auto target = std::find_if(plan_.targets.begin(), plan_.targets.end(),
                                       [&](const MergeTarget& t) { return t.tensor == &tensor; });
      const std::uint64_t own = target == plan_.targets.end() ? tensor.info->shape[0] : target->shape[0];
      if (own != rows)
        warnings_.push_back(text("the vocabulary grew to ", rows, " rows, but tensor ", in_quotes(name), " has ", own,
                                 ": the adapter does not bring its new rows, and programs want as many"));
    }
  }

  /// BART and its kin add a constant to the logits, (1, vocabulary), which no adapter brings.
  void warn_of_logits_bias(std::uint64_t before, std::uint64_t after) {
    for (const ModelTensor& tensor : model_.tensors())
      if (is_at_end(tensor.info->name, "final_logits_bias") && !tensor.info->shape.empty() && tensor.info->shape.back() == before &&
          before != after)
        warnings_.push_back(text("the vocabulary grew to ", after, " rows, but tensor ", in_quotes(tensor.info->name), " has ", before,
                                 " numbers: transformers wants as many, so give the base one that is longer by zeros first "
                                 "(resize_token_embeddings(", after, "), save_pretrained)"));
  }

  void warn_of_new_tensors() {
    std::vector<std::string> names;
    for (const MergeTarget& target : plan_.targets)
      if (target.made != nullptr && target.copied == nullptr && !is_head(module_of(target))) names.push_back(target.made->info.name);
    if (!names.empty())
      warnings_.push_back(
          text("new tensors, which the base does not have: ", some_of(names),
               ": programs read them where config.json has the architecture (and num_labels) that they belong to"));
  }

  const Model& model_;
  const MergePlan& plan_;
  std::vector<std::string>& warnings_;
  Reshape out_;
};
using MergedFiles = BasicMergedFiles<>;

}  // namespace io::detail
LORA_NAMESPACE_END
