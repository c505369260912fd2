// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/bind.hpp"
#include "lora/io/model/bind_modules.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

template <class Compute>
ActiveSet<Compute> BoundModule::set(double coefficient) const {
  try {
    return ActiveSet<Compute>({{detail::update_in<Compute>(update_), coefficient}});
  } catch (const Error& error) {
    throw FileError(detail::text("lora: module ", detail::in_quotes(module_->path), ": ", detail::bare(error)));
  }
}

LORA_FUNC std::vector<BoundModule> bind(const Model& model, const Adapter& adapter,
                                        std::vector<std::string>* warnings, std::span<const Rename> renames,
                                        std::vector<Replacement>* replacements) {
  detail::BoundAdapter out = detail::bind_modules(
      model, adapter, renames, [&](const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) {
        model.read(tensor, offset, into);
      });
  if (warnings != nullptr) warnings->insert(warnings->end(), out.warnings.begin(), out.warnings.end());
  detail::expect_untied_head(model, out.modules, out.own_heads, warnings, false);
  detail::warn_of_equal_head(model, out.modules, out.replacements, out.own_heads, warnings);
  if (replacements != nullptr)
    *replacements = std::move(out.replacements);
  else if (!out.replacements.empty())
    detail::fail(adapter.folder, "tensor ", detail::in_quotes(out.replacements.front().name),
                 ": expected updates alone, found a tensor in place of the base's: ask bind() for replacements");
  return std::move(out.modules);
}

LORA_FUNC Adapter without_base_copies(const Adapter& adapter, const Model& base, std::vector<std::string>* warnings,
                                      std::span<const Rename> renames) {
  Adapter out = adapter;
  if (adapter.base_copies.empty()) return out;
  const detail::ExpertLayouts layouts(base, renames);
  const detail::ExpertsOfBase experts = detail::ExpertsForBase(layouts, adapter).run();
  detail::TensorFinder finder(base, experts.adapter != nullptr ? *experts.adapter : adapter, renames);
  finder.find();
  const detail::Replacements found =
      detail::ReplacementFinder(
          base, adapter,
          [&](const std::string& name) { return detail::find_whole(base, adapter, layouts, finder, name); },
          [&](const std::string& name) { return detail::ModuleNames::renamed(renames, name); },
          [&](const ModelTensor& tensor, std::uint64_t offset, std::span<std::byte> into) {
            base.read(tensor, offset, into);
          })
          .find();
  if (!found.all.empty())
    detail::fail(adapter.folder, "tensor ", detail::in_quotes(found.all.front().name),
                 ": expected updates and copies of the base's tensors, found one ",
                 found.all.front().copy != nullptr ? "that was trained in the base's place" : "with more rows, of a vocabulary that grew");
  if (warnings != nullptr) warnings->insert(warnings->end(), found.warnings.begin(), found.warnings.end());
  out.base_copies.clear();
  out.file.reset();
  return out;
}

}  // namespace io
LORA_NAMESPACE_END
