// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Files: safetensors in and out, PEFT adapter folders, undo files. Needs nlohmann-json and a POSIX system.

#include "lora/io/dtype.hpp"
#include "lora/io/error.hpp"
#include "lora/io/mapped_file.hpp"
#include "lora/io/output_file.hpp"
#include "lora/io/patterns.hpp"
#include "lora/io/peft.hpp"
#include "lora/io/peft_config.hpp"
#include "lora/io/safetensors.hpp"
#include "lora/io/safetensors_header.hpp"
#include "lora/io/safetensors_writer.hpp"
#include "lora/io/undo_file.hpp"
