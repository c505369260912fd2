// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// SIGINT and SIGTERM: a command that writes ends at its next step, so that its temporary files are removed.

namespace cli {

/// What interruption_point() throws; the program's exit code is 128 + signal.
struct Interrupted {
  int signal;
};

/// From now on the first SIGINT or SIGTERM is noted for interruption_point(); a second one ends the program at once.
void note_signals();

/// Throws Interrupted when such a signal has come.
void interruption_point();

/// At the start of the program. Standard streams that are closed become ones that fail, so that no file of ours gets
/// their number; a pipe whose reader has gone and a file that becomes too large are errors, not the end.
void prepare_process();

}  // namespace cli
