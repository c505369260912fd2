// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// An adapter as a file of kohya's names. For bodies (-inl.hpp).

#include "lora/io/adapters/components.hpp"
#include "lora/io/adapters/expect_dotted.hpp"
#include "lora/io/adapters/single_file.hpp"
#include "lora/io/model/on_call.hpp"
#include "lora/io/peft/alpha_for.hpp"
#include "lora/io/safetensors/visit_type.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// How such files call the parts of updates, and which part takes a scaling that no alpha says.
struct KohyaPart {
  std::string_view part, ending;
  bool takes_scaling = false;
};
inline constexpr std::array kohya_parts{KohyaPart{"lora_A", "lora_down.weight"},
                                        KohyaPart{"lora_B", "lora_up.weight", true},
                                        KohyaPart{"lora_down", "lora_down.weight"},
                                        KohyaPart{"lora_mid", "lora_mid.weight"},
                                        KohyaPart{"lora_up", "lora_up.weight", true},
                                        KohyaPart{"lora_magnitude_vector", "dora_scale"},
                                        KohyaPart{"hada_w1_a", "hada_w1_a", true},
                                        KohyaPart{"hada_w1_b", "hada_w1_b"},
                                        KohyaPart{"hada_w2_a", "hada_w2_a"},
                                        KohyaPart{"hada_w2_b", "hada_w2_b"},
                                        KohyaPart{"hada_t1", "hada_t1"},
                                        KohyaPart{"hada_t2", "hada_t2"},
                                        KohyaPart{"lokr_w1", "lokr_w1", true},
                                        KohyaPart{"lokr_w1_a", "lokr_w1_a", true},
                                        KohyaPart{"lokr_w1_b", "lokr_w1_b"},
                                        KohyaPart{"lokr_w2", "lokr_w2"},
                                        KohyaPart{"lokr_w2_a", "lokr_w2_a"},
                                        KohyaPart{"lokr_w2_b", "lokr_w2_b"},
                                        KohyaPart{"lokr_t2", "lokr_t2"},
                                        KohyaPart{"diff", "diff"}};

inline const KohyaPart* find_kohya_part(std::string_view part) {
  const auto at =
      std::find_if(kohya_parts.begin(), kohya_parts.end(), [&](const KohyaPart& row) { return row.part == part; });
  return at == kohya_parts.end() ? nullptr : &*at;
}

/// The same update with s multiplied into one of its parts, in double and rounded once to the part's type; what is left of the
/// scaling is `rest`. Throws ValueError when a product overflows.
LORA_ON_CALL_DECLARED inline AdapterUpdate with_scaling_inside(const AdapterUpdate& update, double s,
                                                               const Scaling& rest) {
  return visit_update(
      [&]<class Compute>(const SharedUpdate<Compute>& shared) -> AdapterUpdate {
        lora::detail::UpdateParts parts;
        bool is_done = false;
        for (const UpdateTensor& tensor : shared->tensors()) {
          const std::string name(tensor.name);
          lora::detail::AnyFactor part(name, tensor.view);
          if (!is_done && find_kohya_part(name)->takes_scaling) {
            Matrix<double> product(tensor.view.rows, tensor.view.cols);
            lora::detail::copy_finite(name.c_str(), tensor.view, product.data());
            product *= s;
            visit_type(tensor.view.type, [&]<class T>(std::type_identity<T>) {
              Matrix<T> rounded(product.rows(), product.cols());
              lora::detail::copy_finite(name.c_str(), view_of(product), rounded.data());
              part = lora::detail::AnyFactor(name, rounded);
            });
            is_done = true;
          }
          parts.add(name, std::move(part));
        }
        return AdapterUpdate(make_update<Compute>(kind_of(*shared), parts, rest));
      },
      update);
}

/// Writes one file.
template <class = void>
class BasicKohyaWriter {
 public:
  explicit BasicKohyaWriter(std::filesystem::path target) : target_(std::move(target)) {}

