// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"
#include "lora/update/scaling.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {
class PatternKeys;
class DiffusersConfigs;
class JsonFields;
struct KindRow;
struct PeftType;
}  // namespace detail

/// What an `adapter_config.json` of PEFT says about an adapter of peft_type LORA, LOHA, LOKR, VERA or IA3, or LN_TUNING or
/// TRAINABLE_TOKENS, which bring whole tensors alone.
///
/// Read: peft_type, r, lora_alpha (alpha of LOHA and LOKR), use_rslora, use_dora, lora_bias, rank_pattern, alpha_pattern, token_indices,
/// fan_in_fan_out, init_lora_weights, target_parameters, feedforward_modules, modules_to_save. r and alpha must be there where the type has
/// them (PEFT would assume 8). Not used, since they do not change what a finished adapter computes: see `ignored_keys`. Every
/// other key, known or not, is refused by its name unless it is null, false, 0, "", "none", [] or {}.
///
/// A module is named by its path in the base model. Of rank_pattern and alpha_pattern the first key, in file order, counts
/// for which Python's `re.match("(.*\.)?(KEY)$", path)` succeeds, as in PEFT: `q_proj` is the end of
/// `layers.0.self_attn.q_proj`, `attn.q_proj` is not.
class PeftConfig {
 public:
  /// Keys about training, provenance, or another key that is refused when it is used: lora_dropout acts in training
  /// only, the *_config keys belong to initialisers (init_lora_weights decides), qalora_group_size to use_qalora,
  /// megatron_core to megatron_config, runtime_config to training on several devices, merge_weights to old versions'
  /// layers; target_modules and those that restrict it say where factors were to be made, and the file has those that
  /// were.
  static constexpr std::array<std::string_view, 32> ignored_keys{
      "auto_mapping",        "base_model_class",  "base_model_name_or_path",
      "corda_config",        "eva_config",        "ensure_weight_tying",
      "exclude_modules",     "inference_mode",    "layers_pattern",
      "layers_to_transform", "loftq_config",      "lora_dropout",
      "lora_ga_config",      "megatron_core",     "merge_weights",
      "peft_version",        "qalora_group_size", "revision",
      "runtime_config",      "target_modules",    "task_type",
      "module_dropout",      "rank_dropout",      "rank_dropout_scale",
      "init_weights",        "init_ia3_weights",  "use_effective_conv2d",
      "decompose_both",      "decompose_factor",  "d_initial",
      "projection_prng_key", "vera_dropout"};

  /// Enough for the names of 20 000 modules in each of three lists.
  static constexpr std::uint64_t max_file_bytes = 8 << 20;

  /// What to do about an adapter that belongs to other weights than the original ones, see initialiser().
  enum class Unconverted { refuse, take };

  /// Reads the file. Throws FileError naming the file, the key, what was expected and what was found.
  static PeftConfig load(const std::filesystem::path& file, Unconverted unconverted = Unconverted::refuse);

  /// The same from characters already read; `file` names them in messages.
  static PeftConfig parse(const std::filesystem::path& file, std::string_view characters,
                          Unconverted unconverted = Unconverted::refuse);

  /// init_lora_weights where it names an initialiser that took the start of the factors out of the base's weights (`pissa`, `olora`,
  /// `corda` ...), and the adapter was not converted since; else empty.
  const std::string& initialiser() const { return initialiser_; }

  /// LORA, LOHA, LOKR, VERA, IA3, LN_TUNING or TRAINABLE_TOKENS.
  std::string_view peft_type() const;

  /// What it says of one module.
  struct Module {
    Index rank;       ///< r, or what rank_pattern has for the module; 0 for IA3
    Scaling scaling;  ///< alpha / r, or alpha / sqrt(r) with use_rslora; alpha is lora_alpha, or alpha_pattern's. 1 for VERA, IA3

    /// Of IA3: what the module takes in is scaled, and not what it puts out. feedforward_modules is a list of what
    /// paths end in, anywhere, or one regular expression for whole paths.
    bool is_feedforward = false;
  };

  /// Of all modules of an adapter, in their order. Throws ValueError, naming the module, when the patterns take too long to
  /// match: a configuration out of a file can hold any number of patterns, each harmless alone.
  std::vector<Module> modules(std::span<const std::string> paths) const;

  /// Of one. Throws as modules() does.
  Module module(const std::string& path) const;

  /// fan_in_fan_out: the base weight is stored (in, out), as in GPT-2's Conv1D.
  bool fan_in_fan_out() const { return fan_in_fan_out_; }

  /// use_dora: every module has a magnitude, see DoRA.
  bool is_dora() const { return is_dora_; }

  /// lora_bias: B of every module has a bias.
  bool has_lora_bias() const { return has_lora_bias_; }

  /// The parameters of a module, in their order, that target_parameters lists as PATH.PARAMETER, where PATH is the module's path or
  /// the end of it behind a dot; or as gate_up_proj, down_proj alone, for modules called `experts`.
  std::vector<std::string> parameters_of(std::string_view path) const;

  /// The rows of the table of kinds that modules may be; none where whole tensors are all that the adapter has.
  std::span<const detail::KindRow* const> kinds() const;

  /// Whether modules_to_save names the module or one that it lies in, by the end of its path (`head` names `lm_head`,
  /// as in PEFT): its tensors were trained and stand in the base's place. (PEFT itself names "classifier" and "score"
  /// for every classifier, whether there is one or not.)
  bool replaces(std::string_view module) const;

  /// ensure_weight_tying: modules tied to those of modules_to_save are trained with them, and have their tensors in the file.
  bool keeps_ties() const { return keeps_ties_; }

  /// bias is "all" or "lora_only", "vera_only": the biases in the file stand in the base's place.
  bool trains_biases() const { return trains_biases_; }

  /// The tokens that trainable_token_indices (token_indices of TRAINABLE_TOKENS) lists for an embedding, by its path or the end of it
  /// (a list without names is for `embed_tokens`); of a module that none names, the only list that there is (PEFT wraps the output
  /// layer that is tied to the embedding as well); empty when there are none.
  std::vector<std::uint64_t> trained_tokens(std::string_view module) const;

  /// base_model_name_or_path and task_type: what the adapter was made for, and nothing that is computed with. Empty
  /// when they are no strings.
  const std::string& base_model() const { return base_model_; }
  const std::string& task_type() const { return task_type_; }

 private:
  template <class Value>
  struct Pattern {
    std::shared_ptr<const detail::PatternKeys> keys;
    std::vector<Value> values;
  };

  friend class detail::DiffusersConfigs;
  PeftConfig(const detail::JsonFields& in, Unconverted unconverted);

  const detail::PeftType* type_ = nullptr;
  Index rank_ = 0;
  double alpha_ = 1.0;
  bool rank_stabilized_ = false, fan_in_fan_out_ = false, is_dora_ = false, has_lora_bias_ = false,
       trains_biases_ = false, keeps_ties_ = false;
  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> trained_tokens_;
  std::vector<std::string> target_parameters_, feedforward_modules_;
  std::shared_ptr<const detail::PatternKeys> feedforward_expression_;  // null where they are a list
  std::string base_model_, task_type_, initialiser_;
  std::vector<std::string> modules_to_save_;
  Pattern<Index> ranks_;
  Pattern<double> alphas_;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/peft/config-inl.hpp"
#endif
