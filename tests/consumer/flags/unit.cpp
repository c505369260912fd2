// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
int unit() { return 0; }
