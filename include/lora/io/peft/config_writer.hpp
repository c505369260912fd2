// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The adapter_config.json that gives every module of an adapter its rank and its very scaling. For bodies (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/alpha_for.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/kinds.hpp"
#include "lora/io/peft/lokr_split.hpp"
#include "lora/io/peft/patterns.hpp"
#include "lora/io/peft/peft_types.hpp"
#include "lora/io/text/json_events.hpp"

#include <cmath>
#include <map>
#include <set>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Writes the configuration of one adapter.
template <class = void>
class BasicPeftConfigWriter {
 public:
  /// `file` names the configuration in messages.
  BasicPeftConfigWriter(const std::filesystem::path& file, const Adapter& adapter) : file_(file), adapter_(adapter) {
    std::set<std::pair<std::string_view, std::string_view>> known_experts;
    for (const AdapterModule& module : adapter.modules)
      if (module.expert < 0 ? module.parameter != "bias" : known_experts.emplace(module.path, module.parameter).second)
        modules_.push_back(&module);
  }

  /// Throws FileError, naming the module, when PEFT's configuration cannot say what the adapter does.
  std::string write() {
    collect_replacements();
    if (modules_.empty() && modules_to_save_.empty() && tokens_.empty() && bias_ == "none")
      fail(file_,
           "expected an adapter with an update for at least one module, or a tensor in the base's place, found none");
    choose_type();
    expect_biases();
    expect_one_fan_in_fan_out();
    choose_rule();
    expect_utf8(file_, "base_model_name_or_path: ", adapter_.base_model);
    expect_utf8(file_, "task_type: ", adapter_.task_type);
    for (const AdapterModule& module : adapter_.modules) expect_utf8(file_, "the path of a module: ", module.path);
    // Bare paths, as PEFT's own files have and its versions before 0.15 understand, unless a path is read as another
    // expression, or is the end of another module's.
    std::string out = json(false);
    try {
      if (misread(out) == nullptr) return out;
    } catch (const FileError&) {
    }
    out = json(true);
    if (const AdapterModule* module = misread(out))
      fail(file_, where(*module),
           "expected a path that a pattern can tell from those of the other modules, found none");
    return out;
  }

 private:
  /// By this word PEFT knows that no module has factors, and loads modules_to_save all the same.
  static constexpr std::string_view no_targets = "dummy-target-modules";

  static std::string where(const AdapterModule& module) { return text("module ", in_quotes(module.path), ": "); }
  static Scaling::Rule rule(bool rank_stabilized) {
    return rank_stabilized ? Scaling::Rule::alpha_over_sqrt_rank : Scaling::Rule::alpha_over_rank;
  }

  const KindRow& kind_of_module(const AdapterModule& module) const {
    try {
      return kind_of(module.update);
    } catch (const ValueError& error) {
      fail(file_, where(module), bare(error));
    }
  }

  /// All modules have one kind: one peft_type, and one use_dora.
  void choose_type() {
    if (modules_.empty()) {  // as LoRA without factors
      kind_ = &lora_kind;
      type_ = &peft_types.front();
      return;
    }
    kind_ = &kind_of_module(*modules_.front());
    for (const AdapterModule* const module : modules_)
      if (&kind_of_module(*module) != kind_)
        fail(file_, where(*module), "expected ", kind_->name, ", as ", in_quotes(modules_.front()->path), " is, found ",
             kind_of_module(*module).name, ": the configuration has one peft_type and one use_dora for all modules");
    for (const PeftType& type : peft_types)
      for (const auto kinds : {type.kinds, type.with_dora})
        if (std::find(kinds.begin(), kinds.end(), kind_) != kinds.end()) type_ = &type;
    if (type_ == nullptr) fail(file_, where(*modules_.front()), "expected a kind that PEFT has, found ", kind_->name);
  }

  /// What of the adapter's whole tensors is trained, as modules_to_save, bias and trainable_token_indices say it.
  void collect_replacements() {
    std::set<std::string_view> weights;
    const auto module_of = [](const BaseCopy& copy) { return std::string_view(copy.tensor).substr(0, copy.tensor.rfind('.')); };
    for (const BaseCopy& copy : adapter_.base_copies)
      if (copy.is_trained && copy.rows.empty() && !copy.tensor.ends_with(".bias")) weights.insert(module_of(copy));
    for (const BaseCopy& copy : adapter_.base_copies) {
      if (!copy.is_trained) continue;
      const std::string_view module = module_of(copy);
      if (!copy.rows.empty()) {
        std::string rows;
        for (const std::uint64_t row : copy.rows) rows += text(rows.empty() ? "" : ", ", row);
        tokens_ += text(tokens_.empty() ? "\n    " : ",\n    ", string(module), ": [", rows, "]");
      } else if (!weights.contains(module)) {
        bias_ = bias_ != "all" && copy.name.ends_with(".base_layer.bias") ? "lora_only" : "all";
      }
    }
    modules_to_save_.assign(weights.begin(), weights.end());
  }

