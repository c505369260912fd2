// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/error.hpp"
#include "lora/io/safetensors/dtype.hpp"
#include "lora/update/dora.hpp"
#include "lora/update/low_rank.hpp"

#include <algorithm>
#include <optional>
#include <variant>

LORA_NAMESPACE_BEGIN
namespace io {

/// A module's update, shared: one that computes in float, or in double. Adapters out of files have LowRank and DoRA, in the
/// type of the file's factors (float where these have several); factors stored in 64 bits compute in double.
class AdapterUpdate : public std::variant<std::shared_ptr<const Update<float>>, std::shared_ptr<const Update<double>>> {
 public:
  /// Throw ValueError for a null pointer.
  AdapterUpdate(std::shared_ptr<const Update<float>> update) : variant(expect_some(std::move(update))) {}
  AdapterUpdate(std::shared_ptr<const Update<double>> update) : variant(expect_some(std::move(update))) {}

  /// A copy, which shares the factors of the library's own kinds.
  template <class Kind>
    requires(std::derived_from<Kind, Update<float>> || std::derived_from<Kind, Update<double>>)
  AdapterUpdate(const Kind& update) : AdapterUpdate(share(new Kind(update))) {}

  Index rows() const;
  Index cols() const;
  std::string_view kind() const;

  /// The update when it is of this kind, or null: `update.get_if<DoRA<Eigen::bfloat16>>()`.
  template <class Kind>
  const Kind* get_if() const {
    using Shared = std::shared_ptr<const Update<typename Kind::Compute>>;
    const Shared* shared = std::get_if<Shared>(static_cast<const variant*>(this));
    return shared == nullptr ? nullptr : dynamic_cast<const Kind*>(shared->get());
  }

 private:
  // One kind of shared pointer for all kinds of updates: each takes its time to compile.
  template <class Compute>
  static std::shared_ptr<const Update<Compute>> share(const Update<Compute>* update) {
    return std::shared_ptr<const Update<Compute>>(update);
  }
  template <class Shared>
  static Shared expect_some(Shared update) {
    if (update == nullptr) throw ValueError("lora: AdapterUpdate: expected an update, found a null pointer");
    return update;
  }
};

/// What an adapter does to one module of the base model.
struct AdapterModule {
  std::string path;      ///< in the base model: its weight is the tensor `<path>.weight`
  AdapterUpdate update;  ///< B: out x r, A: r x in
  bool fan_in_fan_out;   ///< the configuration's word that the base weight is stored (in, out)

  /// How a file holds the factors and DoRA's magnitude: F16, BF16, F32 or F64. Without: as the update does.
  std::optional<DType> a_dtype = std::nullopt, b_dtype = std::nullopt, magnitude_dtype = std::nullopt;

  /// out and in of the update.
  Index rows() const;
  Index cols() const;

  /// r and s of LowRank and DoRA. Throw ValueError for an update of another kind.
  Index rank() const;
  double scaling() const;
  Scaling scaling_rule() const;

  /// Whether a base weight stored with this shape is the transpose, (in, out), and gets the transposed delta. The shape
  /// decides; a square one is as fan_in_fan_out says (PEFT sees the model's classes and goes by them). Throws
  /// ShapeError when the weight is neither (out, in) nor (in, out).
  bool is_transposed(Index stored_rows, Index stored_cols) const;
};

/// A named set of updates for a model's modules.
struct Adapter {
  std::string name;  ///< the folder's
  std::filesystem::path folder;
  std::vector<AdapterModule> modules;  ///< in the order of their factors in the file; never empty

  /// What it was made for, as its configuration says; not computed with, and often empty.
  std::string base_model = "", task_type = "";

  /// The module of exactly that path, or null.
  const AdapterModule* find(std::string_view path) const;
};

/// An adapter and what it is multiplied with, besides its own scaling. The adapter lives at least as long as the call.
struct ActiveAdapter {
  const Adapter& adapter;
  double coefficient = 1.0;
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/peft/adapter-inl.hpp"
#endif
