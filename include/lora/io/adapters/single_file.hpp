// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Writing an adapter as one safetensors file. For bodies (-inl.hpp).

#include "lora/core/sorted.hpp"
#include "lora/io/adapters/stored_part.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/adapter.hpp"

#include <deque>
#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

LORA_ON_CALL_DECLARED inline std::vector<UpdateTensor> tensors_of(const AdapterModule& module) {
  return visit_update([](const auto& shared) { return shared->tensors(); }, module.update);
}

/// Throws FileError for what a single file has no place for.
LORA_ON_CALL_DECLARED inline void expect_plain(const std::filesystem::path& target, const Adapter& adapter) {
  for (const AdapterModule& module : adapter.modules) {
    const char* const found = module.expert >= 0      ? "one of an expert"
                              : module.is_embedding   ? "one of an embedding"
                              : module.fan_in_fan_out ? "one stored (in, out) (fan_in_fan_out)"
                              : module.parameter != "weight" && module.parameter != "bias" ? "one of another parameter"
                                                                                           : nullptr;
    if (found != nullptr)
      fail(target, "module ", in_quotes(module.path), ": expected an update of a linear layer or a convolution, found ",
           found, ", which such a file cannot say",
           module.expert >= 0 && module.parameter != "weight"
               ? ": a base that has a layer for each expert makes it updates of these (--base, with_base_names())"
               : "");
  }
  for (const BaseCopy& copy : adapter.base_copies)
    if (copy.is_trained)
      fail(target, "tensor ", in_quotes(copy.name),
           ": expected updates alone, found a tensor in place of the base's, which such a file cannot say");
  if (adapter.modules.empty()) fail(target, "expected an adapter with an update for at least one module, found none");
}

/// Collects tensors, then writes them.
template <class = void>
class BasicSingleFile {
 public:
  explicit BasicSingleFile(std::filesystem::path target) : target_(std::move(target)) {}

  /// A part of a module's update, which must live until write().
  void add(std::string name, const AdapterModule& module, const UpdateTensor& part, std::vector<std::uint64_t> shape) {
    const DType dtype = dtype_of_part(module, part);
    if (!scalar_type(dtype))
      fail(target_, "module ", in_quotes(module.path), ": expected F16, BF16, F32 or F64 to store a factor, found ",
           io::name(dtype));
    put({&module, std::string(part.name), part.view, {std::move(name), dtype, std::move(shape)}});
  }

  /// One number; in 64 bits where 32 do not have it.
  void add_number(std::string name, const AdapterModule& module, double value) {
    const bool is_float =
        lora::detail::to_bits(static_cast<double>(static_cast<float>(value))) == lora::detail::to_bits(value);
    numbers_.push_back(value);
    put({&module,
         "alpha",
         {&numbers_.back(), ScalarType::float64, 1, 1, 1, 1},
         {std::move(name), is_float ? DType::F32 : DType::F64, {}}});
  }

  /// Throws FileError; the file is then as it was.
  void write(const Metadata& metadata) {
    // Wide elements first: every tensor is then aligned, which PyTorch needs.
    lora::detail::sort_stably(
        entries_, [](const Entry& a, const Entry& b) { return bits(a.info.dtype) > bits(b.info.dtype); });
    std::vector<TensorInfo> infos;
    for (const Entry& entry : entries_) infos.push_back(entry.info);
    SafetensorsWriter file(target_, infos, metadata);
    for (const Entry& entry : entries_) write_part(file, *entry.module, entry.part, entry.view, entry.info.dtype);
    file.flush();
    file.commit();
  }

 private:
  struct Entry {
    const AdapterModule* module;
    std::string part;
    MatrixView view;
    TensorInfo info;
  };

  void put(Entry entry) {
    const auto [place, is_new] = modules_.try_emplace(entry.info.name, entry.module);
    if (!is_new)
      fail(target_, "module ", in_quotes(entry.module->path), ": expected a tensor's name of its own, found ",
           in_quotes(entry.info.name), ", which is that of ", in_quotes(place->second->path), " already");
    entries_.push_back(std::move(entry));
  }

  std::filesystem::path target_;
  std::vector<Entry> entries_;
  std::deque<double> numbers_;
  std::map<std::string, const AdapterModule*> modules_;  // of each tensor's name
};
using SingleFile = BasicSingleFile<>;

}  // namespace io::detail
LORA_NAMESPACE_END
