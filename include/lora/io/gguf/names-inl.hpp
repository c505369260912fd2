// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/io/gguf/low_rank_of.hpp"
#include "lora/io/gguf/name_table.hpp"
#include "lora/io/gguf/names.hpp"
#include "lora/io/text/json.hpp"

LORA_NAMESPACE_BEGIN
namespace io {
namespace detail {

inline const GgufArchitectureRow* find_architecture(std::string_view name) {
  const auto at = std::find_if(gguf_architectures.begin(), gguf_architectures.end(),
                               [&](const GgufArchitectureRow& row) { return row.name == name; });
  return at == gguf_architectures.end() ? nullptr : at;
}
inline const GgufArchitectureRow& architecture_row(std::string_view name) {
  if (const GgufArchitectureRow* const row = find_architecture(name)) return *row;
  throw ValueError(text("lora: GGUF: expected an architecture whose names are known (llama, qwen2, gemma2 ...), found ",
                        in_quotes(name), ": merge into the Hugging Face model, and convert that to GGUF"));
}
inline std::span<const std::string_view> prefixes_of(const GgufArchitectureRow& architecture) {
  if (architecture.family == gpt2_names) return gpt2_prefixes;
  return llama_prefixes;
}

/// Which row of q or k in Hugging Face's order is which in GGUF's: entry i is where row i of the result comes from.
inline std::vector<Index> reordered_rows(Index rows, std::uint64_t heads, bool to_gguf) {
  const Index per_head = rows / static_cast<Index>(heads);
  std::vector<Index> from(static_cast<std::size_t>(rows));
  for (Index head = 0; head < rows; head += per_head)
    for (Index i = 0; i < per_head / 2; ++i)
      for (Index p = 0; p < 2; ++p) {
        const Index gguf = head + 2 * i + p, hugging_face = head + p * (per_head / 2) + i;
        from[static_cast<std::size_t>(to_gguf ? gguf : hugging_face)] = to_gguf ? hugging_face : gguf;
      }
  return from;
}

/// Row i is row from[i] of M.
template <class Derived>
typename Derived::PlainObject taken_rows(const Derived& M, const std::vector<Index>& from) {
  typename Derived::PlainObject out(M.rows(), M.cols());
  for (Index i = 0; i < M.rows(); ++i) out.row(i) = M.row(from[static_cast<std::size_t>(i)]);
  return out;
}
template <class Scalar>
LowRank<Scalar> with_rows(const LowRank<Scalar>& update, const std::vector<Index>& from) {
  return {taken_rows(update.B(), from), update.A(), update.scaling_rule()};
}
template <class Scalar>
DoRA<Scalar> with_rows(const DoRA<Scalar>& update, const std::vector<Index>& from) {
  return {with_rows(update.low_rank(), from), taken_rows(update.magnitude(), from)};
}

template <class Compute>
IA3<Compute> with_rows(const IA3<Compute>& update, const std::vector<Index>& from) {
  const MatrixView l = update.tensors().front().view;
  Matrix<double> out(l.rows, 1);
  for (Index i = 0; i < l.rows; ++i) lora::detail::read_row(l, from[static_cast<std::size_t>(i)], &out(i, 0));
  return IA3<Compute>(out, update.scaling_rule());
}

/// An adapter under other names, the rows of q and k in the other order.
template <class = void>
class BasicGgufRenaming {
 public:
  BasicGgufRenaming(const Adapter& adapter, const GgufArchitecture& architecture, bool to_gguf)
      : adapter_(adapter), architecture_(architecture), row_(architecture_row(architecture.name)), to_gguf_(to_gguf) {}

