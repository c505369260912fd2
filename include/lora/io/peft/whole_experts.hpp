// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The experts of a parameter as one tensor of PEFT's holds them: all of them, with one rank, scaling and type. For bodies (-inl.hpp).

#include "lora/core/fma.hpp"
#include "lora/io/gguf/low_rank_of.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/simd/fp_environment.hpp"

#include <cmath>
#include <map>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Makes the same adapter of an adapter's modules, a parameter at a time.
class WholeExperts {
 public:
  /// `target` is named in messages.
  WholeExperts(const std::filesystem::path& target, const Adapter& adapter) : target_(target), adapter_(adapter) {}

  /// With the largest of the experts' ranks, zeros beyond a smaller one, and an update of zeros for experts that have none. The
  /// scaling is one of theirs from which the others differ by numbers that B is multiplied with without rounding. Throws FileError,
  /// naming the module, where there is none, for another kind than LoRA, other types or shapes, two updates of one expert, and other
  /// numbers of experts. Allocates the factors that change.
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
  static constexpr std::size_t most_scalings = 8;  // that are tried

  static Key key(const AdapterModule& module) { return {module.path, module.parameter}; }
  static bool are_same(double a, double b) { return lora::detail::to_bits(a) == lora::detail::to_bits(b); }

  void add(const AdapterModule& module) {
    const auto [place, is_new] = parameters_.try_emplace(key(module), Parameter{&module, {}});
    Parameter& all = place->second;
    const AdapterModule& first = *all.first;
    if (module.experts != first.experts)
      refuse(module, "expected ", first.experts, " experts of ", in_quotes(module.parameter), ", as expert ", first.expert,
             " says, found ", module.experts);
    if (module.expert >= module.experts)
      refuse(module, "expected an expert of ", in_quotes(module.parameter), " below ", module.experts, ", found ", module.expert);
    if (is_new) all.experts.resize(static_cast<std::size_t>(module.experts));
    const AdapterModule*& expert = all.experts[static_cast<std::size_t>(module.expert)];
    if (expert != nullptr)
      refuse(module, "expected one update of expert ", module.expert, " of ", in_quotes(module.parameter), ", found two");
    expert = &module;
    const std::optional<LowRankFactors> factors = low_rank_factors(module.update);
    if (!factors) refuse_other(module, "LoRA", module.update.kind());
    const LowRankFactors own = *low_rank_factors(first.update);
    if (factors->B.rows != own.B.rows || factors->A.cols != own.A.cols)
      refuse(module, "expected an update of ", own.B.rows, " x ", own.A.cols, ", as of expert ", first.expert, ", found ",
             factors->B.rows, " x ", factors->A.cols, " of expert ", module.expert);
    if (factors->B.type != own.B.type)
      refuse_other(module, io::name(io::dtype_of(own.B.type)), io::name(io::dtype_of(factors->B.type)));
    all.rank = std::max(all.rank, module.rank());
  }

  void append(const Parameter& all, std::vector<AdapterModule>& to) const {
    std::vector<AdapterUpdate> updates;
    double scaling = 0;
    if (!find_scaling(all, scaling, updates)) {
      const auto odd = std::find_if(all.experts.begin(), all.experts.end(), [&](const AdapterModule* own) {
        return own != nullptr && !are_same(own->scaling(), all.first->scaling());
      });
      refuse_other(**odd, text("the scaling ", all.first->scaling(), ", or one that B is multiplied with without rounding,"),
                   text((*odd)->scaling()));
    }
    std::optional<AdapterUpdate> zeros;  // one for all that have none
    std::size_t next = 0;
    const auto dtype = [&](std::optional<DType> AdapterModule::*which) { return common_dtype(all, which); };
    const std::optional<DType> a_dtype = dtype(&AdapterModule::a_dtype), b_dtype = dtype(&AdapterModule::b_dtype);
    bool is_scaled = false;
    for (const AdapterModule* const own : all.experts) is_scaled |= own != nullptr && !are_same(own->scaling(), scaling);
    for (std::size_t i = 0; i < all.experts.size(); ++i) {
      AdapterModule made = all.experts[i] != nullptr ? *all.experts[i] : *all.first;
      made.expert = static_cast<Index>(i);
      made.a_dtype = a_dtype;
      made.b_dtype = is_scaled ? std::nullopt : b_dtype;  // products are in the update's own type
      if (all.experts[i] != nullptr)
        made.update = updates[next++];
      else
        made.update = zeros ? *zeros : *(zeros = of_zeros(all, scaling));
      to.push_back(std::move(made));
    }
  }

