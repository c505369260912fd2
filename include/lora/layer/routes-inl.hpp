// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/layer/routes.hpp"

#include <algorithm>

LORA_NAMESPACE_BEGIN

LORA_FUNC void Routes::assign(Index batch, FunctionRef<Index(Index column)> route) {
  for (Index c = 0; c < batch; ++c)
    if (route(c) < base)
      throw ValueError(detail::text("lora: Routes: column ", c, ": expected the number of a set, from 0 on, or ", base,
                                    " for none, found ", route(c)));
  const auto size = static_cast<std::size_t>(batch);
  order_.reserve(size);
  routes_.reserve(size);
  sets_.reserve(size);
  offsets_.reserve(size + 1);
  order_.resize(size);
  routes_.resize(size);
  sets_.clear();
  offsets_.clear();
  for (std::size_t c = 0; c < size; ++c) {
    order_[c] = static_cast<Index>(c);
    routes_[c] = route(static_cast<Index>(c));
  }
  const auto route_of = [&](Index column) { return routes_[static_cast<std::size_t>(column)]; };
  std::sort(order_.begin(), order_.end(),
            [&](Index a, Index b) { return route_of(a) != route_of(b) ? route_of(a) < route_of(b) : a < b; });
  for (std::size_t place = 0; place < size; ++place) {
    const Index set = route_of(order_[place]);
    if (!sets_.empty() && sets_.back() == set) continue;
    sets_.push_back(set);
    offsets_.push_back(static_cast<Index>(place));
  }
  offsets_.push_back(batch);
}

LORA_NAMESPACE_END
