// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The bodies of everything in io.hpp: for the source of the compiled library.

#include "lora/io.hpp"

#include "lora/io/adapters/formats-inl.hpp"
#include "lora/io/error-inl.hpp"
#include "lora/io/file/folder-inl.hpp"
#include "lora/io/file/input_file-inl.hpp"
#include "lora/io/file/output_file-inl.hpp"
#include "lora/io/file/output_folder-inl.hpp"
#include "lora/io/file/system-inl.hpp"
#include "lora/io/file/update_file-inl.hpp"
#include "lora/io/gguf/adapter-inl.hpp"
#include "lora/io/gguf/dequantize-inl.hpp"
#include "lora/io/gguf/gguf-inl.hpp"
#include "lora/io/gguf/header-inl.hpp"
#include "lora/io/gguf/names-inl.hpp"
#include "lora/io/gguf/parts-inl.hpp"
#include "lora/io/gguf/writer-inl.hpp"
#include "lora/io/model/bind-inl.hpp"
#include "lora/io/model/converted_adapter-inl.hpp"
#include "lora/io/model/extract_adapter-inl.hpp"
#include "lora/io/model/in_place-inl.hpp"
#include "lora/io/model/journal-inl.hpp"
#include "lora/io/model/merge_model-inl.hpp"
#include "lora/io/model/model-inl.hpp"
#include "lora/io/model/tensor_file-inl.hpp"
#include "lora/io/model/tensor_file_writer-inl.hpp"
#include "lora/io/model/model_writer-inl.hpp"
#include "lora/io/model/tasks-inl.hpp"
#include "lora/io/model/unfinished-inl.hpp"
#include "lora/io/peft/adapter-inl.hpp"
#include "lora/io/peft/config-inl.hpp"
#include "lora/io/peft/load_adapter-inl.hpp"
#include "lora/io/peft/save_adapter-inl.hpp"
#include "lora/io/safetensors/header-inl.hpp"
#include "lora/io/safetensors/safetensors-inl.hpp"
#include "lora/io/safetensors/tensor_info-inl.hpp"
#include "lora/io/safetensors/writer-inl.hpp"
#include "lora/io/store/adapter_store-inl.hpp"
#include "lora/io/text/utf8-inl.hpp"
#include "lora/io/undo/undo_file-inl.hpp"
#include "lora/io/undo/undo_tensor-inl.hpp"

#if !LORA_HEADER_ONLY
LORA_NAMESPACE_BEGIN
namespace io {

template UndoUpdate undo_update<float>(std::string, const Update<float>&, double, ScalarType);
template UndoUpdate undo_update<double>(std::string, const Update<double>&, double, ScalarType);
template void UndoFileWriter::add<float>(const ActiveSet<float>&, const UndoRecord&);
template void UndoFileWriter::add<double>(const ActiveSet<double>&, const UndoRecord&);
template ActiveSet<float> UndoFile::active_set<float>(const UndoTensor&) const;
template ActiveSet<double> UndoFile::active_set<double>(const UndoTensor&) const;
template ActiveSet<float> BoundModule::set<float>(double) const;
template ActiveSet<double> BoundModule::set<double>(double) const;
template class AdapterStore<float>;
template class AdapterStore<double>;

}  // namespace io
LORA_NAMESPACE_END
#endif