  /// lora_bias holds for all modules.
  void expect_biases() {
    for (const AdapterModule& module : adapter_.modules) {
      if (module.parameter != "bias" || kind_ == &ia3_kind) continue;
      const auto weight = std::find_if(modules_.begin(), modules_.end(), [&](const auto* other) { return other->path == module.path; });
      if (weight == modules_.end() || &kind_of_module(module) != &lora_kind || module.cols() != 1 || module.rank() != 1)
        fail(file_, where(module), "expected a bias that LoRA trains beside its weight (lora_bias), found another");
      if (lora::detail::to_bits(module.scaling()) != lora::detail::to_bits((*weight)->scaling()))
        fail(file_, where(module), "expected the scaling of its weight for the bias, ", (*weight)->scaling(), ", found ", module.scaling());
      ++biases_;
    }
    if (biases_ != 0 && biases_ != modules_.size())
      fail(file_, "expected a bias for all modules or for none (lora_bias), found ", biases_, " for ", modules_.size());
  }

  void expect_one_fan_in_fan_out() const {
    if (modules_.empty()) return;
    const AdapterModule& first = *modules_.front();
    for (const AdapterModule* const module : modules_)
      if (module->fan_in_fan_out != first.fan_in_fan_out)
        fail(file_, where(*module), "expected fan_in_fan_out as ", in_quotes(first.path),
             " has it, found the opposite: the configuration has one value for all modules");
  }

  /// r in the configuration: the module's own, or, for a LoKr of whole matrices, the least for which PEFT keeps them whole.
  static Index rank_of_module(const AdapterModule& module) {
    const Index rank = module.rank();
    return rank != 0 ? rank : whole_lokr_rank(module.update);
  }

  static std::optional<double> alpha(const AdapterModule& module, bool rank_stabilized) {
    return alpha_for(module.scaling_rule(), rule(rank_stabilized), rank_of_module(module));
  }

  /// use_rslora holds for all modules: as the first one has it, or else the other way round.
  void choose_rule() {
    if (modules_.empty()) return;
    if (type_->alpha_key.empty()) return expect_no_scaling();
    const bool preferred = modules_.front()->scaling_rule().rule() == Scaling::Rule::alpha_over_sqrt_rank;
    const AdapterModule* odd = nullptr;
    for (const bool rank_stabilized : {preferred, !preferred}) {
      if (rank_stabilized && !type_->has_rslora()) continue;
      rank_stabilized_ = rank_stabilized;
      alphas_.clear();
      for (const AdapterModule* const module : modules_) {
        const std::optional<double> value = alpha(*module, rank_stabilized);
        if (!value) {
          odd = module;
          break;
        }
        alphas_.push_back(*value);
      }
      if (alphas_.size() == modules_.size()) return;
    }
    fail(file_, where(*odd),
         "expected a scaling that is alpha / r or alpha / sqrt(r) for some alpha, by the same rule for ",
         "all modules, found ", odd->scaling(), " for the rank ", odd->rank());
  }

  void expect_no_scaling() const {
    for (const AdapterModule* const module : modules_)
      if (lora::detail::to_bits(module->scaling()) != lora::detail::to_bits(1.0))
        fail(file_, where(*module), "expected the scaling 1, since ", type_->name, " has none, found ", module->scaling());
  }

  /// The value most modules have; the first of them, if several do.
  template <class Value>
  static Value most_common(const std::vector<Value>& values) {
    std::map<Value, std::size_t> counts;
    for (const Value& value : values) ++counts[value];
    return *std::max_element(values.begin(), values.end(),
                             [&](const Value& a, const Value& b) { return counts[a] < counts[b]; });
  }

  static std::string string(std::string_view value) {
    std::string out;
    append_json_string(out, value);
    return out;
  }

  /// A key for one module of rank_pattern and alpha_pattern.
  static std::string pattern(std::string_view path, bool anchored) {
    return anchored ? "^" + escaped(path) : std::string(path);
  }

