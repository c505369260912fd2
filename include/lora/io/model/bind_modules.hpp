// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The weights that the modules of an adapter change. For bodies (-inl.hpp).

#include "lora/io/model/bound_module.hpp"
#include "lora/io/model/conv1d.hpp"
#include "lora/io/model/expert_tensors.hpp"
#include "lora/io/model/experts_for_base.hpp"
#include "lora/io/model/replacements.hpp"
#include "lora/io/model/tensor_finder.hpp"
#include "lora/io/peft/kernel.hpp"
#include "lora/io/peft/kinds.hpp"
#include "lora/io/peft/names.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// In which orders a weight has a module's shape.
struct FittingOrders {
  template <class Size>
  FittingOrders(const AdapterModule& module, const std::vector<Size>& shape)
      : plain(is(module.rows(), shape[0]) && is(module.cols(), shape[1])),
        transposed(is(module.rows(), shape[1]) && is(module.cols(), shape[0])) {}
  bool plain, transposed;

 private:
  template <class Size>
  static bool is(Index own, Size size) {
    return own < 0 || own == static_cast<Index>(size);
  }
};

/// Whether the base says that a module's weight is stored (in, out).
inline std::optional<bool> stored_transposed(const Conv1DLayers& conv1d, const AdapterModule& module,
                                             const TensorInfo& tensor) {
  if (module.is_embedding || module.expert >= 0 || module.parameter != "weight") return std::nullopt;
  return conv1d.is_transposed(std::string_view(tensor.name).substr(0, tensor.name.rfind('.')));
}

/// An update with another scaling.
inline EitherUpdate with_scaling(const EitherUpdate& update, const Scaling& scaling) {
  return visit_update(
      [&]<class Compute>(const SharedUpdate<Compute>& shared) -> EitherUpdate {
        return make_update<Compute>(kind_of(*shared), parts_of(*shared), scaling);
      },
      update);
}

