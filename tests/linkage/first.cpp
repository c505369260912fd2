// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "outcome.inc"

Outcome first_unit() { return outcome(); }
