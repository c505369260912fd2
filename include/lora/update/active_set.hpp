// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/context.hpp"
#include "lora/update/update.hpp"
#include "lora/update/weight_sample.hpp"

#include <concepts>
#include <initializer_list>
#include <memory>

LORA_NAMESPACE_BEGIN

/// An update and what it is multiplied with, besides its own scaling. What is named by value is copied (the library's own kinds
/// share their factors with the copy); a shared pointer shares the object. Throws ValueError where a copy would cut an update of
/// a derived class down to its base.
template <class Compute>
struct ActiveUpdate {
  std::shared_ptr<const Update<Compute>> update;  ///< never null in a set
  double coefficient = 1.0;  ///< 0 leaves it out

  /// By value, by address, or shared; see above.
  template <class Kind>
    requires std::derived_from<Kind, Update<Compute>> && std::copy_constructible<Kind>
  ActiveUpdate(const Kind& kind, double c = 1.0) : update(detail::copied(kind)), coefficient(c) {}
  template <class Kind>
    requires std::derived_from<Kind, Update<Compute>> && std::copy_constructible<Kind>
  ActiveUpdate(const Kind* kind, double c = 1.0)
      : update(kind == nullptr ? nullptr : detail::copied(*kind)), coefficient(c) {}
  ActiveUpdate(std::shared_ptr<const Update<Compute>> shared, double c = 1.0)
      : update(std::move(shared)), coefficient(c) {}
};

/// The ordered list of updates that a weight gets, each with its coefficient; one whose coefficient is 0 does nothing.
///
///     lora::ActiveSet<float> set({{style, 0.7}, {formal, 0.3}});
///
/// A set never changes. It is checked, scaled and stacked once, when it is made; copies share that, and threads and layers may
/// share a copy. An empty one fits every weight.
///
/// Where gains come from W0 (DoRA) the set has to know the weight for forward passes: lora::for_weight() gives the set for one
/// weight, with which a pass over another one throws; merges and layers do it themselves.
template <class Compute>
class ActiveSet {
 public:
  /// The empty one. Allocates in a program's first call alone.
  ActiveSet();
  ActiveSet(const ActiveSet&) = default;  // moves are copies: no set is ever without its state
  ActiveSet& operator=(const ActiveSet&) = default;

  /// Throws ValueError for an update that is null, a coefficient that is not finite or whose product with the scaling is not,
  /// ShapeError when the updates have different shapes, or one's is not known yet. Allocates (out + in) * (sum of
  /// ranks) numbers, and out * in for dense updates.
  ActiveSet(std::initializer_list<ActiveUpdate<Compute>> updates) : ActiveSet(std::vector(updates)) {}
  explicit ActiveSet(std::vector<ActiveUpdate<Compute>> updates);

  /// A single update.
  ActiveSet(const ActiveUpdate<Compute>& update) : ActiveSet(std::vector{update}) {}
  template <class Kind>
    requires std::derived_from<Kind, Update<Compute>> && std::copy_constructible<Kind>
  ActiveSet(const Kind& update) : ActiveSet(ActiveUpdate<Compute>(update)) {}
  template <class Kind>
    requires std::derived_from<std::remove_const_t<Kind>, Update<Compute>>
  ActiveSet(const std::shared_ptr<Kind>& update) : ActiveSet(ActiveUpdate<Compute>(update)) {}

  /// The same set, the same bits, with its low-rank factors in the half or bfloat16 that they came in: half the memory,
  /// and half the traffic of forward passes of few columns, as in mixed batches (layer/routes.hpp). Factors are in the
  /// compute type all the same where the set's are not of one 16-bit type, or gains of columns, or of rows twice, were
  /// multiplied into them. Throws what the constructor throws.
  [[nodiscard]] static ActiveSet in_storage_type(std::vector<ActiveUpdate<Compute>> updates);
  [[nodiscard]] static ActiveSet in_storage_type(std::initializer_list<ActiveUpdate<Compute>> updates) {
    return in_storage_type(std::vector(updates));
  }

  /// What it was made of.
  std::span<const ActiveUpdate<Compute>> updates() const { return state_->updates; }

  /// Whether it does nothing to any weight.
  bool empty() const { return state_->rows < 0; }

  /// The shape of the weights it is for; -1 for an empty set.
  Index rows() const { return state_->rows; }
  Index cols() const { return state_->cols; }

  /// Identifies what it does: the scaled factors, gains and dense parts and their order.
  std::uint64_t fingerprint() const { return state_->fingerprint; }

  /// Whether some gains come from W0, and whether they are known.
  bool depends_on_W0() const { return state_->depends_on_W0; }
  bool is_bound() const { return state_->bound; }

  /// The one form. Throws StateError when the set is not bound.
  const Form<Compute>& form() const {
    if (!state_->bound) throw_unbound();
    return state_->form;
  }

  /// For a weight of a given W0, or with the gains that an undo record keeps. Throws RecordError when these do not fit.
  [[nodiscard]] ActiveSet bound_to(const FrozenRows& W0) const;
  [[nodiscard]] ActiveSet bound_to(std::span<const Gains<Compute>> recorded) const;

  /// Throws ShapeError unless the set is for weights of rows x cols. `what` begins the message.
  void expect_fits(const char* what, Index rows, Index cols) const;

  /// Throws StateError when the gains are those of another weight. It looks at four elements: what differs from the weight in
  /// none of these passes.
  template <class Derived>
  void expect_weight(const char* what, const Eigen::DenseBase<Derived>& W) const {
    const Derived& own = W.derived();
    if (state_->depends_on_W0)
      state_->sample.expect(what, own.data(), own.rows(), own.cols(), own.rowStride(), own.colStride());
  }

 private:
  using Prepare = void(FormBuilder<Compute>& builder);

  struct State {
    std::vector<ActiveUpdate<Compute>> updates;
    Index rows = -1, cols = -1;
    Form<Compute> form;
    std::uint64_t fingerprint = 0;
    bool depends_on_W0 = false, bound = true;
    Prepare* prepare = nullptr;  // what the builder is told first, or null
    detail::WeightSample<Compute> sample;  // of the W0 it is bound to
  };

  static std::shared_ptr<State> make_state(std::vector<ActiveUpdate<Compute>> updates, const FrozenRows* W0,
                                           std::span<const Gains<Compute>> recorded, Prepare* prepare);
  explicit ActiveSet(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  [[noreturn]] static void throw_unbound();

  std::shared_ptr<const State> state_;
};

LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/update/active_set-inl.hpp"
#endif
