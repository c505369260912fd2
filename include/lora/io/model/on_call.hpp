// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Functions that bring every kernel with them, or much that few programs need: in the header-only build they are
/// templates, so that only a program which calls them compiles what they name. For declarations (or definitions that
/// are the only declaration), and for definitions. A class that such functions alone use is a template everywhere,
/// `template <class = void> class BasicRewrite`, with `using Rewrite = BasicRewrite<>`.

#include "lora/core/config.hpp"

#if LORA_HEADER_ONLY
#define LORA_ON_CALL_DECLARED template <class = void>
#define LORA_ON_CALL template <class>
#else
#define LORA_ON_CALL_DECLARED
#define LORA_ON_CALL
#endif
