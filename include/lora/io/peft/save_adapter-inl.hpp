// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/adapters/expect_dotted.hpp"
#include "lora/io/file/replacing.hpp"
#include "lora/io/peft/config_writer.hpp"
#include "lora/io/peft/factor_writer.hpp"
#include "lora/io/peft/save_adapter.hpp"
#include "lora/io/peft/whole_experts.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

/// save_adapter() with whole tensors out of other files than the adapter's own; see FactorWriter.
LORA_ON_CALL_DECLARED inline void save_with_copies(const Adapter& adapter, const std::filesystem::path& folder,
                                                   std::span<const CopySource> sources) {
  const std::filesystem::path config_path = folder / "adapter_config.json";
  const std::filesystem::path factors_path = folder / "adapter_model.safetensors";
  expect_dotted(folder, adapter);
  const Adapter whole = WholeExperts(factors_path, adapter).run();
  const std::string config_text = PeftConfigWriter(config_path, whole).write();
  FolderToFill place(folder);
  {
    FactorWriter factors(factors_path, whole, sources);
    OutputFile config(config_path);
    factors.write();
    config.write(config_text);
    factors.file().flush();
    config.flush();
    for (const CopySource& source : sources) source.file->file().expect_unchanged();

    ReplacedFile old_config(config_path), old_factors(factors_path);
    factors.file().commit();
    config.commit();
    old_config.let_go();
    old_factors.let_go();
  }
  place.keep();
}

}  // namespace detail

LORA_ON_CALL LORA_FUNC void save_adapter(const Adapter& adapter, const std::filesystem::path& folder) {
  detail::save_with_copies(adapter, folder, {});
}

}  // namespace io
LORA_NAMESPACE_END