  /// Throws FileError, naming the module, for what the format cannot say. Returns sentences about what it says in other numbers.
  std::vector<std::string> write(const Adapter& adapter) {
    expect_plain(target_, adapter);
    has_second_ = std::any_of(adapter.modules.begin(), adapter.modules.end(),
                              [](const AdapterModule& module) { return module.component.starts_with("text_encoder_"); });
    SingleFile file(target_);
    for (const AdapterModule& module : adapter.modules) {
      const KindRow* kind = nullptr;
      try {
        kind = &kind_of(module.update);
      } catch (const ValueError& error) {
        fail(target_, "module ", in_quotes(module.path), ": ", bare(error));
      }
      if (module.parameter == "bias" && kind != &dense_kind)
        fail(target_, "module ", in_quotes(module.path), ": expected a bias that changes by a diff, found one of ",
             kind->name, ", which such a file cannot say");
      const AdapterModule& written = with_alpha(module, *kind);
      const std::string name = flat_name(module);
      if (alpha_) file.add_number(name + ".alpha", module, *alpha_);
      for (const UpdateTensor& part : tensors_of(written)) add(file, name, written, *kind, part);
    }
    file.write({{"format", "pt"}});
    return std::move(notes_);
  }

 private:
  std::string flat_name(const AdapterModule& module) const {
    if (module.is_flat) return module.path;
    std::string_view prefix = "lycoris_";
    for (const FlatPrefix& row : flat_prefixes) {
      if (row.component.empty() || !is_same_component(row.component, module.component)) continue;
      if (row.prefix == "lora_te_" && has_second_) continue;  // of several the first one is lora_te1_
      prefix = row.prefix;
      break;
    }
    if (prefix == "lycoris_" && !module.component.empty())
      fail(target_, "module ", in_quotes(module.path),
           ": expected a component that such files have a prefix for (unet, text_encoder ...), found ",
           in_quotes(module.component));
    std::string path = path_in_component(module);
    std::replace(path.begin(), path.end(), '.', '_');
    return text(prefix, path);
  }

  /// The module as it is written, and its alpha: alpha / r has to be the very scaling, else that is multiplied in.
  const AdapterModule& with_alpha(const AdapterModule& module, const KindRow& kind) {
    alpha_ = std::nullopt;
    if (&kind == &dense_kind) return module;
    if (kind.ranked.empty() || &kind == &vera_kind)
      fail(target_, "module ", in_quotes(module.path), ": expected a LoRA, DoRA, LoCon, LoHa, LoKr or diff, found ",
           kind.name, ", which such a file cannot say");
    const double s = module.scaling();
    const Index rank = module.rank();
    if (rank == 0 && lora::detail::to_bits(s) == lora::detail::to_bits(1.0)) return module;  // a LoKr of whole matrices
    if (rank != 0) alpha_ = alpha_for(module.scaling_rule(), Scaling::Rule::alpha_over_rank, rank);
    if (alpha_ && !lora::detail::is_zero(*alpha_)) return module;
    alpha_ = rank == 0 ? std::nullopt : std::optional(static_cast<double>(rank));
    changed_.push_back(module);
    try {
      changed_.back().update = with_scaling_inside(
          module.update, s, rank == 0 ? lora::scaling::fixed(1) : lora::scaling::alpha(static_cast<double>(rank)));
    } catch (const Error& error) {
      fail(target_, "module ", in_quotes(module.path), ": ", bare(error));
    }
    notes_.push_back(text("module ", in_quotes(module.path), ": its scaling ", s,
                          " is multiplied into its factors and rounded to their type, since ",
                          rank == 0 ? "such files have none for a LoKr of whole matrices" : "no alpha says it"));
    return changed_.back();
  }

  void add(SingleFile& file, const std::string& name, const AdapterModule& module, const KindRow& kind,
           const UpdateTensor& part) const {
    const auto row =
        std::find_if(kind.parts.begin(), kind.parts.end(), [&](const KindPart& one) { return one.name == part.name; });
    std::vector<std::uint64_t> shape = shape_of_part(module, *row, part.view);
    if (part.name == "lora_magnitude_vector") {  // LyCORIS': one number for each output
      shape.assign(2 + module.kernel.size(), 1);
      shape[0] = static_cast<std::uint64_t>(part.view.rows);
    }
    if (&kind == &dense_kind && part.view.cols == 1) shape.resize(1);  // of a norm or a bias
    file.add(text(name, ".", module.parameter == "bias" ? "diff_b" : find_kohya_part(part.name)->ending), module, part,
             std::move(shape));
  }

  std::filesystem::path target_;
  bool has_second_ = false;
  std::optional<double> alpha_;  // of the module at hand
  std::deque<AdapterModule> changed_;
  std::vector<std::string> notes_;
};
using KohyaWriter = BasicKohyaWriter<>;

}  // namespace io::detail
LORA_NAMESPACE_END
