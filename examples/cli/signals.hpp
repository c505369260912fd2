// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the program needs of the system besides files: SIGINT and SIGTERM (a command that writes ends at its next step, so
/// that its temporary files are removed), the standard streams, the arguments.

#include <string>
#include <vector>

namespace cli {

/// From now on the first SIGINT or SIGTERM is noted; a second one ends the program at once.
void note_signals();

/// The signal that has come, or 0.
int noted_signal();

/// At the start of the program. Standard streams that are closed become ones that fail, so that no file of ours gets
/// their number; a pipe whose reader has gone and a file that becomes too large are errors, not the end.
void prepare_process();

/// Whether standard error is a terminal.
bool is_terminal();

/// What main() was called with, the program's name first, in UTF-8.
std::vector<std::string> arguments(int argc, char** argv);

}  // namespace cli
