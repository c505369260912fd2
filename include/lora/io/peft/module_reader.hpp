// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The updates of one module out of its tensors in an adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/expert_factors.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/read_factor.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

struct PeftPart {
  const PeftPiece* piece;
  const TensorInfo* tensor;
};
/// The tensors of one module.
struct PeftGroup {
  std::string module;
  bool is_embedding;
  std::vector<PeftPart> parts = {};
  const TensorInfo* bias = nullptr;  // lora_B.bias
  std::string parameter = {};        // of target_parameters; empty for a module's weight

  const TensorInfo* of(std::string_view name) const {
    for (const PeftPart& part : parts)
      if (part.piece->part == name) return part.tensor;
    return nullptr;
  }

  /// The module's path, without the layers that wrap a parameter.
  std::string_view path() const {
    std::string_view out = module;
    if (!parameter.empty())
      while (out.ends_with(base_layer_piece)) out.remove_suffix(base_layer_piece.size());
    return out;
  }
};

class ModuleReader {
 public:
  /// `shared` are the tensors that all modules use (VeRA's matrices): read once.
  ModuleReader(const Safetensors& file, const PeftConfig& config, const std::vector<PeftPart>& shared)
      : file_(file), config_(config), shared_(shared) {
    for (const auto& [piece, tensor] : shared_) {
      if (tensor->shape.size() != 2)
        refuse_tensor(file_.path(), *tensor, text("expected two dimensions, found ", shape_list(tensor->shape)));
      try {
        shared_factors_.emplace_back(piece->part,
                                     read_factor(file_, *tensor, piece->spelling, static_cast<Index>(tensor->shape[0]),
                                                 static_cast<Index>(tensor->shape[1])));
      } catch (const ValueError& error) {
        refuse_tensor(file_.path(), *tensor, bare(error));
      }
    }
  }

  /// Appends what a group does: a weight's update, those of experts, that of a bias.
  void read(const PeftGroup& group, const PeftConfig::Module& configured, std::vector<AdapterModule>& out) const {
    const KindRow& kind = kind_of_group(group);
    try {
      Parts parts;
      std::vector<Index> kernel;
      bool in_doubles = false;
      const auto add = [&](const PeftPart& part) {
        const auto [rows, cols] = shape_of(kind, part, configured.is_feedforward);
        parts.add(std::string(part.piece->part), read_factor(file_, *part.tensor, part.piece->spelling, rows, cols));
        in_doubles = in_doubles || part.tensor->dtype == DType::F64;
        if (part.tensor->shape.size() > 2 && kernel.empty())
          kernel.assign(part.tensor->shape.begin() + 2, part.tensor->shape.end());
      };
      for (const PeftPart& part : group.parts) add(part);
      for (const auto& [name, matrix] : shared_factors_) {
        parts.add(name, matrix);
        in_doubles = in_doubles || matrix.type() == ScalarType::float64;
      }
      const auto make = [&](const KindRow& row, const Parts& of, const Scaling& scaling) -> AdapterUpdate {
        if (in_doubles) return make_update<double>(row, of, scaling);
        return make_update<float>(row, of, scaling);
      };
      const auto append = [&](const AdapterUpdate& update) -> AdapterModule& {
        AdapterModule& module =
            out.emplace_back(AdapterModule{std::string(group.path()), update, config_.fan_in_fan_out()});
        if (!group.parameter.empty()) module.parameter = group.parameter;
        return module;
      };
      const Index experts = expect_rank(group, kind, configured.rank);
      const Scaling scaling = scaling_of(group, kind, configured);
      for (Index expert = 0; expert < experts; ++expert) {
        AdapterModule& module =
            append(make(kind, group.parameter.empty() ? parts : factors_of_expert(parts, expert, experts), scaling));
        module.is_embedding = group.is_embedding;
        module.kernel = kernel;
        if (!group.parameter.empty()) {
          module.expert = expert;
          module.experts = experts;
        }
        const auto stored = [&](std::string_view name) {
          const TensorInfo* const tensor = group.of(name);
          return tensor == nullptr ? std::nullopt : std::optional(tensor->dtype);
        };
        module.a_dtype = stored("lora_A");
        module.b_dtype = stored("lora_B");
        module.magnitude_dtype = stored(magnitude_name);
      }
      if (group.bias != nullptr) {
        const TensorInfo& tensor = *group.bias;
        if (tensor.shape.size() != 1)
          refuse_tensor(file_.path(), tensor, text("expected one dimension, found ", shape_list(tensor.shape)));
        Parts bias;
        bias.add("lora_B", read_factor(file_, tensor, "lora_B.bias", static_cast<Index>(tensor.shape[0]), 1));
        bias.add("lora_A", {"1", Matrix<float>::Ones(1, 1)});
        in_doubles = tensor.dtype == DType::F64;
        AdapterModule& module =
            append(make(lora_kind, bias, lora::scaling::fixed(configured.scaling(configured.rank))));
        module.parameter = "bias";
        module.b_dtype = tensor.dtype;
      } else if (config_.has_lora_bias()) {
        fail(file_.path(), "module ", in_quotes(group.module),
             ": expected a lora_B.bias, as adapter_config.json says (lora_bias), found none");
      }
      if (&kind == &ia3_kind && !configured.is_feedforward) {
        AdapterModule& module = append(make(kind, parts, scaling));
        module.parameter = "bias";
        module.is_optional = true;
      }
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      fail(file_.path(), "module ", in_quotes(group.module), ": ", bare(error));
    }
  }

 private:
  using Parts = lora::detail::UpdateParts;

  bool has_shared(std::string_view part) const {
    return std::any_of(shared_.begin(), shared_.end(), [&](const PeftPart& p) { return p.piece->part == part; });
  }

