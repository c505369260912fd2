// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tensors of one module, under whatever names a file has them, as modules of an adapter. For bodies (-inl.hpp).

#include "lora/io/adapters/file_pieces.hpp"
#include "lora/io/peft/adapter.hpp"
#include "lora/io/safetensors/read_factor.hpp"

#include <deque>
#include <map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The tensors of one module.
struct TensorGroup {
  struct Part {
    std::string_view name;  // KindPart::name, of LoRA also where it is a LoCon
    const TensorInfo* tensor;
  };

  std::string path, component;
  bool is_flat = false, fan_in_fan_out = false;
  std::vector<Part> parts = {};
  const TensorInfo *alpha = nullptr, *bias = nullptr;

  const TensorInfo* of(std::string_view name) const {
    for (const Part& part : parts)
      if (part.name == name) return part.tensor;
    return nullptr;
  }
};

/// Sorts a file's tensors by module.
class TensorGroups {
 public:
  explicit TensorGroups(const Safetensors& file) : file_(file) {}

  /// In the order of their first tensors.
  std::deque<TensorGroup>& groups() { return groups_; }

  /// Throws FileError for a part that is there already, and for a path that is too long.
  void put(const std::string& path, std::string_view component, bool is_flat, std::string_view part,
           const TensorInfo& tensor) {
    if (is_left_empty(tensor)) refuse_tensor(file_.path(), tensor, left_empty);
    if (path.empty() || path.size() > max_module_path)
      refuse_tensor(
          file_.path(), tensor,
          text("expected the path of a module to have 1 to ", max_module_path, " bytes, found ", path.size()));
    const auto [place, is_new] = index_.try_emplace(path, groups_.size());
    if (is_new) groups_.push_back({path, std::string(component), is_flat});
    TensorGroup& group = groups_[place->second];
    const TensorInfo* before = part == alpha_part ? group.alpha : part == bias_part ? group.bias : group.of(part);
    if (before != nullptr)
      refuse_tensor(file_.path(), tensor,
                    text("expected one ", part, " per module, found ", in_quotes(before->name), " before it"));
    if (part == alpha_part)
      group.alpha = &tensor;
    else if (part == bias_part)
      group.bias = &tensor;
    else
      group.parts.push_back({part, &tensor});
  }

 private:
  const Safetensors& file_;
  std::deque<TensorGroup> groups_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// The one number of an alpha. Throws FileError when it is another shape, no float, or not finite.
inline double read_alpha(const Safetensors& file, const TensorInfo& tensor) {
  if (std::any_of(tensor.shape.begin(), tensor.shape.end(), [](std::uint64_t size) { return size != 1; }))
    refuse_tensor(file.path(), tensor, text("expected one number, found the shape ", shape_list(tensor.shape)));
  double out = 0;
  try {
    lora::detail::copy_finite("alpha", read_factor(file, tensor, "alpha", 1, 1).view(), &out);
  } catch (const ValueError& error) {
    refuse_tensor(file.path(), tensor, bare(error));
  }
  return out;
}

/// How the readers of these files make an update of a group.
class GroupReader {
 public:
  /// Whether `dora_scale` has to be (out, 1 ...): LyCORIS may also scale what a layer takes in, by (1, in).
  explicit GroupReader(const Safetensors& file, bool wants_columns = false)
      : file_(file), wants_columns_(wants_columns) {}

  /// Appends the module, and its bias where that changes. `default_alpha` of none: the rank. Throws FileError.
  void read(const TensorGroup& group, std::optional<Scaling> scaling, std::vector<AdapterModule>& out) const {
    try {
      if (!group.parts.empty()) append(group, kind_of_group(group), scaling, out);
      if (group.bias != nullptr) append_bias(group, out);
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      fail(file_.path(), "module ", in_quotes(group.path), ": ", bare(error));
    }
    if (group.parts.empty() && group.alpha != nullptr)
      refuse_tensor(file_.path(), *group.alpha, "expected factors of the same module beside it, found none");
  }

