// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/names.hpp"
#include "lora/io/safetensors/safetensors.hpp"

#include <map>

LORA_NAMESPACE_BEGIN
namespace io {

namespace detail {

/// Reads a PEFT folder's tensors into modules.
class AdapterReader {
 public:
  AdapterReader(const Safetensors& file, const PeftConfig& config, PatternBudget budget = {})
      : file_(file), config_(config), budget_(budget) {}

  std::vector<AdapterModule> read() {
    for (const TensorInfo& tensor : file_.tensors()) add(tensor);
    if (pairs_.empty()) fail(file_.path(), "expected the factors of at least one module, found none");
    std::vector<AdapterModule> out;
    for (const Pair& pair : pairs_) out.push_back(read(pair));
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

  AdapterModule read(const Pair& pair) {
    const std::string where = "module " + in_quotes(pair.module);
    if (pair.a == nullptr || pair.b == nullptr)
      fail(file_.path(), where, ": expected lora_A and lora_B, found no ", pair.a == nullptr ? "lora_A" : "lora_B");
    std::uint64_t rank = 0;
    Scaling scaling = scaling::fixed(0.0);
    try {
      if (!config_.selects(pair.module, budget_))
        fail(file_.path(), where,
             ": expected a module that target_modules, exclude_modules and layers_to_transform of ",
             "adapter_config.json select, found one they leave out");
      rank = static_cast<std::uint64_t>(config_.rank(pair.module, budget_));
      scaling = config_.scaling(pair.module, budget_);
    } catch (const ValueError& error) {
      fail(file_.path().parent_path() / "adapter_config.json", where, ": ", bare(error));
    }
    const auto shapes = text("lora_A ", shape_list(pair.a->shape), ", lora_B ", shape_list(pair.b->shape));
    if (pair.a->shape[0] != pair.b->shape[1]) fail(file_.path(), where, ": expected one rank, found ", shapes);
    if (pair.a->shape[0] != rank)
      fail(file_.path(), where, ": expected the rank ", rank, " of adapter_config.json (r, rank_pattern), found ",
           shapes);
    const bool wide = pair.a->dtype == DType::F64 || pair.b->dtype == DType::F64;
    return {pair.module,
            wide ? AdapterUpdate(factors<double>(pair, scaling)) : AdapterUpdate(factors<float>(pair, scaling)),
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
  PatternBudget budget_;
  std::string adapter_;  // of all tensors
  std::vector<Pair> pairs_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace detail

/// Reads a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, that holds a LoRA adapter for linear
/// layers (rsLoRA, rank_pattern, alpha_pattern and fan_in_fan_out included; F16, BF16, F32 and F64 factors). What the
/// library does not support yet is refused by the name of its key or tensor, never passed over; so are a factor without
/// its partner, ranks that contradict each other or the configuration, modules the configuration leaves out, and
/// factors that are not finite. Throws FileError.
inline Adapter load_adapter(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    detail::fail(folder, "expected a folder with adapter_config.json and adapter_model.safetensors, found none");
  const std::filesystem::path weights = folder / "adapter_model.safetensors";
  if (!std::filesystem::exists(weights, ignored) && std::filesystem::exists(folder / "adapter_model.bin", ignored))
    detail::fail(folder,
                 "expected adapter_model.safetensors, found only adapter_model.bin (a pickle, which can run code: ",
                 "save the adapter as safetensors)");
  const PeftConfig config = PeftConfig::load(folder / "adapter_config.json");
  const Safetensors file = Safetensors::open(weights);
  // "folder/" and "." have a name as well.
  const std::filesystem::path whole = std::filesystem::absolute(folder).lexically_normal();
  const std::filesystem::path last = whole.has_filename() ? whole.filename() : whole.parent_path().filename();
  return {last.string(), folder, detail::AdapterReader(file, config).read(), config.base_model(), config.task_type()};
}

}  // namespace io
LORA_NAMESPACE_END
