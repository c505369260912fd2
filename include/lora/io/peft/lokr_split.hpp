// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How PEFT's LoKr splits a weight's sides, so that it makes matrices of the very shapes that an adapter has. For bodies
/// (-inl.hpp).

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/kinds.hpp"

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

/// The least r for which PEFT keeps a LoKr's matrices whole: half the larger side of w2, and of w1 unless only w2 may be a product.
LORA_ON_CALL_DECLARED inline Index whole_lokr_rank(const EitherUpdate& update) {
  if (&kind_of(update) != &lokr_kind) return 0;
  const LoKrShapes shapes = lokr_shapes(update, 1);
  return std::max<Index>((std::max(shapes.c, shapes.d) + 1) / 2, 1);
}

/// The two factors of a side: `factor` and the rest where it divides the side (nothing when the rest is smaller, since versions
/// differ), else the pair of divisors that are nearest to each other, the smaller one, not above `factor` (-1: any), first.
LORA_ON_CALL_DECLARED inline std::pair<Index, Index> lokr_factors(Index side, Index factor) {
  if (factor > 0 && side % factor == 0) return factor <= side / factor ? std::pair(factor, side / factor) : std::pair<Index, Index>(0, 0);
  Index smaller = 1, larger = side;
  for (Index candidate = 1; candidate * candidate <= side; ++candidate)
    if (side % candidate == 0 && (factor < 0 || candidate <= factor)) {
      smaller = candidate;
      larger = side / candidate;
    }
  return {smaller, larger};
}

/// Throws FileError, naming the module, when no configuration makes all modules' shapes.
LORA_ON_CALL_DECLARED inline LoKrSplit split_of(const std::filesystem::path& file,
                                                const std::vector<const AdapterModule*>& modules) {
  std::vector<LoKrShapes> all;
  LoKrSplit out{-1, false};
  for (const AdapterModule* const module : modules) {
    Index kernel = 1;
    for (const Index size : module->kernel) kernel *= size;
    all.push_back(lokr_shapes(module->update, std::max<Index>(kernel, 1)));
    out.both = out.both || all.back().w1_is_product;
  }
  const auto first_odd = [&](Index factor) {
    for (std::size_t i = 0; i < all.size(); ++i)
      if (lokr_factors(all[i].a * all[i].c, factor) != std::pair(all[i].a, all[i].c) ||
          lokr_factors(all[i].b * all[i].d, factor) != std::pair(all[i].b, all[i].d))
        return i;
    return all.size();
  };
  for (const Index factor : {Index{-1}, all.front().a, all.front().b, all.front().c, all.front().d})
    if (first_odd(out.factor = factor) == all.size()) return out;
  fail(file, "module ", in_quotes(modules[first_odd(-1)]->path),
       ": expected matrices that PEFT's decompose_factor makes of its weight, found others");
}

}  // namespace io::detail
LORA_NAMESPACE_END
