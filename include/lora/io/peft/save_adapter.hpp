// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
/// Writes a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, that PEFT loads and load_adapter gives
/// back: the same modules, factors bit for bit in their own dtypes, and the same scalings. The folder is made if need
/// be, the one above it must exist.
///
/// The configuration names every module in target_modules: a list of paths, or an expression for them where one is the
/// end of another; feedforward_modules of IA3 likewise where another module's path ends in one. r and lora_alpha are
/// the most frequent ones, rank_pattern and alpha_pattern have the modules that differ: by their paths where that is
/// unambiguous, else by regular expressions for the whole path, which PEFT understands from 0.15 on. Scalings of
/// different rules, or fixed ones, become an alpha that gives the very same double, by one rule for all. In the file
/// wide elements come first, else modules keep their order. Saving what was loaded from a saved folder gives the same
/// bytes.
///
/// The experts of a parameter, which PEFT has in one tensor, get the largest of their ranks and one scaling: zeros beyond a smaller
/// rank and for experts without an update, and a scaling that is not the first one's is multiplied into B, where that rounds nothing.
///
/// Throws FileError, naming the module, when PEFT cannot hold the adapter: modules that differ in kind or fan_in_fan_out, a
/// scaling no alpha gives exactly, a factor with values its dtype does not have, two modules of one path; and when the
/// system refuses.
///
/// In a folder that exists the two files are replaced and all others stay. Both are complete and on disk before either
/// takes its name. The configuration goes first and comes last, so that an interrupted program leaves a folder without
/// it (and the old files as `<name>.old-<process>-<number>`), never one with the configuration of other factors; after an
/// exception everything is as it was.
LORA_ON_CALL_DECLARED void save_adapter(const Adapter& adapter, const std::filesystem::path& folder);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/peft/save_adapter-inl.hpp"
#endif
