// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Sets of several adapters' updates, and which adapter it is that cannot be in one.

#include "text.hpp"

#include <lora/compose/update_error.hpp>
#include <lora/io/model/merge_plan.hpp>

namespace cli {

/// Calls work(set) with the set of these parts. Where that throws, and alone(set) of one part as well, or the error is
/// about one update, that part's adapter and module are named. Errors about the set as a whole come out as they are.
template <class Compute, class Work, class Alone>
void with_members(const std::vector<lora::io::MergePart>& parts, const Work& work, const Alone& alone) {
  const auto refuse = [](const lora::io::MergePart& part, std::string_view why) {
    fail(part.adapter->folder, "module ", in_quotes(part.module->path), ": ", why);
  };
  try {
    work(lora::io::active_set<Compute>(parts));
  } catch (const lora::compose::UpdateError& error) {
    refuse(parts[error.update()], error.reason());
  } catch (const lora::Error&) {
    for (const lora::io::MergePart& part : parts) {
      try {
        alone(lora::io::active_set<Compute>({part}));
      } catch (const lora::compose::UpdateError& error) {
        refuse(part, error.reason());
      } catch (const lora::Error& error) {
        refuse(part, bare(error));
      }
    }
    throw;
  }
}

}  // namespace cli