  const KindRow& kind_of_group(const PeftGroup& group) const {
    for (const KindRow* const row : config_.kinds()) {
      const auto is_there = [&](const KindPart& part) {
        return !part.is_required || group.of(part.name) != nullptr || has_shared(part.name);
      };
      if (std::all_of(row->parts.begin(), row->parts.end(), is_there)) return *row;
    }
    const KindRow& wanted = *config_.kinds().front();
    std::string names, missing;
    for (const KindPart& part : wanted.parts)
      if (part.is_required) {
        names += text(names.empty() ? "" : ", ", part.name);
        if (missing.empty() && group.of(part.name) == nullptr && !has_shared(part.name)) missing = part.name;
      }
    fail(file_.path(), "module ", in_quotes(group.module), ": expected ", names,
         missing == magnitude_name ? ", as adapter_config.json says (use_dora)" : "", ", found no ", missing,
         missing == magnitude_name
             ? ": the file was saved without the magnitudes, or use_dora is not true of it"
         : missing == "lora_A" || missing == "lora_B"
             ? ": a part of the adapter is missing; fetch it, or save it, again"
         : missing == "vera_A" || missing == "vera_B"
             ? ": it was saved without its projections (save_projection), which PEFT draws anew from "
               "projection_prng_key; load "
               "it with PEFT, set save_projection to true in its configuration, and save it again"
             : "");
  }

  /// What a part is as a matrix: a tensor of more than two dimensions is its first one x the product of the rest; IA3's
  /// is a row where it scales what a module takes in.
  std::pair<Index, Index> shape_of(const KindRow& kind, const PeftPart& part, bool is_feedforward) const {
    const TensorInfo& tensor = *part.tensor;
    const std::vector<std::uint64_t>& shape = tensor.shape;
    std::uint64_t count = 1, longest = 1;
    for (const std::uint64_t size : shape) {
      count *= size;
      longest = std::max(longest, size);
    }
    const bool is_vector = std::any_of(kind.parts.begin(), kind.parts.end(), [&](const KindPart& row) {
      return row.name == part.piece->part && row.is_vector;
    });
    if ((is_vector || &kind == &ia3_kind) && (shape.empty() || longest != count))
      refuse_tensor(file_.path(), tensor, text("expected a vector, found the shape ", shape_list(shape)));
    if (&kind == &ia3_kind && is_feedforward) return {1, static_cast<Index>(count)};
    if (is_vector || &kind == &ia3_kind) return {static_cast<Index>(count), 1};
    if (shape.size() < 2)
      refuse_tensor(file_.path(), tensor,
                    text("expected two dimensions, those of a linear layer's factor, or more, a convolution's, found ",
                         shape_list(shape)));
    if (part.piece->part == "lokr_w2" && shape.size() == 3)
      refuse_tensor(file_.path(), tensor, peft_lokr_of_one_dimension);
    const std::uint64_t cols = shape[0] == 0 ? 0 : count / shape[0];
    if (part.piece->part == "lora_B" && cols != shape[1])
      refuse_tensor(file_.path(), tensor,
                    text("expected the kernel of a convolution's lora_B to be 1 wide, found ", shape_list(shape)));
    return {static_cast<Index>(shape[0]), static_cast<Index>(cols)};
  }

  static std::string shapes_text(const PeftGroup& group) {
    std::string out;
    for (const PeftPart& part : group.parts)
      out += text(out.empty() ? "" : ", ", part.piece->spelling, " ", shape_list(part.tensor->shape));
    return out;
  }

  /// The number of experts, 1 where there are none. Throws FileError unless the rank is the configured one.
  Index expect_rank(const PeftGroup& group, const KindRow& kind, Index rank) const {
    const auto configured = static_cast<std::uint64_t>(rank);
    const auto refuse = [&](const std::string& expected) {
      fail(file_.path(), "module ", in_quotes(group.module), ": expected ", expected, ", found ", shapes_text(group));
    };
    const TensorInfo *const a = group.of("lora_A"), *const b = group.of("lora_B");
    if (a != nullptr && b != nullptr && a->shape.size() != b->shape.size())
      refuse("factors of one number of dimensions");
    if (a != nullptr && b != nullptr && a->shape[0] != b->shape[1])
      refuse(a->shape.size() > 2 && b->shape[1] != 0 && a->shape[0] % b->shape[1] == 0
                 ? "factors of a convolution that is not grouped (A is not, so that the change has no place in a "
                   "grouped weight)"
                 : "one rank");
    for (const std::string_view name : kind.ranked) {
      const TensorInfo* const tensor = group.of(name);
      if (tensor == nullptr) continue;
      const std::uint64_t found = tensor->shape[0];
      if (!group.parameter.empty() && configured != 0 && found != 0 && found % configured == 0)
        return static_cast<Index>(found / configured);
      if (found != configured) refuse(text("the rank ", rank, " of adapter_config.json (r, rank_pattern)"));
    }
    return 1;
  }

  /// A LoKr whose matrices are both whole has no rank of its own: that of the configuration counts, as in PEFT.
  static Scaling scaling_of(const PeftGroup& group, const KindRow& kind, const PeftConfig::Module& configured) {
    if (&kind == &vera_kind || &kind == &ia3_kind) return lora::scaling::fixed(1);
    const bool is_ranked = std::any_of(kind.ranked.begin(), kind.ranked.end(),
                                       [&](std::string_view name) { return group.of(name) != nullptr; });
    return is_ranked ? configured.scaling : lora::scaling::fixed(configured.scaling(configured.rank));
  }

  const Safetensors& file_;
  const PeftConfig& config_;
  const std::vector<PeftPart>& shared_;
  std::vector<std::pair<std::string, lora::detail::AnyFactor>> shared_factors_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
