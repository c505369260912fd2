// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/simd/fp_environment.hpp"
#include "lora/update/active_set.hpp"

LORA_NAMESPACE_BEGIN

template <class Compute>
ActiveSet<Compute>::ActiveSet() {
  static const std::shared_ptr<const State> empty = make_state({}, nullptr, {}, nullptr);
  state_ = empty;
}

template <class Compute>
ActiveSet<Compute>::ActiveSet(std::vector<ActiveUpdate<Compute>> updates)
    : state_(make_state(std::move(updates), nullptr, {}, nullptr)) {}

template <class Compute>
ActiveSet<Compute> ActiveSet<Compute>::in_storage_type(std::vector<ActiveUpdate<Compute>> updates) {
  Prepare* const prepare = [](FormBuilder<Compute>& builder) { builder.keep_stored(); };
  return ActiveSet(std::shared_ptr<const State>(make_state(std::move(updates), nullptr, {}, prepare)));
}

template <class Compute>
auto ActiveSet<Compute>::make_state(std::vector<ActiveUpdate<Compute>> updates, const FrozenRows* W0,
                                    std::span<const Gains<Compute>> recorded, Prepare* prepare)
    -> std::shared_ptr<State> {
  auto state = std::make_shared<State>();
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const auto& [update, coefficient] = updates[i];
    if (update == nullptr)
      throw ValueError(detail::text("lora: update ", i, " of the active set is a null pointer"));
    if (!detail::is_finite(coefficient))
      throw ValueError(detail::text("lora: the coefficient of update ", i, " of the active set: expected a finite number, found ",
                                    coefficient));
    if (update->rows() < 0 || update->cols() < 0)
      throw ShapeError(detail::text("lora: update ", i, " of the active set (", update->kind(),
                                    "): expected the shape of its weight, found ",
                                    detail::shape_text(update->rows(), update->cols()), ": use its sized(rows, cols)"));
    if (state->rows < 0) {
      state->rows = update->rows();
      state->cols = update->cols();
    }
    detail::expect_shape(detail::text("update ", i, " of the active set (", update->kind(), ")"), state->rows, state->cols,
                         update->rows(), update->cols());
  }
  FormBuilder<Compute> builder(std::max<Index>(state->rows, 0), std::max<Index>(state->cols, 0), W0, recorded);
  if (prepare != nullptr) prepare(builder);
  detail::with_fp_environment([&] {
    for (const auto& [update, coefficient] : updates)
      if (!detail::is_zero(coefficient)) update->add_to(builder, coefficient);
    state->form = builder.take();
  });
  state->fingerprint = builder.fingerprint();
  state->depends_on_W0 = builder.depends_on_W0();
  state->bound = !builder.incomplete();
  state->updates = std::move(updates);
  state->prepare = prepare;
  return state;
}

template <class Compute>
ActiveSet<Compute> ActiveSet<Compute>::bound_to(const FrozenRows& W0) const {
  if (!depends_on_W0()) return *this;
  detail::WeightSample<Compute> sample;
  const detail::SampledRows<Compute> sampled(W0, rows(), cols(), sample);
  const std::shared_ptr<State> state = make_state(state_->updates, &sampled, {}, state_->prepare);
  state->sample = sample;
  return ActiveSet(std::shared_ptr<const State>(state));
}

template <class Compute>
ActiveSet<Compute> ActiveSet<Compute>::bound_to(std::span<const Gains<Compute>> recorded) const {
  if (!depends_on_W0()) return *this;
  if (recorded.empty()) throw RecordError("lora: undo record: it has no gains, and these updates have some");
  return ActiveSet(std::shared_ptr<const State>(make_state(state_->updates, nullptr, recorded, state_->prepare)));
}

template <class Compute>
void ActiveSet<Compute>::expect_fits(const char* what, Index rows, Index cols) const {
  if (!empty() && (rows != this->rows() || cols != this->cols()))
    detail::expect_shape(detail::text(what, ": the set's updates"), rows, cols, this->rows(), this->cols());
}

template <class Compute>
void ActiveSet<Compute>::throw_unbound() {
  throw StateError("lora: the active set has gains that come from W0 (DoRA): expected lora::for_weight(set, W0), "
                   "found a set that knows no weight");
}

LORA_NAMESPACE_END
