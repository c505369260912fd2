// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#if defined(_WIN32)
#include "lora/io/file/system_windows-inl.hpp"
#else
#include "lora/io/file/system_posix-inl.hpp"
#endif
