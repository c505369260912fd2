// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The version of the library. It is stated here and nowhere else: CMake reads these lines.
#define LORA_VERSION_MAJOR 0
#define LORA_VERSION_MINOR 1
#define LORA_VERSION_PATCH 0
