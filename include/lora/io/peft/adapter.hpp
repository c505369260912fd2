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

/// A module's update, shared: one that computes in float, or in double. Those out of files are of the kinds that kinds.hpp lists,
/// in the type of the file's factors (float where these have several); factors stored in 64 bits compute in double.
class AdapterUpdate : public std::variant<std::shared_ptr<const Update<float>>, std::shared_ptr<const Update<double>>> {
 public:
  /// Throw ValueError for a null pointer.
  AdapterUpdate(std::shared_ptr<const Update<float>> update) : variant(expect_some(std::move(update))) {}
  AdapterUpdate(std::shared_ptr<const Update<double>> update) : variant(expect_some(std::move(update))) {}

  /// A copy, which shares the factors of the library's own kinds.
  template <class Kind>
    requires(std::derived_from<Kind, Update<float>> || std::derived_from<Kind, Update<double>>)
  AdapterUpdate(const Kind& update) : AdapterUpdate(lora::detail::copied(update)) {}

  /// As those of lora::Update.
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
  template <class Shared>
  static Shared expect_some(Shared update) {
    if (update == nullptr) throw ValueError("lora: AdapterUpdate: expected an update, found a null pointer");
    return update;
  }
};

/// What an adapter does to one tensor of the base model.
struct AdapterModule {
  std::string path;      ///< of the module in the base model
  AdapterUpdate update;  ///< for the weight as out x in
  bool fan_in_fan_out;   ///< the configuration's word that the base weight is stored (in, out)

  /// How a file holds LowRank's factors and DoRA's magnitude: F16, BF16, F32 or F64. Without: as the update does.
  std::optional<DType> a_dtype = std::nullopt, b_dtype = std::nullopt, magnitude_dtype = std::nullopt;

  /// The tensor is `<path>.<parameter>`: "weight", or "bias" (n numbers, taken for n x 1), or a parameter's own name.
  std::string parameter = "weight";

  /// Nothing is done, and nothing refused, when the model has no such tensor (IA3 scales the bias where there is one).
  bool is_optional = false;

  /// An embedding's tensor is (vocabulary, dimension), which is stored (in, out).
  bool is_embedding = false;

  /// Which matrix of a tensor of three dimensions, (experts, out, in) or (experts, in, out); -1: the tensor is one weight.
  Index expert = -1;

  /// How many experts there are; 0 where the tensor is one weight.
  Index experts = 0;

  /// The kernel of a convolution as its factors in the file have it: {3, 3}. A convolution's weight (out, in, kernel...) is taken
  /// for out x (in * the kernel's size).
  std::vector<Index> kernel = {};

  /// The component of a diffusers pipeline that the module belongs to, in files that hold those of several: "unet",
  /// "text_encoder_2" ...; empty where the file does not tell. A base that is another component passes the module over.
  std::string component = "";

  /// The path is a file's own spelling with '_' in place of '.' and a prefix before it (kohya, LyCORIS): lora_unet_mid_block_....
  /// Only a base's names tell what it means.
  bool is_flat = false;

  /// out and in of the update; -1 where it fits any (IA3, VeRA).
  Index rows() const;
  Index cols() const;

  /// r, 0 for kinds that have none, and s of LoRA, DoRA and other kinds that files hold. Throw ValueError for an update of
  /// another kind.
  Index rank() const;
  double scaling() const;
  Scaling scaling_rule() const;

  /// `<path>.<parameter>`
  std::string tensor_name() const;

  /// Whether a base weight stored with this shape is the transpose, (in, out), and gets the transposed delta. The shape
  /// decides; a square one is as fan_in_fan_out says (PEFT sees the model's classes and goes by them). Throws
  /// ShapeError when the weight is neither (out, in) nor (in, out).
  bool is_transposed(Index stored_rows, Index stored_cols) const;
};

class Safetensors;

/// A whole tensor in an adapter's file, or rows of one: PEFT writes copies of the base's embeddings and output layers beside their
/// factors, and what was trained in the base's place.
struct BaseCopy {
  std::string name;    ///< in the adapter's file
  std::string tensor;  ///< of the base model
  bool is_trained;     ///< the configuration's word (modules_to_save, bias, trainable_token_indices) that it is no copy

  /// Which rows of the base's tensor it has; empty: the whole tensor.
  std::vector<std::uint64_t> rows = {};
};

/// A named set of updates for a model's modules.
struct Adapter {
  std::string name;  ///< the folder's
  std::filesystem::path folder;  ///< what it was read from, a file or a folder
  std::vector<AdapterModule> modules;  ///< in the order of their factors in the file

  /// What it was made for, as its configuration says; not computed with, and often empty.
  std::string base_model = "", task_type = "";

  /// The file's whole tensors, and the file when there are any. bind() passes over those that equal the base's, gives
  /// those that were trained as replacements, and refuses others.
  std::vector<BaseCopy> base_copies = {};
  /// The file that `base_copies` are in; null without any.
  std::shared_ptr<const Safetensors> file = nullptr;

  /// The module of exactly that path, or null; where it changes several tensors, the first one of them.
  const AdapterModule* find(std::string_view path) const;
};

/// An adapter and what it is multiplied with, besides its own scaling. The adapter lives at least as long as the call.
struct ActiveAdapter {
  const Adapter& adapter;  ///< outlives the call
  double coefficient = 1.0;  ///< 0 leaves it out
};

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/peft/adapter-inl.hpp"
#endif
