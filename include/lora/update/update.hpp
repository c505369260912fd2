// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/update/form_builder.hpp"
#include "lora/update/scaling.hpp"

#include <concepts>
#include <memory>
#include <string_view>
#include <typeinfo>
#include <vector>

LORA_NAMESPACE_BEGIN

/// One of an update's own tensors: what a file keeps of it. The name is PEFT's where PEFT has one, such as "lora_A".
struct UpdateTensor {
  std::string_view name;  ///< such as "lora_A"
  MatrixView view;  ///< the update's own memory
};

/// What one weight, out x in, gets from one adapter: LowRank, DoRA, Dense, or a class of your own that says in add_to() what
/// it does to W. `Compute` is the type that arithmetic is in, float or double.
///
///     class Shift final : public lora::Update<float> {     // W' = W + coefficient M
///       ...
///       void add_to(lora::FormBuilder<float>& form, double coefficient) const override { form.add_dense(coefficient, M_); }
///     };
///
/// An update never changes once it is in a set, and many threads read it at once. docs/UPDATES.md shows a whole one.
template <class Compute>
class Update {
 public:
  virtual ~Update() = default;

  /// The shape of the weight it is for: out and in; -1 where it is not known yet (see VeRA, IA3).
  virtual Index rows() const = 0;
  virtual Index cols() const = 0;

  /// A short name of what it is, such as "LoRA".
  virtual std::string_view kind() const = 0;

  /// The tensors that a file has to keep. They live as long as the update.
  virtual std::vector<UpdateTensor> tensors() const = 0;

  /// The rule of the update's own scaling: with the tensors, all that a file has to keep.
  virtual Scaling scaling_rule() const { return scaling::fixed(1); }

  /// Does to `form` what the update with this coefficient does to a weight. Called under rounding to nearest. Deterministic:
  /// an unmerge calls it again.
  virtual void add_to(FormBuilder<Compute>& form, double coefficient) const = 0;

 protected:
  Update() = default;
  Update(const Update&) = default;
  Update& operator=(const Update&) = default;
};

namespace detail {

/// A copy of an update. Throws ValueError for one of a class derived from Kind, which the copy would cut down to Kind.
template <class Kind>
std::shared_ptr<const Kind> copied(const Kind& update) {
  if constexpr (!std::is_final_v<Kind>)
    if (typeid(update) != typeid(Kind))
      throw ValueError(text("lora: an update (", update.kind(),
                            ") of a class derived from the one it is given as would lose what "
                            "it adds in a copy: expected a std::shared_ptr<const Update>, or the class itself"));
  return std::make_shared<const Kind>(update);
}

/// Not defined: what an update computes in.
template <class Compute>
Compute compute_of(const Update<Compute>& update);

/// An update that computes in another type than Compute.
template <class Kind, class Compute>
concept UpdateInAnotherType =
    requires(const Kind& update) { compute_of(update); } && !std::derived_from<Kind, Update<Compute>>;

/// False, with a sentence.
template <class Kind>
constexpr bool computes_in_the_weights_type() {
  static_assert(sizeof(Kind) == 0,
                "lora: the update computes in another type than the weight (double weights take updates of double, all others "
                "those of float, half and bfloat16): cast its factors, as by LowRank::cast<float>()");
  return false;
}

}  // namespace detail
LORA_NAMESPACE_END
