// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/adapter.hpp"
#include "lora/io/gguf/adapter_reader.hpp"
#include "lora/io/gguf/adapter_writer.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

LORA_FUNC Adapter load_gguf_adapter(const Gguf& file) {
  const std::string* const base = file.value<std::string>("general.base_model.0.name");
  return {utf8_text(file.path().stem()), file.path(), detail::GgufAdapterReader(file).read(),
          base == nullptr ? "" : *base};
}

LORA_FUNC Adapter load_gguf_adapter(const std::filesystem::path& file) { return load_gguf_adapter(Gguf::open(file)); }

LORA_ON_CALL LORA_FUNC GgufSaved save_gguf_adapter(const Adapter& adapter, const std::filesystem::path& file,
                                                   std::string_view architecture, GgufScaling scaling) {
  return detail::GgufAdapterWriter(adapter, file, scaling).write(architecture);
}

}  // namespace io
LORA_NAMESPACE_END
