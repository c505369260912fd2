// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "plan.hpp"

#include "commands.hpp"
#include "files.hpp"

#include <charconv>
#include <optional>
#include <set>
#include <unordered_map>

namespace cli {

namespace io = lora::io;
using io::detail::fail;
using io::detail::in_quotes;

const char* const name_rules =
    "An adapter's module M changes the tensor M.weight of the base. When the base has none of them under these names but\n"
    "all of them under one common prefix, and each only once (an adapter of \"encoder.layer.0.query\", a file with\n"
    "\"bert.encoder.layer.0.query.weight\"), these are taken; likewise when it has all of them without the first parts\n"
    "that the modules share (\"transformer.h.0.attn.c_attn\", \"h.0.attn.c_attn.weight\"). Anything else that does not fit\n"
    "is an error before anything is written. Weights may be F16, BF16, F32 or F64; factors of 64 bits are rounded to 32\n"
    "where the weight has fewer than 64. What follows the last '=' of DIR=WEIGHT is the weight when it is a number, else\n"
    "it belongs to the folder's name.";

void AdapterOptions::add_to(CLI::App& command) {
  command.add_option("--base", base, "The model's file (safetensors)")->type_name("FILE")->required()->check(not_empty);
  command.add_option("--adapter", adapters, "A PEFT folder, times WEIGHT (default 1); may be given several times")
      ->type_name("DIR[=WEIGHT]")
      ->required()
      ->allow_extra_args(false)
      ->check(not_empty);
}

namespace {

/// The number that `text` is as a whole, or nothing.
std::optional<double> number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || end != text.data() + text.size()) return std::nullopt;
  // Too large or too small to be told from infinity or zero: refused like those that are not finite.
  return error == std::errc() ? value : std::numeric_limits<double>::infinity();
}

}  // namespace

std::vector<ChosenAdapter> AdapterOptions::load() const {
  std::vector<std::pair<std::string, double>> wanted;
  for (const std::string& option : adapters) {
    const std::size_t sign = option.rfind('=');
    const std::optional<double> weight = sign == option.npos ? std::nullopt : number(option.substr(sign + 1));
    if (weight && !lora::detail::is_finite(*weight))
      throw UsageError("--adapter: expected a finite weight, found " + option.substr(sign + 1));
    wanted.emplace_back(weight ? option.substr(0, sign) : option, weight.value_or(1.0));
  }
  std::vector<ChosenAdapter> out;
  for (const auto& [folder, weight] : wanted) out.push_back({io::load_adapter(folder), weight});
  return out;
}

lora::Index Target::rank() const {
  lora::Index sum = 0;
  for (const Part& part : parts) sum += part.module->rank();
  return sum;
}

namespace {

/// The tensors of an adapter's modules, in the order of the modules.
class TensorFinder {
 public:
  TensorFinder(const io::Safetensors& base, const io::Adapter& adapter) : base_(base), adapter_(adapter) {}

  std::vector<const io::TensorInfo*> find() const {
    std::vector<const io::TensorInfo*> out;
    for (const io::AdapterModule& module : adapter_.modules) out.push_back(base_.find(module.path + ".weight"));
    const auto missing = std::find(out.begin(), out.end(), nullptr);
    if (missing == out.end()) return out;
    const bool any = std::any_of(out.begin(), out.end(), [](const auto* tensor) { return tensor != nullptr; });
    if (any) refuse(adapter_.modules[static_cast<std::size_t>(missing - out.begin())], "found none");
    if (find_without_prefix(out)) return out;
    return find_prefixed();
  }

 private:
  [[noreturn]] void refuse(const io::AdapterModule& module, std::string_view found) const {
    fail(base_.path(), "module ", in_quotes(module.path), " of the adapter ", in_quotes(adapter_.folder.string()),
         ": expected a tensor ", in_quotes(module.path + ".weight"), ", ", found);
  }

  /// The other way round: the base has all of the tensors without the first parts that the modules' paths share, as a
  /// gpt2 file has "h.0.attn.c_attn.weight" for "transformer.h.0.attn.c_attn".
  bool find_without_prefix(std::vector<const io::TensorInfo*>& out) const {
    const std::string_view first = adapter_.modules.front().path;
    for (std::size_t dot = first.find('.'); dot != first.npos; dot = first.find('.', dot + 1)) {
      const std::string_view prefix = first.substr(0, dot + 1);
      out.clear();
      for (const io::AdapterModule& module : adapter_.modules) {
        if (!module.path.starts_with(prefix)) return false;
        out.push_back(base_.find(module.path.substr(prefix.size()) + ".weight"));
      }
      if (std::find(out.begin(), out.end(), nullptr) == out.end()) return true;
    }
    return false;
  }

