// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The kinds of updates that files can hold: a row for each, with the tensors that make it. Readers, writers and undo files go
/// through this table. For bodies (-inl.hpp).

#include "lora/io/error.hpp"
#include "lora/update/any_factor.hpp"
#include "lora/update/dense.hpp"
#include "lora/update/dora.hpp"
#include "lora/update/ia3.hpp"
#include "lora/update/locon.hpp"
#include "lora/update/loha.hpp"
#include "lora/update/lokr.hpp"
#include "lora/update/low_rank.hpp"
#include "lora/update/update_parts.hpp"
#include "lora/update/vera.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <variant>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A tensor of a kind: its name in Update::tensors(), in undo files, and behind a module's path in PEFT's files.
struct KindPart {
  std::string_view name;
  bool is_vector = false;  // n x 1 in memory, n numbers in a file
  bool is_required = true;
};

struct KindRow {
  std::string_view name;                     // Update::kind()
  std::span<const KindPart> parts;           // in the order in which undo files have them
  std::span<const std::string_view> ranked;  // the first of these that is there has r rows
  bool has_gains = false;
  int undo_version = 3;  // of undo files that know the kind
};

inline constexpr std::array lora_parts{KindPart{"lora_A"}, KindPart{"lora_B"}};
inline constexpr std::array dora_parts{KindPart{"lora_A"}, KindPart{"lora_B"}, KindPart{"lora_magnitude_vector", true}};
inline constexpr std::array locon_parts{KindPart{"lora_down"}, KindPart{"lora_mid"}, KindPart{"lora_up"}};
inline constexpr std::array loha_parts{KindPart{"hada_w1_a"}, KindPart{"hada_w1_b"}, KindPart{"hada_w2_a"},
                                       KindPart{"hada_w2_b"}, KindPart{"hada_t1", false, false},
                                       KindPart{"hada_t2", false, false}};
inline constexpr std::array lokr_parts{
    KindPart{"lokr_w1", false, false},   KindPart{"lokr_w1_a", false, false}, KindPart{"lokr_w1_b", false, false},
    KindPart{"lokr_w2", false, false},   KindPart{"lokr_w2_a", false, false}, KindPart{"lokr_w2_b", false, false},
    KindPart{"lokr_t2", false, false}};
inline constexpr std::array vera_parts{KindPart{"vera_lambda_b", true}, KindPart{"vera_lambda_d", true},
                                       KindPart{"vera_A"}, KindPart{"vera_B"}};
inline constexpr std::array ia3_parts{KindPart{"ia3_l"}};
inline constexpr std::array dense_parts{KindPart{"diff"}};

inline constexpr std::array<std::string_view, 1> lora_rank{"lora_A"}, locon_rank{"lora_down"}, loha_rank{"hada_w1_b"},
    vera_rank{"vera_lambda_d"};
inline constexpr std::array<std::string_view, 2> lokr_rank{"lokr_w1_b", "lokr_w2_b"};

inline constexpr KindRow lora_kind{"LoRA", lora_parts, lora_rank, false, 1}, dora_kind{"DoRA", dora_parts, lora_rank, true, 2},
    locon_kind{"LoCon", locon_parts, locon_rank}, loha_kind{"LoHa", loha_parts, loha_rank},
    lokr_kind{"LoKr", lokr_parts, lokr_rank}, vera_kind{"VeRA", vera_parts, vera_rank},
    ia3_kind{"IA3", ia3_parts, {}, true}, dense_kind{"dense", dense_parts, {}};

inline constexpr std::array kind_rows{&lora_kind, &dora_kind, &locon_kind, &loha_kind,
                                      &lokr_kind, &vera_kind, &ia3_kind,   &dense_kind};

/// The row of that name, or null.
inline const KindRow* find_kind(std::string_view name) {
  const auto at = std::find_if(kind_rows.begin(), kind_rows.end(), [&](const KindRow* row) { return row->name == name; });
  return at == kind_rows.end() ? nullptr : *at;
}

template <class Compute>
using SharedUpdate = std::shared_ptr<const Update<Compute>>;

/// What an AdapterUpdate is.
using EitherUpdate = std::variant<SharedUpdate<float>, SharedUpdate<double>>;

/// visitor(shared) for the one that there is. (std::visit would compile a table of functions for every visitor.)
template <class Visitor>
decltype(auto) visit_update(const Visitor& visitor, const EitherUpdate& update) {
  if (const auto* const in_float = std::get_if<SharedUpdate<float>>(&update)) return visitor(*in_float);
  return visitor(*std::get_if<SharedUpdate<double>>(&update));
}