  Adapter run() const {
    Adapter out = adapter_;
    for (BaseCopy& copy : out.base_copies) {
      if (copy.is_trained)
        fail(adapter_.folder, "tensor ", in_quotes(copy.name),
             ": expected factors and copies of the base's tensors, found a whole tensor that was trained in the base's "
             "place, which files of factors and GGUF models do not take: merge into the Hugging Face model, and convert that to GGUF");
      const std::size_t dot = copy.tensor.rfind('.');
      const auto name = dot == copy.tensor.npos ? std::nullopt : renamed(std::string_view(copy.tensor).substr(0, dot));
      if (!name)
        fail(adapter_.folder, "tensor ", in_quotes(copy.name), ": expected a copy of a tensor of ", architecture_.name,
             " that ", has_a_name(), ", found ", in_quotes(copy.tensor));
      copy.tensor = *name + copy.tensor.substr(dot);
    }
    for (AdapterModule& module : out.modules) {
      const std::string_view path = module.path;
      std::optional<std::string> name = renamed(path);
      if (!name)
        refuse(
            module,
            text("expected a module of ", architecture_.name, " that ", has_a_name(), ", found none",
                 module.is_flat
                     ? " (its name has '_' for '.': convert the adapter to PEFT first, with the Hugging Face model as "
                       "the base, lora convert --to peft --base MODEL)"
                 : module.expert >= 0 || path.find(".experts.") != path.npos
                     ? " (adapters of experts are not written to GGUF files: merge it into the model, lora merge)"
                     : ""));
      const bool scales_bias = module.parameter == "bias" && module.is_optional;  // IA3's
      if ((module.parameter != "weight" && !scales_bias) || module.expert >= 0)
        refuse(module, text("expected an update of a matrix, found one of ", in_quotes(module.tensor_name()),
                            module.expert >= 0 ? ", an expert's" : ""));
      const std::string_view gguf = to_gguf_ ? std::string_view(*name) : path;
      if (row_.is_reordered && (gguf.ends_with(".attn_q") || gguf.ends_with(".attn_k")))
        module.update = reordered(module, gguf.ends_with("q") ? architecture_.heads : architecture_.kv_heads);
      // GPT-2's own layers are stored (in, out), but as (out, in) in GGUF files.
      module.fan_in_fan_out = !to_gguf_ && row_.family == gpt2_names && gguf.starts_with("blk.");
      module.path = std::move(*name);
    }
    return out;
  }

 private:
  std::optional<std::string> renamed(std::string_view path) const {
    return to_gguf_ ? gguf_name(path, architecture_) : module_name(path, architecture_);
  }
  std::string_view has_a_name() const {
    return to_gguf_ ? "has a name in GGUF files" : "has a name in Hugging Face's model";
  }

  [[noreturn]] void refuse(const AdapterModule& module, std::string_view problem) const {
    fail(adapter_.folder, "module ", in_quotes(module.path), ": ", problem);
  }

  AdapterUpdate reordered(const AdapterModule& module, std::uint64_t heads) const {
    if (module.update.kind() == "IA3" && module.rows() < 0) return module.update;  // of what the layer takes in
    const auto rows = static_cast<std::uint64_t>(module.rows());
    if (heads == 0 || heads > rows || rows % (2 * heads) != 0)
      refuse(
          module,
          text("expected a number of heads, each of an even number of rows, to reorder its ", rows, " rows by, found ",
               heads,
               heads == 0 ? " (config.json has no num_attention_heads, or a GGUF base no attention.head_count)" : ""));
    const std::vector<Index> from = reordered_rows(module.rows(), heads, to_gguf_);
    std::optional<AdapterUpdate> out;
    const auto take = [&](const auto& update) { out = with_rows(update, from); };
    visit_update(
        [&]<class Compute>(const SharedUpdate<Compute>& shared) {
          if (const auto* const ia3 = dynamic_cast<const IA3<Compute>*>(shared.get())) take(*ia3);
        },
        module.update);
    if (!out && !visit_as<LowRank>(module.update, take) && !visit_as<DoRA>(module.update, take))
      refuse(module, text("expected LoRA, DoRA or IA3 to reorder the rows of, found ", in_quotes(module.update.kind()),
                          ": merge into the Hugging Face model, and convert that to GGUF"));
    return *out;
  }