  /// One scaling for all experts, and their updates with it.
  static bool find_scaling(const Parameter& all, double& scaling, std::vector<AdapterUpdate>& updates) {
    std::vector<double> tried;
    for (const bool may_be_zero : {false, true})
      for (const AdapterModule* const candidate : all.experts) {
        if (candidate == nullptr || tried.size() == most_scalings) continue;
        scaling = candidate->scaling();
        if ((lora::detail::is_zero(scaling) && !may_be_zero) ||
            std::any_of(tried.begin(), tried.end(), [&](double other) { return are_same(other, scaling); }))
          continue;
        tried.push_back(scaling);
        updates.clear();
        bool fits = true;
        for (const AdapterModule* const own : all.experts)
          if (own != nullptr && fits) updates.push_back(with_scaling(*own, all.rank, scaling, fits));
        if (fits) return true;
      }
    return false;
  }

  /// The type in a file that holds what all experts' have.
  static std::optional<DType> common_dtype(const Parameter& all, std::optional<DType> AdapterModule::*which) {
    std::optional<DType> out = all.first->*which;
    for (const AdapterModule* const own : all.experts) {
      if (own == nullptr || own->*which == out) continue;
      if (!out || !(own->*which)) return std::nullopt;  // the updates' own type
      out = *out == DType::F64 || *(own->*which) == DType::F64 ? DType::F64 : DType::F32;
    }
    return out;
  }

  static AdapterUpdate with_scaling(const AdapterModule& module, Index rank, double scaling, bool& is_exact) {
    const bool is_scaled = !are_same(module.scaling(), scaling);
    if (!is_scaled && module.rank() == rank) return module.update;
    AdapterUpdate out = module.update;
    visit_as<LowRank>(module.update, [&]<class Scalar>(const LowRank<Scalar>& found) {
      Matrix<Scalar> B = Matrix<Scalar>::Zero(module.rows(), rank), A = Matrix<Scalar>::Zero(rank, module.cols());
      B.leftCols(module.rank()) = found.B();
      A.topRows(module.rank()) = found.A();
      if (is_scaled) is_exact = multiply(B, module.scaling(), scaling);
      if (is_exact) out = AdapterUpdate(LowRank<Scalar>(std::move(B), std::move(A), lora::scaling::fixed(scaling)));
    });
    return out;
  }
  static AdapterUpdate of_zeros(const Parameter& all, double scaling) {
    AdapterUpdate out = all.first->update;
    visit_as<LowRank>(all.first->update, [&]<class Scalar>(const LowRank<Scalar>& found) {
      out = AdapterUpdate(LowRank<Scalar>(Matrix<Scalar>::Zero(found.rows(), all.rank), Matrix<Scalar>::Zero(all.rank, found.cols()),
                                          lora::scaling::fixed(scaling)));
    });
    return out;
  }

  /// B times s / other, and whether other times each element is s times what it was.
  template <class Scalar>
  static bool multiply(Matrix<Scalar>& B, double s, double other) {
    bool out = true;
    lora::detail::with_fp_environment([&] {
      for (Index i = 0; i < B.size() && out; ++i) {
        const auto b = static_cast<double>(B.data()[i]);
        const Scalar stored = lora::detail::convert<Scalar>(s / other * b);
        const auto c = static_cast<double>(stored);
        // A product is exact in two parts unless the second one underflows.
        const double product = s * b;
        out = are_same(product, other * c) &&
              (lora::detail::is_zero(product) ||
               (std::abs(product) > 0x1p-900 && lora::detail::is_finite(product) &&
                are_same(lora::detail::fma(s, b, -product), lora::detail::fma(other, c, -product))));
        B.data()[i] = stored;
      }
    });
    return out;
  }

  /// What layers of their own may have otherwise.
  template <class Expected, class Found>
  [[noreturn]] void refuse_other(const AdapterModule& module, const Expected& expected, const Found& found) const {
    refuse(module, "expected ", expected, " for each of the ", module.experts, " experts of ", in_quotes(module.parameter),
           ", which PEFT has in one tensor, found ", found, " of expert ", module.expert,
           " (under the names of a base with a layer for each expert they may differ: --base, with_base_names())");
  }
  template <class... Pieces>
  [[noreturn]] void refuse(const AdapterModule& module, const Pieces&... problem) const {
    fail(target_, "module ", in_quotes(module.path), ": ", problem...);
  }

  const std::filesystem::path& target_;
  const Adapter& adapter_;
  std::map<Key, Parameter> parameters_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