  /// A regular expression for these very characters.
  static std::string escaped(std::string_view path) {
    std::string out;
    for (const char c : path) {
      if (static_cast<unsigned char>(c) < 0x80 && !is_word(static_cast<unsigned char>(c))) out += '\\';
      out += c;
    }
    return out;
  }

  /// The entries of the modules whose value is not the default, sorted by key as PEFT does.
  template <class Value>
  std::string patterns(const std::vector<Value>& values, const Value& usual, bool anchored) const {
    std::map<std::string, Value> entries;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] < usual || values[i] > usual) entries.emplace(pattern(key_of(*modules_[i]), anchored), values[i]);
    std::string out = "{";
    for (const auto& [key, value] : entries)
      out += text(out.size() == 1 ? "\n    " : ",\n    ", string(key), ": ", value);
    return out + (entries.empty() ? "}" : "\n  }");
  }

  /// What rank_pattern and alpha_pattern are matched with.
  static std::string key_of(const AdapterModule& module) { return module.expert < 0 ? module.path : module.tensor_name(); }

  static std::string list(std::vector<std::string> names) {
    std::string out;
    for (const std::string& name : names) out += text(out.empty() ? "\n    " : ",\n    ", string(name));
    return "[" + out + (names.empty() ? "]" : "\n  ]");
  }

  /// target_modules. PEFT takes the names of a list for whole paths and for what other paths end in behind a dot. Where
  /// one of them is such an end itself it may be that of modules without factors too: then an expression for them all.
  static std::string targets_json(std::vector<std::string> paths) {
    std::sort(paths.begin(), paths.end());
    const auto ends_in_another = [&](std::string_view path) {
      for (std::size_t dot = path.find('.'); dot != path.npos; dot = path.find('.', dot + 1))
        if (std::binary_search(paths.begin(), paths.end(), path.substr(dot + 1))) return true;
      return false;
    };
    if (std::none_of(paths.begin(), paths.end(), ends_in_another)) return list(paths);
    return expression(paths);
  }
  /// An expression for these very paths.
  static std::string expression(const std::vector<std::string>& paths) {
    std::string out;
    for (const std::string& path : paths) out += (out.empty() ? "" : "|") + escaped(path);
    return string(out);
  }

  /// feedforward_modules. PEFT takes the names of a list for what paths end in, behind a dot or not, and wants them in
  /// target_modules too where both are lists. Where another module ends in one, an expression.
  std::string feedforward_json(std::vector<std::string> paths) const {
    std::sort(paths.begin(), paths.end());
    const auto is_taken_for_one = [&](const AdapterModule* module) {
      return !std::binary_search(paths.begin(), paths.end(), module->path) &&
             std::any_of(paths.begin(), paths.end(),
                         [&](const std::string& path) { return module->path.ends_with(path); });
    };
    return std::none_of(modules_.begin(), modules_.end(), is_taken_for_one) ? list(paths) : expression(paths);
  }

  /// The keys in alphabetical order, as PEFT has them.
  std::string json(bool anchored) const {
    std::vector<Index> ranks;
    std::vector<std::string> targets, parameters, feedforward;
    for (const AdapterModule* const module : modules_) {
      ranks.push_back(rank_of_module(*module));
      (module->expert < 0 ? targets : parameters).push_back(key_of(*module));
      if (kind_ == &ia3_kind && scales_columns(module->update)) feedforward.push_back(module->path);
    }
    const auto or_null = [](const std::string& value) { return value.empty() ? "null" : string(value); };
    const auto flag = [](bool value) -> std::string { return value ? "true" : "false"; };
    std::map<std::string_view, std::string> keys{
        {"base_model_name_or_path", or_null(adapter_.base_model)},
        {"inference_mode", "true"},
        {"peft_type", string(type_->name)},
        {"target_modules", modules_.empty() ? string(no_targets) : targets_json(std::move(targets))},
        {"task_type", or_null(adapter_.task_type)}};
    if (!kind_->ranked.empty()) {
      const Index rank = ranks.empty() ? 1 : most_common(ranks);
      keys["r"] = std::to_string(rank);
      if (!type_->alpha_key.empty()) keys["rank_pattern"] = patterns(ranks, rank, anchored);
    }
    if (!type_->alpha_key.empty()) {
      const double alpha = alphas_.empty() ? 1.0 : most_common(alphas_);
      keys[type_->alpha_key] = text(alpha);
      keys["alpha_pattern"] = patterns(alphas_, alpha, anchored);
    }
    if (type_->has_fan_in_fan_out())
      keys["fan_in_fan_out"] = flag(!modules_.empty() && modules_.front()->fan_in_fan_out);
    if (type_->has_bias()) keys["bias"] = string(bias_);
    if (!modules_to_save_.empty()) keys["modules_to_save"] = list(modules_to_save_);
    if (!tokens_.empty()) keys["trainable_token_indices"] = "{" + tokens_ + "\n  }";
    if (type_->has_rslora()) {
      keys["lora_dropout"] = "0.0";
      keys["use_rslora"] = flag(rank_stabilized_);
      if (kind_ == &dora_kind) keys["use_dora"] = "true";
      if (biases_ != 0) keys["lora_bias"] = "true";
      if (!parameters.empty()) keys["target_parameters"] = list(parameters);
    }
    if (kind_ == &vera_kind) keys["save_projection"] = "true";
    if (kind_ == &ia3_kind) keys["feedforward_modules"] = feedforward_json(std::move(feedforward));
    if (kind_ == &loha_kind || kind_ == &lokr_kind) keys["use_effective_conv2d"] = flag(has_cores());
    if (kind_ == &lokr_kind) {
      const LoKrSplit split = split_of(file_, modules_, [](const AdapterModule& module) { return rank_of_module(module); });
      keys["decompose_factor"] = std::to_string(split.factor);
      keys["decompose_both"] = flag(split.both);
    }
    std::string out;
    for (const auto& [key, value] : keys) out += text(out.empty() ? "{\n  " : ",\n  ", string(key), ": ", value);
    return out + "\n}\n";
  }

  /// use_effective_conv2d: whether products of convolutions have cores, all that have a kernel of more than 1 or none.
  bool has_cores() const {
    const AdapterModule *with = nullptr, *without = nullptr;
    for (const AdapterModule* const module : modules_) {
      const auto parts = visit_update([](const auto& shared) { return shared->tensors(); }, module->update);
      const bool has_core = find_part(parts, "hada_t1") != nullptr || find_part(parts, "lokr_t2") != nullptr;
      const bool has_kernel =
          std::any_of(module->kernel.begin(), module->kernel.end(), [](Index size) { return size != 1; });
      if (has_core && !has_kernel)
        fail(file_, where(*module), "expected no core for a kernel of 1, which PEFT has none for, found one: kohya's names hold it");
      if (has_core)
        with = module;
      else if (has_kernel && find_part(parts, "lokr_w2") == nullptr)
        without = module;
    }
    if (with != nullptr && without != nullptr)
      fail(file_, where(*without), "expected a core, as ", in_quotes(with->path),
           " has one: the configuration has one use_effective_conv2d for all convolutions, found none: write those with a core and those "
           "without as two adapters");
    return with != nullptr;
  }

  /// A module that the configuration does not describe as it is, or null.
  const AdapterModule* misread(const std::string& configuration) const {
    if (configuration.size() > PeftConfig::max_file_bytes)
      fail(file_, "expected a configuration of at most ", PeftConfig::max_file_bytes, " bytes, found ",
           configuration.size());
    const PeftConfig config = PeftConfig::parse(file_, configuration);
    std::vector<std::string> paths;
    for (const AdapterModule* const module : modules_) paths.push_back(key_of(*module));
    try {
      const std::vector<PeftConfig::Module> read = config.modules(paths);
      for (std::size_t i = 0; i < read.size(); ++i) {
        const AdapterModule& module = *modules_[i];
        const Index rank = rank_of_module(module);
        if (kind_ == &ia3_kind && read[i].is_feedforward != scales_columns(module.update)) return &module;
        if (read[i].rank != rank ||
            lora::detail::to_bits(read[i].scaling(std::max<Index>(rank, 1))) != lora::detail::to_bits(module.scaling()))
          return &module;
      }
    } catch (const ValueError& error) {  // the patterns take too long
      fail(file_, bare(error));
    }
    return nullptr;
  }

  const std::filesystem::path& file_;
  const Adapter& adapter_;
  std::vector<const AdapterModule*> modules_;  // those that a configuration speaks of: no biases, one for all experts
  const KindRow* kind_ = nullptr;
  const PeftType* type_ = nullptr;
  std::size_t biases_ = 0;
  std::string bias_ = "none", tokens_;
  std::vector<std::string> modules_to_save_;
  bool rank_stabilized_ = false;
  std::vector<double> alphas_;
};
using PeftConfigWriter = BasicPeftConfigWriter<>;

}  // namespace io::detail
LORA_NAMESPACE_END
