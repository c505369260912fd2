// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/patterns/patterns.hpp"
#include "lora/io/text/config_reader.hpp"
#include "lora/update/scaling.hpp"

#include <array>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// With ASCII letters in lower case.
inline std::string lower_case(std::string text) {
  for (char& letter : text)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  return text;
}

}  // namespace detail

/// What an `adapter_config.json` of PEFT says about a linear LoRA adapter.
///
/// Read: peft_type, r, lora_alpha, use_rslora, rank_pattern, alpha_pattern, fan_in_fan_out, target_modules,
/// exclude_modules, layers_to_transform, layers_pattern, init_lora_weights. r and lora_alpha must be there (PEFT would
/// assume 8). Not used, since they do not change what a finished adapter computes: see `ignored_keys`. Every other
/// key, known or not, is refused by its name unless it is null, false, 0, "", "none", [] or {}.
///
/// What is asked of a module (named by its path in the base model) costs steps of a PatternBudget, one for all modules
/// of an adapter; ValueError when it is used up.
class PeftConfig {
 public:
  /// Keys about training, provenance, or another key that is refused when it is used: lora_dropout acts in training
  /// only, the *_config keys belong to initialisers (init_lora_weights decides), ensure_weight_tying to
  /// modules_to_save, qalora_group_size to use_qalora, megatron_core to megatron_config, runtime_config to training on
  /// several devices, merge_weights to old versions' layers.
  static constexpr std::array<std::string_view, 17> ignored_keys{"auto_mapping",
                                                                 "base_model_class",
                                                                 "base_model_name_or_path",
                                                                 "corda_config",
                                                                 "ensure_weight_tying",
                                                                 "eva_config",
                                                                 "inference_mode",
                                                                 "loftq_config",
                                                                 "lora_dropout",
                                                                 "lora_ga_config",
                                                                 "megatron_core",
                                                                 "merge_weights",
                                                                 "peft_version",
                                                                 "qalora_group_size",
                                                                 "revision",
                                                                 "runtime_config",
                                                                 "task_type"};

  /// Enough for the names of 20 000 modules in each of three lists.
  static constexpr std::uint64_t max_file_bytes = 8 << 20;

  /// Reads the file. Throws FileError naming the file, the key, what was expected and what was found.
  static PeftConfig load(const std::filesystem::path& file) {
    const detail::Json json = detail::read_json_file(file, max_file_bytes);
    return PeftConfig(detail::ConfigReader(file, json));
  }

  /// The same from characters already read; `file` names them in messages.
  static PeftConfig parse(const std::filesystem::path& file, std::string_view characters) {
    const detail::Json json = detail::read_json(file, "", characters);
    return PeftConfig(detail::ConfigReader(file, json));
  }

  /// r, or what rank_pattern has for the module.
  Index rank(std::string_view module, PatternBudget& budget) const {
    const auto* entry = ranks_.find(module, budget);
    return entry != nullptr ? entry->value : rank_;
  }

  /// lora_alpha, or what alpha_pattern has for the module.
  double alpha(std::string_view module, PatternBudget& budget) const {
    const auto* entry = alphas_.find(module, budget);
    return entry != nullptr ? entry->value : alpha_;
  }

  /// alpha / r, or alpha / sqrt(r) with use_rslora.
  Scaling scaling(std::string_view module, PatternBudget& budget) const {
    const double value = alpha(module, budget);
    return rank_stabilized_ ? lora::scaling::rank_stabilized(value) : lora::scaling::alpha(value);
  }

  /// fan_in_fan_out: the base weight is stored (in, out), as in GPT-2's Conv1D.
  bool fan_in_fan_out() const { return fan_in_fan_out_; }

  /// Whether target_modules, exclude_modules, layers_to_transform and layers_pattern let the adapter act on the module.
  bool selects(std::string_view module, PatternBudget& budget) const {
    if (excluded_ && excluded_->contains(module, budget)) return false;
    if (!targets_.contains(module, budget)) return false;
    return !targets_.is_list() || targets_.has_whole(module) || layers_.contains(module, budget);
  }

  /// base_model_name_or_path and task_type: what the adapter was made for, and nothing that is computed with. Empty
  /// when they are no strings.
  const std::string& base_model() const { return base_model_; }
  const std::string& task_type() const { return task_type_; }

 private:
  explicit PeftConfig(const detail::ConfigReader& in) {
    const detail::Json& type = in.required("peft_type", "\"LORA\"");
    if (type.as<std::string>() == nullptr || *type.as<std::string>() != "LORA")
      in.refuse("peft_type", "expected \"LORA\", the only type supported, found ", type.description());
    rank_ = in.positive("r", in.required("r", "the rank"));
    alpha_ = in.finite("lora_alpha", in.required("lora_alpha", "a number"));
    rank_stabilized_ = in.flag("use_rslora");
    fan_in_fan_out_ = in.flag("fan_in_fan_out");
    base_model_ = in.string_or_empty("base_model_name_or_path");
    task_type_ = in.string_or_empty("task_type");
    PatternBudget budget;
    read_patterns(in, "rank_pattern", ranks_, &detail::ConfigReader::positive, budget);
    read_patterns(in, "alpha_pattern", alphas_, &detail::ConfigReader::finite, budget);
    read_targets(in, budget);
    check_initialiser(in);
    refuse_the_rest(in);
  }

