// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The formats of adapters: docs/FILES.md says what each holds.

#include "lora/io/adapters/format_info.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/model/rename.hpp"
#include "lora/io/peft/adapter.hpp"

#include <span>

LORA_NAMESPACE_BEGIN
namespace io {

/// Those that there are.
std::vector<AdapterFormatInfo> adapter_formats();

/// The name of the format that a file or folder has, told by what is in it, or "" when it is no adapter of a known one. Throws
/// nothing but std::bad_alloc.
std::string_view adapter_format(const std::filesystem::path& path);

/// Writes an adapter in a format by its name: "peft" as save_adapter() does, a folder; "kohya" and "diffusers" a file,
/// replaced when it exists. Returns sentences, printable, about what is said in other numbers than the adapter's (a
/// scaling that is multiplied into factors). Throws FileError, naming the module, for what the format cannot say; the
/// target is then as it was. ValueError for other formats: save_gguf_adapter() needs an architecture, and mlx-lm's
/// folders are only read.
///
/// Names: peft takes the modules of one component, under their paths in it; kohya puts the component's prefix before them
/// (lora_unet_, lora_te_ ...; lycoris_ where there is none), diffusers its name.
LORA_ON_CALL_DECLARED std::vector<std::string> save_adapter_as(const Adapter& adapter,
                                                               const std::filesystem::path& target,
                                                               std::string_view format);

/// Which paths with_base_names() changes: those that have '_' for '.', or also those with dots of modules without a component, which a
/// file of kohya's names has to have as the base has them.
enum class BasePaths { flat, all };

/// The same adapter under its bases' names: paths that have '_' for '.' (AdapterModule::is_flat) become those of the
/// tensors they mean, and factors of a 1x1 convolution get the dimensions that the tensor has, two or with a kernel.
/// LoRA of experts becomes what the base stores, a layer for each or one parameter, where it is for the other; all modules of mixtures
/// are then under the base's name for these (docs/FILES.md).
/// `bases` are the components that it has modules for, in any order. Throws FileError, naming the module, when none has
/// it, and as bind() does.
Adapter with_base_names(const Adapter& adapter, std::span<const Model* const> bases,
                        std::span<const Rename> renames = {}, BasePaths paths = BasePaths::flat);

/// The same adapter for a base that has text encoders in OpenCLIP's layout, as single files of Stable Diffusion XL have
/// the second one: kohya's and diffusers' names become the base's, and LoRAs of q, k and v, which are one tensor there, one
/// update. Others are left as they are.
/// Throws FileError, naming the module, for parts that have other kinds, types, shapes or scalings than each other.
LORA_ON_CALL_DECLARED Adapter with_open_clip_names(const Adapter& adapter, const Model& base);

/// The modules of one component alone; an adapter without components becomes one of this component. Without any of text_encoder_2
/// those of T5, kohya's lora_te3_, which is that of Flux. Throws FileError when it has none.
Adapter of_component(const Adapter& adapter, std::string_view component);

/// The files that an adapter was read from.
std::vector<std::filesystem::path> files_of(const Adapter& adapter);

}  // namespace io
LORA_NAMESPACE_END

#if LORA_HEADER_ONLY
#include "lora/io/adapters/formats-inl.hpp"
#endif
