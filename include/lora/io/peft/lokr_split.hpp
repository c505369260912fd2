// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How PEFT's LoKr splits a weight's sides, so that it makes matrices of the very shapes that an adapter has. For bodies
/// (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/kinds.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// decompose_factor and decompose_both of a configuration.
struct LoKrSplit {
  Index factor;
  bool both;
};

/// The shapes of w1 (a x b) and w2 (c x d, without a kernel), and which of them are products.
struct LoKrShapes {
  Index a, b, c, d;
  bool w1_is_product, w2_is_product;
};

LORA_ON_CALL_DECLARED inline LoKrShapes lokr_shapes(const EitherUpdate& update, Index kernel) {
  const auto parts = visit_update([](const auto& shared) { return shared->tensors(); }, update);
  const auto view = [&](std::string_view name) { return find_part(parts, name)->view; };
  LoKrShapes out{};
  out.w1_is_product = find_part(parts, "lokr_w1") == nullptr;
  out.w2_is_product = find_part(parts, "lokr_w2") == nullptr;
  const bool has_core = find_part(parts, "lokr_t2") != nullptr;
  out.a = out.w1_is_product ? view("lokr_w1_a").rows : view("lokr_w1").rows;
  out.b = out.w1_is_product ? view("lokr_w1_b").cols : view("lokr_w1").cols;
  if (!out.w2_is_product) {
    out.c = view("lokr_w2").rows;
    out.d = view("lokr_w2").cols / kernel;
  } else {
    out.c = has_core ? view("lokr_w2_a").cols : view("lokr_w2_a").rows;
    out.d = has_core ? view("lokr_w2_b").cols : view("lokr_w2_b").cols / kernel;
  }
  return out;
}

/// The least r for which PEFT keeps a LoKr's matrices whole, whatever decompose_both says: half their largest side.
LORA_ON_CALL_DECLARED inline Index whole_lokr_rank(const EitherUpdate& update) {
  if (&kind_of(update) != &lokr_kind) return 0;
  const auto [a, b, c, d, w1_is_product, w2_is_product] = lokr_shapes(update, 1);
  return std::max<Index>((std::max({a, b, c, d}) + 1) / 2, 1);
}

/// A side of a weight as two factors, and for which decompose_factor PEFT splits it so: the first factor itself, or another number
/// that does not divide the side, where the first factor is the largest divisor that is no larger than it and than the second.
class LoKrSide {
 public:
  /// `may_have_kernel`: the second factor is one times the size of a convolution's kernel, or none is in it.
  LoKrSide(Index first, Index second, bool may_have_kernel = false) : first_(first) {
    constexpr Index largest_kernel = 512;
    for (Index kernel = 1; kernel <= (may_have_kernel ? std::min(second, largest_kernel) : 1); ++kernel)
      if (second % kernel == 0) splits_.push_back({second / kernel, next_divisor(first, second / kernel)});
  }
  /// -1: the two are as near to each other as can be. `with_kernels`: whatever kernel the second factor may have in it.
  bool is_made_by(Index factor, bool with_kernels = false) const {
    if (factor == first_) return true;
    return std::any_of(splits_.begin(), with_kernels ? splits_.end() : splits_.begin() + 1, [&](const Split& split) {
      const bool is_below_next = split.next == 0 || (factor >= 0 && factor < split.next);
      return first_ <= split.second && is_below_next && (factor < 0 || (factor > first_ && first_ * split.second % factor != 0));
    });
  }
  Index first() const { return first_; }
  /// Factors from here on make larger first factors; 0: none does.
  Index end(bool with_kernels) const {
    Index out = 0;
    for (std::size_t i = 0; i < (with_kernels ? splits_.size() : 1); ++i) {
      if (splits_[i].next == 0) return 0;
      out = std::max(out, splits_[i].next);
    }
    return out;
  }

 private:
  struct Split {
    Index second, next;  // the next larger divisor of the side that is no larger than its root; 0: none
  };
  static Index next_divisor(Index first, Index second) {
    const Index side = first * second;
    for (Index candidate = first + 1; candidate <= side / candidate; ++candidate)
      if (side % candidate == 0) return candidate;
    return 0;
  }

  Index first_;
  std::vector<Split> splits_;
};

/// The decompose_factor for all sides, or nothing. Kernels that files do not tell are looked for where there is none without.
inline std::optional<Index> decompose_factor(std::span<const LoKrSide> sides) {
  for (const bool with_kernels : {false, true}) {
    Index least = 1, end = 0;
    for (const LoKrSide& side : sides) {
      least = std::max(least, side.first());
      if (const Index own = side.end(with_kernels); own != 0) end = end == 0 ? own : std::min(end, own);
    }
    const auto is_right = [&](Index factor) {
      return std::all_of(sides.begin(), sides.end(), [&](const LoKrSide& side) { return side.is_made_by(factor, with_kernels); });
    };
    if (is_right(-1)) return -1;
    for (Index factor = least; factor <= std::max(least, end); ++factor)
      if (is_right(factor)) return factor;
  }
  return std::nullopt;
}

/// `rank_of` gives a module's r in the configuration. Throws FileError, naming the module, when no configuration makes all modules'
/// matrices.
template <class RankOf>
LoKrSplit split_of(const std::filesystem::path& file, const std::vector<const AdapterModule*>& modules, const RankOf& rank_of) {
  std::vector<LoKrShapes> all;
  std::vector<LoKrSide> sides;
  LoKrSplit out{-1, false};
  for (const AdapterModule* const module : modules) {
    Index kernel = 1;
    for (const Index size : module->kernel) kernel *= size;
    all.push_back(lokr_shapes(module->update, std::max<Index>(kernel, 1)));
    sides.emplace_back(all.back().a, all.back().c);
    // PEFT's products have no kernel in their shapes, but for those with a core.
    sides.emplace_back(all.back().b, all.back().d, all.back().w2_is_product && module->kernel.empty());
    out.both = out.both || all.back().w1_is_product;
  }
  const auto refuse = [&](std::size_t i, const auto&... problem) {
    fail(file, "module ", in_quotes(modules[i]->path), ": expected matrices that PEFT makes of its weight ", problem...);
  };
  const auto shape = [&](std::size_t i) {
    return text(all[i].a, " x ", all[i].b, " (w1) and ", all[i].c, " x ", all[i].d, " (w2)");
  };
  const std::optional<Index> factor = decompose_factor(sides);
  if (!factor) {  // the first module that does not agree with those before it
    const auto fits = [&](std::size_t count) { return decompose_factor(std::span(sides).first(2 * count)).has_value(); };
    std::size_t good = 0, bad = all.size();
    while (bad - good > 1) (fits((good + bad) / 2) ? good : bad) = (good + bad) / 2;
    refuse(good, "by the decompose_factor of ", good == 0 ? "both its sides" : "all modules", ", found ", shape(good));
  }
  out.factor = *factor;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const LoKrShapes& own = all[i];
    const Index rank = rank_of(*modules[i]);
    const bool w1 = out.both && 2 * rank < std::max(own.a, own.b), w2 = 2 * rank < std::max(own.c, own.d);
    if (w1 != own.w1_is_product || w2 != own.w2_is_product) {
      const bool is_w1 = w1 != own.w1_is_product;
      refuse(i, "for the rank ", rank, ", ", is_w1 ? "w1" : "w2", (is_w1 ? w1 : w2) ? " a product" : " whole", ", found it ",
             (is_w1 ? w1 : w2) ? "whole" : "a product", " in ", shape(i));
    }
  }
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
