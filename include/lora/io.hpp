// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files: safetensors and whole models in and out, PEFT adapter folders, undo files. Needs nlohmann-json and a POSIX system.

#include "lora/io/adapter.hpp"
#include "lora/io/dtype.hpp"
#include "lora/io/error.hpp"
#include "lora/io/folder.hpp"
#include "lora/io/input_file.hpp"
#include "lora/io/model.hpp"
#include "lora/io/model_writer.hpp"
#include "lora/io/output_file.hpp"
#include "lora/io/output_folder.hpp"
#include "lora/io/pattern_budget.hpp"
#include "lora/io/patterns.hpp"
#include "lora/io/peft.hpp"
#include "lora/io/peft_config.hpp"
#include "lora/io/safetensors.hpp"
#include "lora/io/safetensors_header.hpp"
#include "lora/io/safetensors_writer.hpp"
#include "lora/io/save_adapter.hpp"
#include "lora/io/undo_file.hpp"
#include "lora/io/undo_tensor.hpp"