  std::vector<const io::TensorInfo*> find_prefixed() const {
    std::vector<std::string> names;
    for (const io::AdapterModule& module : adapter_.modules) names.push_back(module.path + ".weight");
    std::unordered_map<std::string_view, std::vector<const io::TensorInfo*>> found;
    std::size_t longest = 0;
    for (const std::string& name : names) {
      found[name];
      longest = std::max(longest, name.size());
    }
    for (const io::TensorInfo& tensor : base_.tensors()) {
      const std::string_view name = tensor.name;
      // Only endings that are not longer than the longest name wanted.
      const std::size_t begin = name.size() > longest ? name.size() - longest - 1 : 0;
      for (std::size_t dot = name.find('.', begin); dot != name.npos; dot = name.find('.', dot + 1))
        if (const auto at = found.find(name.substr(dot + 1)); at != found.end()) at->second.push_back(&tensor);
    }
    std::vector<const io::TensorInfo*> out;
    std::string_view prefix;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto& candidates = found[names[i]];
      const io::AdapterModule& module = adapter_.modules[i];
      if (candidates.empty()) refuse(module, "found none, nor one of that name after a prefix");
      if (candidates.size() > 1)
        refuse(module, lora::detail::text("found several after prefixes: ", in_quotes(candidates[0]->name), ", ",
                                          in_quotes(candidates[1]->name)));
      const std::string_view name = candidates[0]->name;
      const std::string_view before = name.substr(0, name.size() - names[i].size());
      if (i == 0) prefix = before;
      if (before != prefix)
        refuse(module, lora::detail::text("found only ", in_quotes(name), ", while other modules have the prefix ",
                                          in_quotes(prefix)));
      out.push_back(candidates[0]);
    }
    return out;
  }

  const io::Safetensors& base_;
  const io::Adapter& adapter_;
};

/// A target without parts. Throws FileError when the tensor cannot be merged.
Target make_target(const io::Safetensors& base, const io::TensorInfo& tensor, const io::AdapterModule& module) {
  const auto type = io::scalar_type(tensor.dtype);
  if (!type)
    fail(base.path(), "tensor ", in_quotes(tensor.name), ": expected F16, BF16, F32 or F64 to merge into, found ",
         io::name(tensor.dtype));
  if (tensor.shape.size() != 2)
    fail(base.path(), "tensor ", in_quotes(tensor.name), ": expected two dimensions to merge into, found ",
         io::detail::shape_list(tensor.shape));
  return {&tensor, module.path, *type, module.rows(), module.cols(), lora::row_major, {}};
}

/// PEFT writes one fan_in_fan_out for a model that may have layers of both kinds. Shapes tell them apart but for square
/// weights: refused when the shape of another module says that the flag is not true of all.
void expect_clear_orientation(const io::Safetensors& base, const io::Adapter& adapter,
                              const std::vector<const io::TensorInfo*>& tensors) {
  const io::AdapterModule *square = nullptr, *contrary = nullptr;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const io::AdapterModule& module = adapter.modules[i];
    if (module.rows() == module.cols())
      square = &module;
    else if (tensors[i]->shape.size() == 2 &&
             (tensors[i]->shape[0] == static_cast<std::uint64_t>(module.cols())) != module.fan_in_fan_out)
      contrary = &module;
  }
  if (square != nullptr && contrary != nullptr)
    fail(base.path(), "module ", in_quotes(square->path), " of the adapter ", in_quotes(adapter.folder.string()),
         ": its weight is square, and fan_in_fan_out cannot be trusted to say how it is stored: the shape of ",
         in_quotes(contrary->path), " contradicts it");
}

}  // namespace

std::vector<Target> plan_merge(const io::Safetensors& base, const std::vector<ChosenAdapter>& adapters) {
  std::unordered_map<const io::TensorInfo*, Target> targets;
  for (const ChosenAdapter& chosen : adapters) {
    const std::vector<const io::TensorInfo*> tensors = TensorFinder(base, chosen.adapter).find();
    expect_clear_orientation(base, chosen.adapter, tensors);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const io::AdapterModule& module = chosen.adapter.modules[i];
      Target& target = targets.try_emplace(tensors[i], make_target(base, *tensors[i], module)).first->second;
      const auto order = [&] {
        try {
          return module.is_transposed(static_cast<lora::Index>(tensors[i]->shape[0]),
                                      static_cast<lora::Index>(tensors[i]->shape[1]))
                     ? lora::column_major
                     : lora::row_major;
        } catch (const lora::ShapeError& error) {
          fail(base.path(), "tensor ", in_quotes(tensors[i]->name), ": ", io::detail::bare(error));
        }
      }();
      if (target.parts.empty()) target.order = order;
      if (order != target.order)
        fail(base.path(), "tensor ", in_quotes(tensors[i]->name),
             ": expected adapters that agree on fan_in_fan_out, found ",
             in_quotes(target.parts.front().chosen->adapter.folder.string()), " and ",
             in_quotes(chosen.adapter.folder.string()), " with different values");
      target.parts.push_back({&chosen, &module});
    }
  }
  std::vector<Target> out;
  for (const io::TensorInfo& tensor : base.tensors())
    if (const auto at = targets.find(&tensor); at != targets.end()) out.push_back(std::move(at->second));
  return out;
}

}  // namespace cli
