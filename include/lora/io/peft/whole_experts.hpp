// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The experts of a parameter as one tensor of PEFT's holds them: all of them, with one rank and one scaling. For bodies (-inl.hpp).

#include "lora/io/gguf/low_rank_of.hpp"
#include "lora/io/peft/adapter.hpp"

#include <map>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Makes the same adapter of an adapter's modules, by a parameter at a time.
class WholeExperts {
 public:
  /// `target` is named in messages.
  WholeExperts(const std::filesystem::path& target, const Adapter& adapter) : target_(target), adapter_(adapter) {}

  /// With the largest of the experts' ranks, zeros beyond a smaller one, and an update of zeros for experts that have none. A scaling
  /// that is not the first one's is multiplied into B. Throws FileError, naming the module, for another kind than LoRA, two updates
  /// of one expert, factors of several types or shapes, and where that product is rounded.
  Adapter run() {
    for (const AdapterModule& module : adapter_.modules)
      if (module.expert >= 0) add(module);
    Adapter out = adapter_;
    if (parameters_.empty()) return out;
    out.modules.clear();
    for (const AdapterModule& module : adapter_.modules) {
      if (module.expert < 0)
        out.modules.push_back(module);
      else if (const Parameter& all = parameters_.at(key(module)); all.first == &module)
        append(all, out.modules);
    }
    return out;
  }

 private:
  struct Parameter {
    const AdapterModule* first;
    std::vector<const AdapterModule*> experts;  // null where one has no update
    Index rank = 0;
  };
  using Key = std::pair<std::string_view, std::string_view>;

  static Key key(const AdapterModule& module) { return {module.path, module.parameter}; }

  void add(const AdapterModule& module) {
    Parameter& all = parameters_.try_emplace(key(module), Parameter{&module, {}}).first->second;
    all.experts.resize(static_cast<std::size_t>(std::max(module.experts, all.first->experts)));
    if (module.expert >= std::ssize(all.experts)) refuse(module, text("an update of expert ", module.expert));
    const AdapterModule*& expert = all.experts[static_cast<std::size_t>(module.expert)];
    if (expert != nullptr) refuse(module, text("two updates of expert ", module.expert));
    expert = &module;
    const std::optional<LowRankFactors> factors = low_rank_factors(module.update);
    if (!factors) refuse(module, text(module.update.kind(), " of expert ", module.expert));
    const LowRankFactors first = *low_rank_factors(all.first->update);
    if (factors->B.type != first.B.type || factors->B.rows != first.B.rows || factors->A.cols != first.A.cols)
      refuse(module, text("factors of another type or shape of expert ", module.expert));
    all.rank = std::max(all.rank, module.rank());
  }

  void append(const Parameter& all, std::vector<AdapterModule>& to) const {
    std::optional<AdapterUpdate> zeros;  // one for all that have none
    for (std::size_t i = 0; i < all.experts.size(); ++i) {
      const AdapterModule* const own = all.experts[i];
      AdapterModule made = own != nullptr ? *own : *all.first;
      made.expert = static_cast<Index>(i);
      made.experts = std::ssize(all.experts);
      if (own != nullptr)
        made.update = of_rank(*own, all);
      else
        made.update = zeros ? *zeros : *(zeros = of_zeros(all));
      to.push_back(std::move(made));
    }
  }

  AdapterUpdate of_rank(const AdapterModule& module, const Parameter& all) const {
    const double scaling = all.first->scaling();
    const bool is_scaled = lora::detail::to_bits(module.scaling()) == lora::detail::to_bits(scaling);
    if (is_scaled && module.rank() == all.rank) return module.update;
    AdapterUpdate out = module.update;
    visit_as<LowRank>(module.update, [&]<class Scalar>(const LowRank<Scalar>& found) {
      Matrix<Scalar> B = Matrix<Scalar>::Zero(module.rows(), all.rank), A = Matrix<Scalar>::Zero(all.rank, module.cols());
      B.leftCols(module.rank()) = found.B();
      A.topRows(module.rank()) = found.A();
      if (!is_scaled) scale(B, module, scaling);
      out = AdapterUpdate(LowRank<Scalar>(std::move(B), std::move(A), scaling::fixed(scaling)));
    });
    return out;
  }
  AdapterUpdate of_zeros(const Parameter& all) const {
    AdapterUpdate out = all.first->update;
    visit_as<LowRank>(all.first->update, [&]<class Scalar>(const LowRank<Scalar>& found) {
      out = AdapterUpdate(LowRank<Scalar>(Matrix<Scalar>::Zero(found.rows(), all.rank), Matrix<Scalar>::Zero(all.rank, found.cols()),
                                          scaling::fixed(all.first->scaling())));
    });
    return out;
  }

  /// B times module's scaling over another one.
  template <class Scalar>
  void scale(Matrix<Scalar>& B, const AdapterModule& module, double scaling) const {
    std::size_t rounded = 0;
    lora::detail::with_fp_environment([&] {
      for (Index i = 0; i < B.size(); ++i) {
        // s_own b = s c for the c that is stored, or it is rounded: both products are exact in two parts.
        const auto b = static_cast<double>(B.data()[i]);
        const Scalar stored = lora::detail::convert<Scalar>(module.scaling() / scaling * b);
        const auto c = static_cast<double>(stored);
        const double product = module.scaling() * b;
        const bool is_same = lora::detail::is_finite(product) && lora::detail::to_bits(product) == lora::detail::to_bits(scaling * c) &&
                             lora::detail::to_bits(lora::detail::fma(module.scaling(), b, -product)) ==
                                 lora::detail::to_bits(lora::detail::fma(scaling, c, -product));
        if (!is_same) ++rounded;
        B.data()[i] = stored;
      }
    });
    if (rounded != 0)
      refuse(module, text("the scaling ", module.scaling(), " of expert ", module.expert, ", by which ", rounded,
                          " elements of B would be rounded"));
  }

  [[noreturn]] void refuse(const AdapterModule& module, const std::string& found) const {
    const Parameter& all = parameters_.at(key(module));
    fail(target_, "module ", in_quotes(module.path), ": expected one LoRA with the scaling ", all.first->scaling(), " for each of the ",
         all.experts.size(), " experts of ", in_quotes(module.parameter), ", which PEFT has in one tensor, found ", found,
         " (under the names of a base with a layer for each expert they may differ: --base, with_base_names())");
  }

  const std::filesystem::path& target_;
  const Adapter& adapter_;
  std::map<Key, Parameter> parameters_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
