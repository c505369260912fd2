// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "outcome.inc"

Outcome second_unit() { return outcome(); }
