// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/adapters/format_table.hpp"
#include "lora/io/adapters/formats.hpp"
#include "lora/io/adapters/save_table.hpp"
#include "lora/io/kohya/open_clip.hpp"
#include "lora/io/model/experts_for_base.hpp"
#include "lora/io/model/tensor_finder.hpp"
#include "lora/io/peft/kernel.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

namespace detail {

/// The same adapter with experts as its bases store them.
inline Adapter with_base_experts(const Adapter& adapter, std::span<const Model* const> bases,
                                 std::span<const Rename> renames) {
  Adapter out = adapter;
  for (const Model* const base : bases) {
    const ExpertLayouts layouts(*base, renames);
    const ExpertsOfBase experts = ExpertsForBase(layouts, out).run();
    if (experts.adapter == nullptr) continue;
    TensorFinder finder(*base, *experts.adapter, renames);
    const std::vector<const ModelTensor*> tensors = finder.find();
    expect_all_experts(*base, experts, tensors);
    expect_shapes_of_experts(*base, experts, tensors);
    out = *experts.adapter;
    for (AdapterModule& module : out.modules)
      if (!module.is_flat) module.path = finder.path_in_mixture(module);
  }
  return out;
}

}  // namespace detail

LORA_FUNC std::vector<AdapterFormatInfo> adapter_formats() {
  std::vector<AdapterFormatInfo> out;
  for (const detail::AdapterFormat& row : detail::adapter_rows) out.push_back(row.info);
  return out;
}

LORA_FUNC std::string_view adapter_format(const std::filesystem::path& path) {
  try {
    const detail::AdapterFormat* const row = detail::find_format(detail::AdapterSource(path));
    return row == nullptr ? std::string_view() : row->info.name;
  } catch (const FileError&) {
    return {};
  }
}

LORA_ON_CALL LORA_FUNC std::vector<std::string> save_adapter_as(const Adapter& adapter,
                                                                const std::filesystem::path& target,
                                                                std::string_view format) {
  for (const detail::AdapterSaver& row : detail::adapter_savers())
    if (row.format == format) return row.save(adapter, target);
  throw ValueError(
      detail::text("lora: expected a format that save_adapter_as() writes (peft, kohya, diffusers), found ",
                   detail::in_quotes(format)));
}

LORA_FUNC Adapter with_base_names(const Adapter& adapter, std::span<const Model* const> bases,
                                  std::span<const Rename> renames, BasePaths paths) {
  const Adapter own = detail::with_base_experts(adapter, bases, renames);
  Adapter out = own;
  for (const Model* const base : bases) {
    detail::TensorFinder finder(*base, own, renames);
    const std::vector<const ModelTensor*> tensors = finder.find();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      AdapterModule& module = out.modules[i];
      if (tensors[i] == nullptr) continue;
      // Factors are written as those of the base's own layer.
      const std::span<const std::uint64_t> shape = tensors[i]->info->shape;
      const std::string_view kind = module.update.kind();
      const bool is_untold = module.kernel.empty() && shape.size() > 2 && (kind == "LoHa" || kind == "LoKr");  // products
      if (module.expert < 0 && (is_untold || detail::is_kernel_of(std::span<const Index>(module.kernel), shape)))
        module.kernel.assign(shape.begin() + 2, shape.end());
      const bool is_meant = module.is_flat || (paths == BasePaths::all && module.component.empty() && module.expert < 0);
      if (!is_meant) continue;
      const std::string& name = tensors[i]->info->name;
      module.path = name.substr(0, name.rfind('.'));
      if (!module.component.empty()) module.component = finder.component_of_base(module.component);
      module.is_flat = false;
    }
  }
  for (const AdapterModule& module : out.modules)
    if (module.is_flat)
      detail::fail(adapter.folder, "module ", detail::in_quotes(module.path),
                   ": expected a base that has it, found none", module.component.empty() ? "" : " for the component ",
                   module.component);
  return out;
}

LORA_ON_CALL LORA_FUNC Adapter with_open_clip_names(const Adapter& adapter, const Model& base) {
  return detail::OpenClipNames(adapter, base).run();
}

LORA_FUNC Adapter of_component(const Adapter& adapter, std::string_view component) {
  const auto is_open = [](const AdapterModule& module) { return module.component.empty(); };
  Adapter out = adapter;
  if (std::all_of(out.modules.begin(), out.modules.end(), is_open)) {
    for (AdapterModule& module : out.modules) module.component = component;
    return out;
  }
  const auto is_it = [&](const AdapterModule& module) { return detail::is_same_component(module.component, component); };
  const auto may_be = [&](const AdapterModule& module) { return detail::may_be_component(module.component, component); };
  const bool is_named = std::any_of(out.modules.begin(), out.modules.end(), is_it);
  std::erase_if(out.modules, [&](const AdapterModule& module) { return is_named ? !is_it(module) : !may_be(module); });
  if (out.modules.empty())
    detail::fail(adapter.folder, "expected modules of the component ", detail::in_quotes(component), ", found none");
  return out;
}

LORA_FUNC std::vector<std::filesystem::path> files_of(const Adapter& adapter) {
  std::error_code ignored;
  if (adapter.folder.empty()) return {};
  if (!std::filesystem::is_directory(adapter.folder, ignored)) return {adapter.folder};
  std::vector<std::filesystem::path> out;
  for (const std::string_view file :
       {std::string_view("adapter_model.safetensors"), std::string_view("adapter_config.json"), detail::mlx_weights,
        detail::AdapterSource::diffusers_name})
    out.push_back(adapter.folder / file);
  return out;
}

}  // namespace io
LORA_NAMESPACE_END