/// The weight that a module means in a tensor, which will have `rows` rows by then; with the scaling of `scaled_as`. `owner` is
/// the adapter where that is made for the base, else null. Throws FileError when the tensor cannot be merged.
inline BoundModule bind_module(const Model& model, const Conv1DLayers& conv1d, const Adapter& adapter,
                               const std::vector<const ModelTensor*>& tensors, std::size_t i, std::uint64_t rows,
                               const AdapterModule& scaled_as, std::shared_ptr<const Adapter> owner) {
  const ModelTensor& tensor = *tensors[i];
  const AdapterModule& module = adapter.modules[i];
  const TensorInfo& info = *tensor.info;
  const auto refuse = [&](const auto&... pieces) {
    fail(model.shard_of(tensor).path(), "tensor ", in_quotes(info.name), ": ", pieces...);
  };
  const TensorFile& file = model.shard_of(tensor);
  if (file.is_quantized(info))
    refuse("expected F16, BF16, F32 or F64 to merge into, found ", file.type_name(info), quantised_remedy);
  if (const auto quantised = quantised_module(info.name); quantised && !info.name.ends_with(".weight"))
    refuse("expected ", in_quotes(quantised->weight()), " to merge into, found only what ", quantised->maker,
           " stores for it", quantised_remedy);
  if (is_quantised(info.dtype))
    refuse("expected F16, BF16, F32 or F64 to merge into, found ", name(info.dtype), quantised_remedy);
  if (is_left_empty(info)) refuse(left_empty);
  if (!scalar_type(info.dtype)) refuse("expected F16, BF16, F32 or F64 to merge into, found ", name(info.dtype));
  std::vector<Index> shape(info.shape.begin(), info.shape.end());
  if (!shape.empty()) shape[0] = static_cast<Index>(rows);
  const auto expect_dimensions = [&](bool fits, std::string_view expected) {
    if (!fits) refuse("expected ", expected, " to merge into, found ", shape_list(info.shape));
  };
  bool is_kernel = false;
  if (module.expert >= 0) {
    const bool is_matrix_of_one = module.experts == 1 && shape.size() == 2;
    expect_dimensions(is_matrix_of_one || (shape.size() == 3 && shape[0] == module.experts),
                      text("the three dimensions of experts' weights, ", module.experts, " of them,"));
    if (!is_matrix_of_one) shape.erase(shape.begin());
  } else if (module.parameter == "bias") {
    expect_dimensions(shape.size() == 1, "the one dimension of a bias");
    shape.push_back(1);
  } else if (shape.size() > 2) {
    // LoRA's factors have the kernel's dimensions where they are a convolution's, unless that is 1.
    const bool says_kernel = module.update.kind() == "LoRA" || module.update.kind() == "DoRA";
    const bool is_own = is_kernel_of(std::span<const Index>(module.kernel), std::span<const Index>(shape));
    expect_dimensions(!module.is_embedding && (!says_kernel || !module.kernel.empty() || is_own), "two dimensions");
    expect_dimensions(shape.size() <= 5 && (!says_kernel || is_own),
                      text("a convolution's (out, in, kernel...) with the kernel ",
                           shape_list(std::vector<std::uint64_t>(module.kernel.begin(), module.kernel.end()))));
    is_kernel = true;
    for (; shape.size() > 2; shape.pop_back()) shape[1] *= shape.back();
  }
  if (shape.size() == 1 && module.cols() == 1) shape.push_back(1);  // of a norm
  expect_dimensions(shape.size() == 2, "two dimensions");
  try {
    const bool fits_any = module.rows() < 0 || module.cols() < 0;
    if (is_kernel && !fits_any && (shape[0] != module.rows() || shape[1] != module.cols()))
      throw ShapeError(text(
          "lora: module ", in_quotes(module.path), ": expected a convolution's weight of ", module.rows(), " x ",
          module.cols(), " (out x in kernel), found ", shape_list(info.shape),
          shape[0] == module.rows() && module.cols() % std::max<Index>(shape[1], 1) == 0
              ? ": a grouped one, which an update whose A is not grouped does not fit: it can only be used unmerged"
              : ""));
    const bool is_matrix = !is_kernel && module.parameter != "bias";
    const FittingOrders fitting(module, shape);
    const std::optional<bool> told =
        fitting.plain && fitting.transposed ? stored_transposed(conv1d, module, info) : std::nullopt;
    const bool is_transposed = !is_matrix ? false
                               : module.expert >= 0 && info.shape.size() == 3 && module.rows() == module.cols()
                                   ? file.gguf() == nullptr && are_experts_transposed(model, adapter, tensors, i)
                                   : told.value_or(module.is_transposed(shape[0], shape[1]));
    if (is_transposed) std::swap(shape[0], shape[1]);
    const Index kernel = is_kernel && info.shape[1] != 0 ? shape[1] / static_cast<Index>(info.shape[1]) : 1;
    const bool has_own_scaling =
        &scaled_as == &module || lora::detail::to_bits(scaled_as.scaling()) == lora::detail::to_bits(module.scaling());
    const EitherUpdate scaled =
        has_own_scaling ? EitherUpdate(module.update) : with_scaling(module.update, scaled_as.scaling_rule());
    const AdapterUpdate update = visit_update([](const auto& shared) { return AdapterUpdate(shared); },
                                              sized(scaled, shape[0], shape[1], kernel));
    return {tensor, module, update, is_transposed ? column_major : row_major, std::move(owner)};
  } catch (const Error& error) {
    const Index own = module.is_embedding ? module.cols() : module.rows();
    refuse(bare(error),
           (module.is_embedding || is_head(module.path)) && !info.shape.empty() && own > shape[0]
               ? ": the adapter was trained with a larger vocabulary, and its file has to hold the new rows (PEFT's "
                 "save_pretrained with save_embedding_layers=True)"
               : "");
    throw;
  }
}