 private:
  static constexpr std::array<const KindRow*, 6> kinds_{&lora_kind, &dora_kind, &locon_kind,
                                                        &loha_kind, &lokr_kind, &dense_kind};

  /// A part's name in a kind: LoCon's are others than LoRA's.
  static std::string_view part_of(const KindRow& kind, std::string_view part) {
    if (&kind != &locon_kind) return part;
    return part == "lora_A" ? "lora_down" : part == "lora_B" ? "lora_up" : part;
  }
  static bool has(const KindRow& kind, std::string_view part) {
    return std::any_of(kind.parts.begin(), kind.parts.end(),
                       [&](const KindPart& row) { return row.name == part_of(kind, part); });
  }

  const KindRow& kind_of_group(const TensorGroup& group) const {
    const KindRow* nearest = nullptr;
    std::string missing;
    for (const KindRow* const kind : kinds_) {
      if (!std::all_of(group.parts.begin(), group.parts.end(),
                       [&](const TensorGroup::Part& part) { return has(*kind, part.name); }))
        continue;
      const auto lacking = std::find_if(kind->parts.begin(), kind->parts.end(), [&](const KindPart& row) {
        return row.is_required &&
               std::none_of(group.parts.begin(), group.parts.end(),
                            [&](const TensorGroup::Part& part) { return part_of(*kind, part.name) == row.name; });
      });
      if (lacking == kind->parts.end()) return *kind;
      if (nearest == nullptr) {
        nearest = kind;
        missing = lacking->name;
      }
    }
    if (nearest != nullptr)
      fail(file_.path(), "module ", in_quotes(group.path), ": expected all tensors of a ", nearest->name, " beside ",
           in_quotes(group.parts.front().tensor->name), ", found no ", ending_in_file(group.parts.front().tensor->name, missing));
    // Two that no kind has together.
    for (const TensorGroup::Part& other : group.parts)
      if (std::none_of(kinds_.begin(), kinds_.end(), [&](const KindRow* kind) {
            return has(*kind, group.parts.front().name) && has(*kind, other.name);
          }))
        refuse_mixed(group, group.parts.front(), other);
    refuse_mixed(group, group.parts[group.parts.size() - 2], group.parts.back());
  }
  [[noreturn]] void refuse_mixed(const TensorGroup& group, const TensorGroup::Part& a,
                                 const TensorGroup::Part& b) const {
    fail(file_.path(), "module ", in_quotes(group.path),
         ": expected the tensors of one kind of update (LoRA, DoRA of a LoRA, LoCon, "
         "LoHa, LoKr or diff), found ",
         in_quotes(a.tensor->name), " and ", in_quotes(b.tensor->name));
  }

  /// What a tensor is as a matrix: its first dimension x the product of the rest.
  std::pair<Index, Index> shape_of(std::string_view part, const TensorInfo& tensor) const {
    const std::vector<std::uint64_t>& shape = tensor.shape;
    std::uint64_t count = 1, longest = 1;
    for (const std::uint64_t size : shape) {
      count *= size;
      longest = std::max(longest, size);
    }
    const auto refuse = [&](const auto&... pieces) {
      refuse_tensor(file_.path(), tensor, text(pieces..., shape_list(shape)));
    };
    if (part == magnitude_name || part == bias_part) {
      if (shape.empty() || longest != count) refuse("expected a vector, found the shape ");
      if (wants_columns_ && shape[0] != count)
        refuse("expected one number for each output (out, 1 ...), found, as where inputs are scaled, the shape ");
      return {static_cast<Index>(count), 1};
    }
    if (part == "diff" && shape.size() == 1) return {static_cast<Index>(count), 1};
    if (shape.size() < 2 || shape.size() > 5)
      refuse("expected two dimensions, those of a linear layer's factor, or three to five, a convolution's, found ");
    const std::uint64_t cols = shape[0] == 0 ? 0 : count / shape[0];
    if (part == "lora_B" && cols != shape[1])
      refuse("expected the kernel of a convolution's lora_up to be 1 wide, found ");
    return {static_cast<Index>(shape[0]), static_cast<Index>(cols)};
  }