/// A shared Kind(arguments...). (std::make_shared would compile a class for every kind.)
template <class Kind, class Compute, class... Arguments>
SharedUpdate<Compute> share(Arguments&&... arguments) {
  return std::unique_ptr<const Update<Compute>>(new Kind(std::forward<Arguments>(arguments)...));
}

/// The type of all parts of a row, when a weight of such factors computes in `Compute`; else Compute.
template <class Compute>
ScalarType common_type(const KindRow& row, const lora::detail::UpdateParts& parts) {
  constexpr ScalarType compute = lora::detail::ScalarTraits<Compute>::type;
  std::optional<ScalarType> type;
  for (const KindPart& part : row.parts) {
    const ScalarType found = parts.require(part.name).type();
    if (type.value_or(found) != found) return compute;
    type = found;
  }
  return (*type == ScalarType::float64) == (compute == ScalarType::float64) ? *type : compute;
}

/// A Dense of elements that are rounded once where they have another type. Throws ValueError when one overflows.
template <class Scalar>
SharedUpdate<compute_t<Scalar>> make_dense(const MatrixView& diff) {
  Matrix<Scalar> out(diff.rows, diff.cols);
  lora::detail::copy_finite("diff", diff, out.data());
  return share<Dense<Scalar>, compute_t<Scalar>>(out);
}

/// LowRank, DoRA or Dense in the type that the parts have, or in Compute.
template <class Scalar>
SharedUpdate<compute_t<Scalar>> make_typed(const KindRow& row, const lora::detail::UpdateParts& parts, const Scaling& scaling) {
  if (&row == &dense_kind) return make_dense<Scalar>(parts.require("diff").view());
  LowRank<Scalar> low_rank(parts.require("lora_B").view(), parts.require("lora_A").view(), scaling);
  if (&row == &lora_kind) return share<LowRank<Scalar>, compute_t<Scalar>>(std::move(low_rank));
  return share<DoRA<Scalar>, compute_t<Scalar>>(low_rank, parts.require("lora_magnitude_vector").view());
}
template <class Compute>
SharedUpdate<Compute> make_in_common_type(const KindRow& row, const lora::detail::UpdateParts& parts, const Scaling& scaling) {
  if constexpr (std::is_same_v<Compute, float>) {
    const ScalarType type = common_type<float>(row, parts);
    if (type == ScalarType::half) return make_typed<Eigen::half>(row, parts, scaling);
    if (type == ScalarType::bfloat16) return make_typed<Eigen::bfloat16>(row, parts, scaling);
  }
  return make_typed<Compute>(row, parts, scaling);
}

/// A row's class for updates that compute in `Compute`.
template <class Compute>
struct KindClass {
  const KindRow* row;
  bool (*is)(const Update<Compute>&);  // by class: somebody's own update may have the same name
  SharedUpdate<Compute> (*make)(const KindRow&, const lora::detail::UpdateParts&, const Scaling&);
};

/// Whether an update is a Kind<Scalar> for a Scalar that computes in `Compute`.
template <template <class> class Kind, class Compute>
bool is_typed(const Update<Compute>& update) {
  if constexpr (std::is_same_v<Compute, float>)
    if (dynamic_cast<const Kind<Eigen::half>*>(&update) != nullptr ||
        dynamic_cast<const Kind<Eigen::bfloat16>*>(&update) != nullptr)
      return true;
  return dynamic_cast<const Kind<Compute>*>(&update) != nullptr;
}

template <class Kind, class Compute>
constexpr KindClass<Compute> kind_class(const KindRow& row) {
  return KindClass<Compute>{
      &row, [](const Update<Compute>& update) { return dynamic_cast<const Kind*>(&update) != nullptr; },
      [](const KindRow&, const lora::detail::UpdateParts& parts, const Scaling& scaling) -> SharedUpdate<Compute> {
        return share<Kind, Compute>(parts, scaling);
      }};
}

