// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The methods of combining updates, by the names that PEFT and the papers give them, and what they are told besides.
/// docs/COMPOSE.md has their formulas and sources.

#include "lora/core/error.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

LORA_NAMESPACE_BEGIN
namespace compose {

/// How updates are combined: docs/COMPOSE.md has the formulas.
enum class Method : std::uint8_t {
  cat,              ///< factors side by side: the exact sum, of the sum of the ranks
  linear,           ///< PEFT's: weighted sums of the factors, which is not the weighted sum of the deltas
  svd,              ///< the sum, cut to a rank in the best way
  ties,             ///< TIES on the factors, as PEFT; so the next three
  dare_linear,      ///< random pruning, then linear
  dare_ties,        ///< random pruning, then the vote of TIES
  magnitude_prune,  ///< pruning by magnitude, then linear
  ties_svd,         ///< the same rules on the deltas, then an SVD, as PEFT
  dare_linear_svd,  ///< dare_linear on the deltas, then an SVD
  dare_ties_svd,  ///< dare_ties on the deltas, then an SVD
  magnitude_prune_svd,  ///< magnitude_prune on the deltas, then an SVD
  core_ties,   ///< TIES on the matrices of Core Space
  knots,       ///< TIES on the right factors of the SVD of all deltas side by side
  tsv_m,       ///< each delta's singular vectors, made orthogonal to all others'
  weighted_tsv_m,  ///< the same; on the side of the inputs strong directions give way less than weak ones
  iso_c,       ///< the sum with a flat spectrum
  iso_cts,     ///< the sum's first directions and each delta's own, with a flat spectrum
  orthogonal,  ///< each delta outside of the row and column spaces of those before it
};

/// Its name: "dare_ties_svd".
std::string_view name(Method method);

/// The method of that name. Throws ValueError, which lists the names there are.
Method method_named(std::string_view name);

/// All of them.
std::span<const Method> methods();

/// Which options a method heeds: density; majority_sign; seed; rules, of those that elect signs or prune at random;
/// truncation.
bool prunes(Method method);
bool elects_sign(Method method);
bool prunes_at_random(Method method);
bool truncates(Method method);

/// How much of a spectrum is kept.
class Truncation {
 public:
  /// By a rank, by a share of the energy, or not at all.
  enum class Rule : std::uint8_t { rank, energy, none };

  /// The first R singular values; fewer where a matrix has no more. Throws ValueError unless R >= 1.
  static Truncation rank(Index R);

  /// As few as have this share of the sum of squares of all, `most` at most. Throws ValueError unless 0 < share <= 1 and
  /// most >= 1.
  static Truncation energy(double share, Index most = std::numeric_limits<Index>::max());

  /// All that differ from zero by more than rounding.
  static constexpr Truncation none() { return {Rule::none, 0, 1.0}; }

  /// The rule, and the number that goes with it: R, or the share.
  Rule rule() const { return rule_; }
  Index rank() const { return rank_; }  ///< R or `most`; 0 for none()
  double energy() const { return energy_; }

 private:
  constexpr Truncation(Rule rule, Index rank, double energy) : rule_(rule), rank_(rank), energy_(energy) {}

  Rule rule_;
  Index rank_;
  double energy_;
};

/// How TIES finds the sign of an element: of the sum of the values, or of the sum of their signs. A sum of 0 counts as
/// positive.
enum class MajoritySign : std::uint8_t { total, frequency };

/// Whose rules pruned elements are merged by. mergekit differs from PEFT where it lets the coefficients take part in
/// the vote, divides TIES by the sum of the coefficients that agree instead of their number, leaves dare_ties
/// undivided, and rescales a randomly pruned tensor to its L1 norm instead of by 1 / density.
enum class Rules : std::uint8_t { peft, mergekit };

/// What methods heed besides the set; see prunes() and the like.
struct Options {
  /// Without: the largest rank among the updates for the methods that PEFT has, none for the others.
  std::optional<Truncation> truncation = {};

  /// Of the methods that prune: the share of the elements that is kept, 0 < density <= 1.
  double density = 1.0;

  /// Of TIES: what decides on the sign of an element.
  MajoritySign majority_sign = MajoritySign::total;
  /// Whose rules, where PEFT's and mergekit's differ.
  Rules rules = Rules::peft;

  /// Of the methods that prune at random: the same seed keeps the same elements, on every machine.
  std::uint64_t seed = 0;

  /// Of iso_cts: the share of the directions that are those of the sum.
  double common_fraction = 0.8;
};

}  // namespace compose
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/compose/options-inl.hpp"
#endif
