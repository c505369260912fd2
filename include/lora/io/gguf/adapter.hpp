// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/gguf.hpp"
#include "lora/io/gguf/saving.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"

LORA_NAMESPACE_BEGIN
namespace io {

/// Reads a LoRA adapter for llama.cpp: a GGUF file with `general.type` "adapter" and `adapter.type` "lora", and for
/// each weight W of the base a `W.lora_a` and a `W.lora_b` (r x in and out x r; of token_embd, an embedding, vocab x r
/// and dim x r; of experts' weights experts x r x in and experts x out x r, which become a module for each expert).
/// Modules are named as the tensors are, "blk.0.attn_q"; from_gguf() gives them their names, and the rows
/// of q and k their order, in Hugging Face models. s = alpha / r with `adapter.lora.alpha`, and 1 where that is absent
/// or 0, as in llama.cpp. Factors are F32, F16, BF16 or F64, or of a quantised type that can be read, which becomes
/// float. Refused: a factor without its partner, ranks that differ, tensors other than factors, an adapter that acts
/// from some tokens on only (aLoRA), and what is not finite. Throws FileError.
Adapter load_gguf_adapter(const Gguf& file);
Adapter load_gguf_adapter(const std::filesystem::path& file);

/// Writes such a file, which llama.cpp takes for a model of this architecture ("llama", "qwen2" ...). Modules have GGUF
/// names already (see to_gguf). Factors keep their types, F32, F16 or BF16, and bits; load_gguf_adapter gives the same
/// adapter back.
///
/// Throws FileError, naming the module, for what the format cannot hold: scalings that no single alpha gives (several
/// alphas, rank-stabilised ones of several ranks; see GgufScaling), a scaling of 0, updates other than LoRA, or of
/// anything but matrices, F64 factors, names that are not GGUF's or longer than llama.cpp takes; and when the system
/// refuses.
LORA_ON_CALL_DECLARED GgufSaved save_gguf_adapter(const Adapter& adapter, const std::filesystem::path& file,
                                                  std::string_view architecture,
                                                  GgufScaling scaling = GgufScaling::alpha);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/gguf/adapter-inl.hpp"
#endif