  template <class Value, class Read>
  static void read_patterns(const detail::ConfigReader& in, std::string_view key, PatternMap<Value>& into, Read read,
                            PatternBudget& budget) {
    const detail::Json* found = in.value(key);
    if (found == nullptr) return;
    const auto* members = found->as<detail::Json::Object>();
    if (members == nullptr) in.refuse(key, "expected an object of patterns and numbers, found ", found->description());
    for (const auto& [pattern, json] : *members) {
      const Value number = (in.*read)(detail::text(key, ": ", pattern), json);
      in.with_pattern(key, pattern, [&, &name = pattern] { into.add(name, number, budget); });
    }
  }

  static std::optional<ModuleNames> module_names(const detail::ConfigReader& in, std::string_view key,
                                                 PatternBudget& budget) {
    const detail::Json* found = in.value(key);
    if (found == nullptr) return std::nullopt;
    const auto* pattern = found->as<std::string>();
    if (pattern == nullptr) return ModuleNames::list(in.strings(key, *found));
    // PEFT's word for all linear layers: here, those the file has factors for.
    if (key == "target_modules" && detail::lower_case(*pattern) == "all-linear") return ModuleNames();
    return in.with_pattern(key, *pattern, [&] { return ModuleNames::matching(*pattern, budget); });
  }

  void read_targets(const detail::ConfigReader& in, PatternBudget& budget) {
    targets_ = module_names(in, "target_modules", budget).value_or(ModuleNames());
    excluded_ = module_names(in, "exclude_modules", budget);
    const detail::Json* found = in.value("layers_to_transform");
    if (found == nullptr) return;
    const std::vector<Index> layers = in.numbers("layers_to_transform", *found);
    if (layers.empty()) return;
    if (!targets_.is_list())
      in.refuse("layers_to_transform", "expected target_modules to be a list when layers are chosen, found none");
    std::vector<std::string> patterns;
    if (const detail::Json* pattern = in.value("layers_pattern")) {
      if (const auto* one = pattern->as<std::string>())
        patterns.assign(one->empty() ? 0 : 1, *one);
      else
        patterns = in.strings("layers_pattern", *pattern);
    }
    in.with_pattern("layers_pattern", patterns.empty() ? "" : patterns.front(),
                    [&] { layers_ = LayerFilter(layers, patterns, budget); });
  }

  /// Some initialisers take the start of the adapter out of the base weight. Until such an adapter is converted (PEFT:
  /// `path_initial_model_for_weight_conversion`, which sets this key to true) it belongs to that changed weight, and
  /// added to the original one it would give a wrong result. The ones let through leave the base weight alone.
  static void check_initialiser(const detail::ConfigReader& in) {
    static constexpr std::array<std::string_view, 4> harmless{"gaussian", "eva", "orthogonal", "mica"};
    const detail::Json* found = in.value("init_lora_weights");
    if (found == nullptr || found->as<bool>() != nullptr) return;
    if (found->as<std::string>() == nullptr || !contains(harmless, *found->as<std::string>()))
      in.refuse(
          "init_lora_weights",
          "expected true, false or an initialiser that leaves the base weight alone (gaussian, eva, orthogonal, mica), "
          "found ",
          found->description(),
          ": convert the adapter to the original weights first (PEFT's path_initial_model_for_weight_conversion)");
  }

  static void refuse_the_rest(const detail::ConfigReader& in) {
    static constexpr std::array<std::string_view, 12> read{"peft_type",       "r",
                                                           "lora_alpha",      "use_rslora",
                                                           "rank_pattern",    "alpha_pattern",
                                                           "fan_in_fan_out",  "target_modules",
                                                           "exclude_modules", "layers_to_transform",
                                                           "layers_pattern",  "init_lora_weights"};
    for (const auto& [key, json] : in.members())
      if (!contains(read, key) && !contains(ignored_keys, key) && !json.is_unused())
        in.refuse(key, "not supported: expected null, false, \"none\" or empty, found ", json.description());
  }

  template <std::size_t N>
  static bool contains(const std::array<std::string_view, N>& keys, std::string_view key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }

  Index rank_ = 0;
  double alpha_ = 0.0;
  bool rank_stabilized_ = false, fan_in_fan_out_ = false;
  std::string base_model_, task_type_;
  PatternMap<Index> ranks_;
  PatternMap<double> alphas_;
  ModuleNames targets_;
  std::optional<ModuleNames> excluded_;
  LayerFilter layers_;
};

}  // namespace io
LORA_NAMESPACE_END
