// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The modules in an adapter_model.safetensors. For bodies (-inl.hpp).

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/safetensors.hpp"

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
    const TensorInfo* a = nullptr;
    const TensorInfo* b = nullptr;
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
    const TensorInfo*& slot = factor.is_a ? pairs_[place->second].a : pairs_[place->second].b;
    if (slot != nullptr)
      refuse_tensor(file_.path(), tensor,
                    text("expected one ", factor.is_a ? "lora_A" : "lora_B", " per module, found ",
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
    if (pair.a == nullptr || pair.b == nullptr)
      fail(file_.path(), where, ": expected lora_A and lora_B, found no ", pair.a == nullptr ? "lora_A" : "lora_B");
    const auto shapes = text("lora_A ", shape_list(pair.a->shape), ", lora_B ", shape_list(pair.b->shape));
    if (pair.a->shape[0] != pair.b->shape[1]) fail(file_.path(), where, ": expected one rank, found ", shapes);
    if (pair.a->shape[0] != static_cast<std::uint64_t>(configured.rank))
      fail(file_.path(), where, ": expected the rank ", configured.rank,
           " of adapter_config.json (r, rank_pattern), found ", shapes);
    const bool wide = pair.a->dtype == DType::F64 || pair.b->dtype == DType::F64;
    return {pair.module,
            wide ? AdapterUpdate(factors<double>(pair, configured.scaling))
                 : AdapterUpdate(factors<float>(pair, configured.scaling)),
            config_.fan_in_fan_out(), pair.a->dtype, pair.b->dtype};
  }

  template <class Scalar>
  LowRank<Scalar> factors(const Pair& pair, Scaling scaling) const {
    Matrix<Scalar> B = file_.read_matrix<Scalar>(*pair.b), A = file_.read_matrix<Scalar>(*pair.a);
    try {
      return LowRank<Scalar>(std::move(B), std::move(A), scaling);
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