  const Adapter& adapter_;
  const GgufArchitecture& architecture_;
  const GgufArchitectureRow& row_;
  bool to_gguf_;
};
using GgufRenaming = BasicGgufRenaming<>;

}  // namespace detail

LORA_FUNC GgufArchitecture GgufArchitecture::of(const Gguf& file) {
  const std::string* const name = file.value<std::string>("general.architecture");
  if (name == nullptr) detail::fail(file.path(), "metadata 'general.architecture': expected a string, found none");
  GgufArchitecture out{*name};
  if (!out.is_reordered()) return out;
  out.heads = file.unsigned_value(*name + ".attention.head_count").value_or(0);
  out.kv_heads = file.unsigned_value(*name + ".attention.head_count_kv").value_or(out.heads);
  return out;
}

LORA_FUNC GgufArchitecture GgufArchitecture::of_config(const std::filesystem::path& config) {
  const detail::Json json = detail::read_json_file(config, std::uint64_t{8} << 20);
  const detail::JsonFields fields(config, json);
  const std::string& type = fields.string("model_type");
  const auto row = std::find_if(detail::gguf_architectures.begin(), detail::gguf_architectures.end(),
                                [&](const detail::GgufArchitectureRow& known) { return known.model_type == type; });
  if (row == detail::gguf_architectures.end())
    fields.refuse("model_type",
                  "expected a model whose names in GGUF files are known (llama, qwen2, gemma2 ...), found ",
                  detail::in_quotes(type));
  GgufArchitecture out{std::string(row->name)};
  if (!row->is_reordered) return out;
  const auto count = [&](std::string_view key, std::uint64_t otherwise) {
    const detail::Json* const found = fields.value(key);
    if (found == nullptr) return otherwise;
    if (!found->is_number_integer() || detail::integer(*found) < 1)
      fields.refuse(key, "expected a positive integer, found ", detail::description(*found));
    return static_cast<std::uint64_t>(detail::integer(*found));
  };
  out.heads = count("num_attention_heads", 0);
  out.kv_heads = count("num_key_value_heads", out.heads);
  return out;
}

LORA_FUNC bool GgufArchitecture::is_reordered() const {
  const detail::GgufArchitectureRow* const row = detail::find_architecture(name);
  return row != nullptr && row->is_reordered;
}

LORA_FUNC std::optional<std::string> gguf_name(std::string_view module, const GgufArchitecture& architecture) {
  const detail::GgufArchitectureRow& row = detail::architecture_row(architecture.name);
  for (const std::string_view prefix : detail::prefixes_of(row)) {
    if (!module.starts_with(prefix)) continue;
    for (const detail::ModuleNameRow& names : detail::module_names)
      if (const auto layer = detail::match_layer(names.module, module.substr(prefix.size()));
          layer && (names.families & row.family) != 0)
        return detail::with_layer(names.gguf, *layer);
  }
  return std::nullopt;
}

LORA_FUNC std::optional<std::string> module_name(std::string_view gguf, const GgufArchitecture& architecture) {
  const detail::GgufArchitectureRow& row = detail::architecture_row(architecture.name);
  for (const detail::ModuleNameRow& names : detail::module_names)
    if (const auto layer = detail::match_layer(names.gguf, gguf); layer && (names.families & row.family) != 0)
      return (gguf == "output" ? "" : std::string(detail::prefixes_of(row).front())) +
             detail::with_layer(names.module, *layer);
  return std::nullopt;
}

LORA_ON_CALL LORA_FUNC Adapter to_gguf(const Adapter& adapter, const GgufArchitecture& architecture) {
  return detail::GgufRenaming(adapter, architecture, true).run();
}
LORA_ON_CALL LORA_FUNC Adapter from_gguf(const Adapter& adapter, const GgufArchitecture& architecture) {
  return detail::GgufRenaming(adapter, architecture, false).run();
}

}  // namespace io
LORA_NAMESPACE_END
