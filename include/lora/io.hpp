// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files: safetensors and whole models in and out, adapters of several programs, undo files. Needs nlohmann-json and a POSIX system.

#include "lora/io/adapters/formats.hpp"
#include "lora/io/error.hpp"
#include "lora/io/file/folder.hpp"
#include "lora/io/file/input_file.hpp"
#include "lora/io/file/output_file.hpp"
#include "lora/io/file/output_folder.hpp"
#include "lora/io/model/bind.hpp"
#include "lora/io/model/merge_model.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/model_writer.hpp"
#include "lora/io/model/rename.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/peft/config.hpp"
#include "lora/io/peft/load_adapter.hpp"
#include "lora/io/peft/save_adapter.hpp"
#include "lora/io/safetensors/dtype.hpp"
#include "lora/io/safetensors/header.hpp"
#include "lora/io/safetensors/safetensors.hpp"
#include "lora/io/safetensors/visit_type.hpp"
#include "lora/io/safetensors/writer.hpp"
#include "lora/io/undo/undo_file.hpp"
#include "lora/io/undo/undo_tensor.hpp"