  /// The rule for s: the file's alpha, 0 or none: s = 1. A LoKr of two whole matrices has none (LyCORIS: s = 1), nor has a diff.
  Scaling scaling_of(const TensorGroup& group, const KindRow& kind, std::optional<Scaling> given) const {
    const auto ranked = std::find_if(kind.ranked.begin(), kind.ranked.end(), [&](std::string_view name) {
      return std::any_of(group.parts.begin(), group.parts.end(),
                         [&](const TensorGroup::Part& part) { return part_of(kind, part.name) == name; });
    });
    const double alpha =
        group.alpha == nullptr ? 0.0 : read_alpha(file_, *group.alpha);  // read in any case: it is checked
    if (ranked == kind.ranked.end()) return lora::scaling::fixed(1);
    if (given) return *given;
    if (!lora::detail::is_zero(alpha)) return lora::scaling::alpha(alpha);
    for (const TensorGroup::Part& part : group.parts)
      if (part_of(kind, part.name) == *ranked) return lora::scaling::alpha(static_cast<double>(part.tensor->shape[0]));
    return lora::scaling::fixed(1);
  }

  void append(const TensorGroup& group, const KindRow& kind, std::optional<Scaling> given,
              std::vector<AdapterModule>& out) const {
    lora::detail::UpdateParts parts;
    std::vector<Index> kernel;
    std::uint64_t largest = 0;
    bool in_doubles = false;
    for (const TensorGroup::Part& part : group.parts) {
      const TensorInfo& tensor = *part.tensor;
      const auto [rows, cols] = shape_of(part.name, tensor);
      parts.add(std::string(part_of(kind, part.name)), read_factor(file_, tensor, part.name, rows, cols));
      in_doubles = in_doubles || tensor.dtype == DType::F64;
      if (tensor.shape.size() <= 2 || part.name == magnitude_name) continue;
      std::uint64_t size = 1;  // of a Tucker core's factors only the core has the kernel
      for (std::size_t i = 2; i < tensor.shape.size(); ++i) size *= tensor.shape[i];
      if (kernel.empty() || size > largest) kernel.assign(tensor.shape.begin() + 2, tensor.shape.end());
      largest = std::max(largest, size);
    }
    const Scaling scaling = scaling_of(group, kind, given);
    AdapterModule& module = add(group,
                                in_doubles ? AdapterUpdate(make_update<double>(kind, parts, scaling))
                                           : AdapterUpdate(make_update<float>(kind, parts, scaling)),
                                out);
    module.kernel = kernel;
    const auto stored = [&](std::string_view name) {
      const TensorInfo* const tensor = group.of(name);
      return tensor == nullptr ? std::nullopt : std::optional(tensor->dtype);
    };
    if (&kind != &lora_kind && &kind != &dora_kind) return;  // others keep the types of their parts
    module.a_dtype = stored("lora_A");
    module.b_dtype = stored("lora_B");
    module.magnitude_dtype = stored(magnitude_name);
  }

  void append_bias(const TensorGroup& group, std::vector<AdapterModule>& out) const {
    const auto [rows, cols] = shape_of(bias_part, *group.bias);
    lora::detail::UpdateParts parts;
    parts.add("diff", read_factor(file_, *group.bias, "diff_b", rows, cols));
    const Scaling none = lora::scaling::fixed(1);
    add(group,
        group.bias->dtype == DType::F64 ? AdapterUpdate(make_update<double>(dense_kind, parts, none))
                                        : AdapterUpdate(make_update<float>(dense_kind, parts, none)),
        out)
        .parameter = "bias";
  }

  static AdapterModule& add(const TensorGroup& group, const AdapterUpdate& update, std::vector<AdapterModule>& out) {
    AdapterModule& module = out.emplace_back(AdapterModule{group.path, update, group.fan_in_fan_out});
    module.component = group.component;
    module.is_flat = group.is_flat;
    return module;
  }

  const Safetensors& file_;
  bool wants_columns_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
