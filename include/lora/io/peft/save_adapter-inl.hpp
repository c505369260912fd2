// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/adapters/expect_dotted.hpp"
#include "lora/io/file/replacing.hpp"
#include "lora/io/peft/config_writer.hpp"
#include "lora/io/peft/factor_writer.hpp"
#include "lora/io/peft/save_adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC void save_adapter(const Adapter& adapter, const std::filesystem::path& folder) {
  const std::filesystem::path config_path = folder / "adapter_config.json";
  const std::filesystem::path factors_path = folder / "adapter_model.safetensors";
  detail::expect_dotted(folder, adapter);
  const std::string config_text = detail::PeftConfigWriter(config_path, adapter).write();
  detail::FolderToFill place(folder);
  {
    detail::FactorWriter factors(factors_path, adapter);
    OutputFile config(config_path);
    factors.write();
    config.write(config_text);
    factors.file().flush();
    config.flush();

    detail::ReplacedFile old_config(config_path), old_factors(factors_path);
    factors.file().commit();
    config.commit();
    old_config.let_go();
    old_factors.let_go();
  }
  place.keep();
}

}  // namespace io
LORA_NAMESPACE_END
