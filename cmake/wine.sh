#!/bin/sh
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Runs a Windows program without wine's own messages, and without the window and the services it would start.
export WINEDEBUG="${WINEDEBUG--all}" WINEDLLOVERRIDES="${WINEDLLOVERRIDES-mscoree,mshtml,explorer.exe,services.exe=}"
exec wine "$@"
