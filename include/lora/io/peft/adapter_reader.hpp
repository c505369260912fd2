// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The modules in an adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/safetensors.hpp"
#include "lora/io/safetensors/visit_type.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Reads a PEFT folder's tensors into modules.
class AdapterReader {
 public:
  AdapterReader(const Safetensors& file, const PeftConfig& config) : file_(file), config_(config) {}

  std::vector<AdapterModule> read() {
    for (const TensorInfo& tensor : file_.tensors()) add(tensor);
    if (pairs_.empty()) fail(file_.path(), "expected the factors of at least one module, found none");
    std::vector<AdapterModule> out;
    const std::vector<PeftConfig::Module> configured = configured_modules();
    for (std::size_t i = 0; i < pairs_.size(); ++i) out.push_back(read(pairs_[i], configured[i]));
    file_.file().expect_unchanged();
    return out;
  }

 private:
  struct Pair {
    std::string module;
    std::array<const TensorInfo*, 3> tensors{};  // by FactorKind

    const TensorInfo* of(FactorKind kind) const { return tensors[static_cast<std::size_t>(kind)]; }
  };

  void add(const TensorInfo& tensor) {
    const FactorName factor = parse_factor_name(file_.path(), tensor);
    if (pairs_.empty()) adapter_ = factor.adapter;
    if (factor.adapter != adapter_)
      refuse_tensor(file_.path(), tensor,
                    text("expected a factor of the adapter ", in_quotes(adapter_),
                         ", as those before it, found one of ", in_quotes(factor.adapter)));
    const auto [place, is_new] = index_.try_emplace(factor.module, pairs_.size());
    if (is_new) pairs_.push_back({factor.module});
    const TensorInfo*& slot = pairs_[place->second].tensors[static_cast<std::size_t>(factor.kind)];
    if (slot != nullptr)
      refuse_tensor(file_.path(), tensor,
                    text("expected one ", spelling(factor.kind), " per module, found ",
                         in_quotes(slot->name), " before it"));
    slot = &tensor;
  }

  std::vector<PeftConfig::Module> configured_modules() const {
    std::vector<std::string> paths;
    for (const Pair& pair : pairs_) paths.push_back(pair.module);
    try {
      return config_.modules(paths);
    } catch (const ValueError& error) {
      fail(file_.path().parent_path() / "adapter_config.json", bare(error));
    }
  }

  AdapterModule read(const Pair& pair, const PeftConfig::Module& configured) const {
    const std::string where = "module " + in_quotes(pair.module);
    const TensorInfo *const a = pair.of(FactorKind::a), *const b = pair.of(FactorKind::b),
                            *const m = pair.of(FactorKind::magnitude);
    if (a == nullptr || b == nullptr)
      fail(file_.path(), where, ": expected lora_A and lora_B, found no ", a == nullptr ? "lora_A" : "lora_B");
    if (config_.is_dora() && m == nullptr)
      fail(file_.path(), where, ": expected a ", magnitude_name, ", as adapter_config.json says (use_dora), found none");
    if (!config_.is_dora() && m != nullptr)
      fail(file_.path(), where, ": expected no ", magnitude_name, " (DoRA), as adapter_config.json says (use_dora), found ",
           in_quotes(m->name));
    const auto shapes = text("lora_A ", shape_list(a->shape), ", lora_B ", shape_list(b->shape));
    if (a->shape[0] != b->shape[1]) fail(file_.path(), where, ": expected one rank, found ", shapes);
    if (a->shape[0] != static_cast<std::uint64_t>(configured.rank))
      fail(file_.path(), where, ": expected the rank ", configured.rank,
           " of adapter_config.json (r, rank_pattern), found ", shapes);
    if (m != nullptr && m->shape[0] != b->shape[0])
      fail(file_.path(), where, ": expected a ", magnitude_name, " of ", b->shape[0], " numbers, one for each row of lora_B, found ",
           shape_list(m->shape));
    const std::optional<DType> of_m = m == nullptr ? std::nullopt : std::optional(m->dtype);
    return {pair.module, update(pair, configured.scaling), config_.fan_in_fan_out(), a->dtype, b->dtype, of_m};
  }

  /// In the type of all its tensors, or else in double when one is F64, in float when none is.
  AdapterUpdate update(const Pair& pair, Scaling scaling) const {
    ScalarType type = scalar_type(pair.of(FactorKind::a)->dtype).value_or(ScalarType::float32);
    for (const TensorInfo* const tensor : pair.tensors)
      if (tensor != nullptr && scalar_type(tensor->dtype) != type)
        type = type == ScalarType::float64 || tensor->dtype == DType::F64 ? ScalarType::float64 : ScalarType::float32;
    // The factors as they are in the file; whatever their type, they are converted by one function.
    std::vector<std::byte> memory[3];
    const auto view = [&](FactorKind kind, std::size_t dimensions) {
      return file_.read_view(*pair.of(kind), dimensions, memory[static_cast<std::size_t>(kind)]);
    };
    const MatrixView B = view(FactorKind::b, 2), A = view(FactorKind::a, 2);
    const bool is_dora = pair.of(FactorKind::magnitude) != nullptr;
    const MatrixView m = is_dora ? view(FactorKind::magnitude, 1) : MatrixView();
    try {
      return visit_type(type, [&]<class Scalar>(std::type_identity<Scalar>) -> AdapterUpdate {
        const LowRank<Scalar> low_rank(B, A, scaling);
        if (is_dora) return DoRA<Scalar>(low_rank, m);
        return low_rank;
      });
    } catch (const ValueError& error) {
      fail(file_.path(), "module ", in_quotes(pair.module), ": ", bare(error));
    }
  }

  const Safetensors& file_;
  const PeftConfig& config_;
  std::string adapter_;  // of all tensors
  std::vector<Pair> pairs_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
