// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/compose/composition.hpp"
#include "lora/compose/options-inl.hpp"
#include "lora/compose/subspace_methods.hpp"
#include "lora/compose/update_error.hpp"
#include "lora/simd/fp_environment.hpp"

LORA_NAMESPACE_BEGIN
namespace detail {

/// The factors of a LowRank<Scalar>, exact; nothing for another update.
template <class Scalar, class Compute>
std::optional<CompositionTerm> low_rank_term(const std::shared_ptr<const Update<Compute>>& update) {
  const auto* const low_rank = dynamic_cast<const LowRank<Scalar>*>(update.get());
  if (low_rank == nullptr) return std::nullopt;
  return CompositionTerm{view_of(low_rank->B()), view_of(low_rank->A()), low_rank->scaling(), 1.0, update};
}

/// What another update is, in the numbers of its form. Throws UpdateError.
template <class Compute>
CompositionTerm form_term(const std::shared_ptr<const Update<Compute>>& update, std::size_t place) {
  const ActiveSet<Compute> set(ActiveUpdate<Compute>(update, 1.0));
  if (set.depends_on_W0() || set.form().has_gains())
    throw compose::UpdateError(place, text("expected an update whose delta does not depend on W0, found ",
                                           update->kind(), ", which multiplies W0 and so cannot be added to others"));
  const Form<Compute>& form = set.form();
  if (form.dense() != nullptr || form.depth() == 0)
    throw compose::UpdateError(place,
                               text("expected an update of low rank, found ", update->kind(), " with a delta of full ",
                                    "size; its factors are not a product B A of small rank"));
  struct Memory {
    Matrix<Compute> B, A;
  };
  const auto memory = std::make_shared<Memory>(
      Memory{Matrix<Compute>(form.rows(), form.depth()), Matrix<Compute>(form.depth(), form.cols())});
  for (Index i = 0; i < form.rows(); ++i)
    for (Index k = 0; k < form.depth(); ++k) memory->B(i, k) = form.B(i, k);
  std::copy_n(form.A(), memory->A.size(), memory->A.data());
  return {view_of(memory->B), view_of(memory->A), 1.0, 1.0, memory};
}

template <class Compute>
std::vector<CompositionTerm> composition_terms(const ActiveSet<Compute>& set) {
  std::vector<CompositionTerm> out;
  for (const ActiveUpdate<Compute>& active : set.updates()) {
    const std::string where = text("update ", out.size() + 1);
    std::optional<CompositionTerm> term = low_rank_term<Compute>(active.update);
    if constexpr (std::is_same_v<Compute, float>) {
      if (!term) term = low_rank_term<Eigen::bfloat16>(active.update);
      if (!term) term = low_rank_term<Eigen::half>(active.update);
    }
    if (!term) term = form_term(active.update, out.size());
    term->coefficient = active.coefficient;
    if (term->B.rows == 0 || term->A.cols == 0)
      throw ShapeError(text("lora: compose: ", where, ": expected an update with elements, found ",
                            shape_text(term->B.rows, term->A.cols)));
    if (!out.empty())
      expect_shape(text("compose: ", where), out.front().B.rows, out.front().A.cols, term->B.rows, term->A.cols);
    out.push_back(std::move(*term));
  }
  if (out.empty()) throw ValueError("lora: compose: expected at least one update, found none");
  return out;
}

#if LORA_HEADER_ONLY
template <class>
#endif
ComposedFactors compose_terms(std::span<const CompositionTerm> terms, compose::Method method,
                              const compose::Options& options, const Context& context) {
  using M = compose::Method;
  using compose::Truncation;
  ComposedFactors out;
  Index largest = 1;
  for (const CompositionTerm& term : terms) largest = std::max(largest, term.rank());
  const Truncation as_peft = options.truncation.value_or(Truncation::rank(largest)),
                   uncut = options.truncation.value_or(Truncation::none());
  with_fp_environment([&] {
    const PruningRule rule = pruning_rule(method, options);
    switch (method) {
      case M::cat: out = compose_cat(terms); break;
      case M::linear: out = compose_linear(terms); break;
      case M::svd: out = compose_svd(terms, as_peft, context); break;
      case M::ties:
      case M::dare_linear:
      case M::dare_ties:
      case M::magnitude_prune:
        expect_density(options);
        out = merge_factors(terms, method, rule, context);
        break;
      case M::ties_svd:
      case M::dare_linear_svd:
      case M::dare_ties_svd:
      case M::magnitude_prune_svd:
        expect_density(options);
        out = merge_deltas(terms, rule, as_peft, context);
        break;
      case M::core_ties:
        expect_density(options);
        out = compose_core_ties(terms, rule, uncut, context);
        break;
      case M::knots:
        expect_density(options);
        out = compose_knots(terms, rule, uncut, context);
        break;
      case M::tsv_m:
      case M::weighted_tsv_m:
        out = compose_tsv_m(terms, method == M::weighted_tsv_m ? InputWeights::singular_values : InputWeights::none,
                            uncut, context);
        break;
      case M::iso_c: out = compose_iso_c(terms, uncut, context); break;
      case M::iso_cts: out = compose_iso_cts(terms, options.common_fraction, uncut, context); break;
      case M::orthogonal: out = compose_orthogonal(terms, uncut, context); break;
    }
  });
  return out;
}

LORA_FUNC double factor_rounding(const ComposedFactors& factors, ScalarType type) {
  const double unit = type == ScalarType::float64 ? 0.0 : 0x1p-24;  // double is what they are
  return (2 * unit + unit * unit) * factors.B.map().norm() * factors.A.map().norm();
}

}  // namespace detail
LORA_NAMESPACE_END