/// The table.
template <class Compute>
inline constexpr std::array kind_classes{
    KindClass<Compute>{&lora_kind, &is_typed<LowRank, Compute>, &make_in_common_type<Compute>},
    KindClass<Compute>{&dora_kind, &is_typed<DoRA, Compute>, &make_in_common_type<Compute>},
    kind_class<LoCon<Compute>, Compute>(locon_kind),
    kind_class<LoHa<Compute>, Compute>(loha_kind),
    kind_class<LoKr<Compute>, Compute>(lokr_kind),
    kind_class<VeRA<Compute>, Compute>(vera_kind),
    kind_class<IA3<Compute>, Compute>(ia3_kind),
    KindClass<Compute>{&dense_kind, &is_typed<Dense, Compute>, &make_in_common_type<Compute>}};

template <class Compute>
const KindRow& kind_of(const Update<Compute>& update) {
  for (const KindClass<Compute>& kind : kind_classes<Compute>)
    if (kind.is(update)) return *kind.row;
  throw ValueError(text("lora: expected an update of a kind that files can hold, found ",
                        in_quotes(update.kind())));
}
inline const KindRow& kind_of(const EitherUpdate& update) {
  return visit_update([](const auto& shared) -> const KindRow& { return kind_of(*shared); }, update);
}

/// Throws what the kind's constructor does.
template <class Compute>
SharedUpdate<Compute> make_update(const KindRow& row, const lora::detail::UpdateParts& parts, const Scaling& scaling) {
  for (const KindClass<Compute>& kind : kind_classes<Compute>)
    if (kind.row == &row) return kind.make(row, parts, scaling);
  return nullptr;  // every row has a class
}

/// The part of that name of an update, or null.
inline const UpdateTensor* find_part(const std::vector<UpdateTensor>& tensors, std::string_view name) {
  const auto at = std::find_if(tensors.begin(), tensors.end(), [&](const UpdateTensor& t) { return t.name == name; });
  return at == tensors.end() ? nullptr : &*at;
}

/// r of an update, 0 when it has none.
inline Index rank_of(const KindRow& row, const std::vector<UpdateTensor>& tensors) {
  for (const std::string_view name : row.ranked)
    if (const UpdateTensor* part = find_part(tensors, name)) return part->view.rows;
  return 0;
}

/// Of an IA3: whether its vector is 1 x in, for what a layer takes in.
inline bool scales_columns(const EitherUpdate& update) {
  return visit_update([](const auto& shared) { return shared->tensors().front().view.cols != 1; }, update);
}

/// The update for a weight of rows x cols: itself, unless it fits any. `kernel` is the size of a convolution's kernel, 0: as the
/// shapes have it. Throws ShapeError.
inline EitherUpdate sized(const EitherUpdate& update, Index rows, Index cols, Index kernel) {
  return visit_update(
      [&]<class Compute>(const SharedUpdate<Compute>& shared) -> EitherUpdate {
        if (const auto* const ia3 = dynamic_cast<const IA3<Compute>*>(shared.get())) {
          const Index inputs = ia3->tensors().front().view.cols;
          const Index size = kernel != 0 || inputs == 0 ? kernel : cols / inputs;
          return share<IA3<Compute>, Compute>(ia3->sized(rows, cols, ia3->rows() < 0 ? size : 1));
        }
        if (const auto* const vera = dynamic_cast<const VeRA<Compute>*>(shared.get()))
          return share<VeRA<Compute>, Compute>(vera->sized(rows, cols));
        lora::detail::expect_shape(shared->kind().data(), rows, cols, shared->rows(), shared->cols());
        return shared;
      },
      update);
}

/// A copy of an update's tensors.
template <class Compute>
lora::detail::UpdateParts parts_of(const Update<Compute>& update) {
  lora::detail::UpdateParts out;
  for (const auto& [name, view] : update.tensors()) out.add(std::string(name), {std::string(name), view});
  return out;
}

/// The update as one that computes in `Compute`: itself, or made again (towards float factors are rounded once). Throws ValueError
/// for an update of another kind, and for factors that overflow.
template <class Compute>
SharedUpdate<Compute> update_in(const EitherUpdate& update) {
  return visit_update(
      [&]<class Found>(const SharedUpdate<Found>& shared) -> SharedUpdate<Compute> {
        if constexpr (std::is_same_v<Found, Compute>) {
          return shared;
        } else {
          const auto made = make_update<Compute>(kind_of(*shared), parts_of(*shared), shared->scaling_rule());
          return std::get<SharedUpdate<Compute>>(sized(EitherUpdate(made), shared->rows(), shared->cols(), 0));
        }
      },
      update);
}

}  // namespace io::detail
LORA_NAMESPACE_END