/// PEFT writes one fan_in_fan_out for a model that may have layers of both kinds. Shapes tell them apart but for square
/// weights: where the base does not tell of those either, they are refused when the shape of another module says that
/// the flag is not true of all.
inline void expect_clear_orientation(const Model& base, const Conv1DLayers& conv1d, const Adapter& adapter,
                                     const std::vector<const ModelTensor*>& tensors) {
  const AdapterModule *square = nullptr, *contrary = nullptr;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const AdapterModule& module = adapter.modules[i];
    if (tensors[i] == nullptr || module.is_embedding || module.expert >= 0 || module.parameter == "bias") continue;
    const std::vector<std::uint64_t>& shape = tensors[i]->info->shape;
    if (shape.size() != 2) continue;
    const FittingOrders fitting(module, shape);
    if (fitting.plain && fitting.transposed)
      square = stored_transposed(conv1d, module, *tensors[i]->info) ? square : &module;
    else if (fitting.plain != fitting.transposed && fitting.transposed != module.fan_in_fan_out)
      contrary = &module;
  }
  if (square != nullptr && contrary != nullptr)
    fail(base.path(), "module ", in_quotes(square->path), " of the adapter ", in_quotes(utf8_text(adapter.folder)),
         ": its weight is square, and fan_in_fan_out cannot be trusted to say how it is stored: the shape of ",
         in_quotes(contrary->path), " contradicts it");
}

/// A whole tensor of an adapter's in the base, or null. Throws FileError for experts that the base stores in the other
/// way.
inline const ModelTensor* find_whole(const Model& model, const Adapter& adapter, const ExpertLayouts& layouts,
                                     TensorFinder& finder, const std::string& name) {
  const ModelTensor* const tensor = finder.find_other(name, true);
  if (tensor == nullptr && layouts.has_otherwise(name))
    fail(model.path(), "tensor ", in_quotes(name), " of the adapter ", in_quotes(utf8_text(adapter.folder)),
         ": expected experts as the base stores them, found ",
         expert_path(name.substr(0, name.rfind('.')))
             ? "one in a layer of its own, where the base has all in one parameter"
             : "all in one parameter, where the base has a layer for each",
         ": whole tensors are not converted");
  return tensor;
}

/// bind() without a look at the configuration; `read` gives the bytes of the model's tensors before any merge.
struct BoundAdapter {
  std::vector<BoundModule> modules;
  std::vector<Replacement> replacements;
  std::vector<std::string> own_heads;          ///< output layers among them that are not the embeddings
  const ModelTensor* trained_apart = nullptr;  ///< see Replacements
  std::vector<std::string> warnings;           ///< about modules that are passed over
};
inline BoundAdapter bind_modules(const Model& model, const Adapter& adapter, std::span<const Rename> renames,
                                 ReadBase read) {
  const ExpertLayouts layouts(model, renames);
  const ExpertsOfBase experts = ExpertsForBase(layouts, adapter).run();
  const Adapter& own = experts.adapter != nullptr ? *experts.adapter : adapter;
  TensorFinder finder(model, own, renames);
  std::vector<const ModelTensor*> tensors = finder.find();
  expect_all_experts(model, experts, tensors);
  const std::vector<std::size_t> scaled_as = assign_experts(model, own, tensors);
  const Conv1DLayers conv1d(model);
  expect_clear_orientation(model, conv1d, own, tensors);
  BoundAdapter out;
  Replacements found =
      ReplacementFinder(
          model, adapter, [&](const std::string& name) { return find_whole(model, adapter, layouts, finder, name); },
          [&](const std::string& name) { return ModuleNames::renamed(renames, name); }, read)
          .find();
  out.replacements = std::move(found.all);
  out.own_heads = std::move(found.own_heads);
  out.trained_apart = found.trained_apart;
  const auto rows_of = [&](const ModelTensor& tensor) -> std::uint64_t {
    for (const Replacement& replacement : out.replacements)
      if (replacement.tensor == &tensor) return replacement.shape.empty() ? 0 : replacement.shape[0];
    return tensor.info->shape.empty() ? 0 : tensor.info->shape[0];
  };
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i] != nullptr)
      out.modules.push_back(bind_module(model, conv1d, own, tensors, i, rows_of(*tensors[i]), own.modules[scaled_as[i]],
                                        experts.adapter));
  out.warnings = finder.warnings();
  out.warnings.insert(out.warnings.end(), found.warnings.begin(), found.warnings.end());
  return out;
}

}  // namespace io::detail
LORA_NAMESPACE_END
