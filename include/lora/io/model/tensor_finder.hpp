// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the modules of an adapter find their tensors in a model. For bodies (-inl.hpp).

#include "lora/core/sorted.hpp"
#include "lora/io/adapters/components.hpp"
#include "lora/io/model/expert_layouts.hpp"
#include "lora/io/model/flat_names.hpp"
#include "lora/io/model/inner_moves.hpp"
#include "lora/io/model/model.hpp"
#include "lora/io/model/model_files.hpp"
#include "lora/io/model/module_names.hpp"
#include "lora/io/model/nearest_name.hpp"
#include "lora/io/model/quantised.hpp"
#include "lora/io/model/single_file_names.hpp"
#include "lora/io/model/tied_head.hpp"
#include "lora/io/model/vision_layouts.hpp"
#include "lora/io/peft/adapter.hpp"

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <unordered_map>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Finds the tensors of an adapter's modules: see module_names.hpp, and flat_names.hpp for names with '_' in place of '.'. Of an
/// adapter for several components of a pipeline those modules that are not for the base are passed over.
class TensorFinder {
 public:
  TensorFinder(const Model& base, const Adapter& adapter, std::span<const Rename> renames)
      : base_(base),
        adapter_(adapter),
        renames_(renames),
        entries_(base),
        names_(entries_.names),
        vision_(names_),
        mixture_(names_),
        inner_(names_) {
    sort_modules();
  }

  /// In the order of the modules; null for an optional one that the base lacks, and for one that is passed over.
  std::vector<const ModelTensor*> find() {
    try {
      choose_groups();
      std::vector<std::size_t> found(wanted_.size(), none);
      std::unordered_map<const ModelTensor*, std::size_t> taken;
      for (Group& group : groups_) {
        if (group.is_passed_over) continue;
        if (!group.wanted.empty() && find(group).empty()) refuse(group.wanted[group.missing], group, group.why);
        for (std::size_t k = 0; k < group.wanted.size(); ++k) {
          const ModelTensor* const tensor = entries_.tensors[found[group.wanted[k]] = group.found[k]];
          const auto [place, is_new] = taken.try_emplace(tensor, group.wanted[k]);
          if (!is_new)
            refuse(group.wanted[k], group,
                   text("found ", in_quotes(tensor->info->name), ", which is that of ",
                        in_quotes(module_of(place->second).path), " already"));
        }
      }
      std::vector<const ModelTensor*> out;
      for (std::size_t i = 0; i < adapter_.modules.size(); ++i) {
        if (places_[i] == none)
          out.push_back(find_other(adapter_.modules[i].tensor_name()));
        else
          out.push_back(found[places_[i]] == none ? nullptr : entries_.tensors[found[places_[i]]]);
      }
      return out;
    } catch (const ValueError& error) {  // of the base's names
      fail(base_.path(), bare(error));
    }
  }

  /// After find(): a tensor that the adapter names besides, or null. `is_whole`: one of its whole tensors, which may be in no tower of
  /// modules, so that nothing has shown how names of that begin in the base.
  const ModelTensor* find_other(const std::string& name, bool is_whole = false) {
    const auto find_named = [&](const std::string& one) -> const ModelTensor* {
      for (Group& group : groups_)
        if (!one.empty() && group.finder && !group.is_passed_over)
          if (const std::optional<std::size_t> found = group.finder->find_other(one)) return entries_.tensors[*found];
      return nullptr;
    };
    for (const std::string& one : {name, other_name(name)})
      if (const ModelTensor* const found = find_named(one)) return found;
    if (const ModelTensor* const found = find_named(as_base_has(name))) return found;
    if (is_whole && !is_beside_modules(name))
      if (const ModelTensor* const found = find_prefixed(as_base_has(ModuleNames::renamed(renames_, name)))) return found;
    const std::size_t dot = name.rfind('.');
    for (const Group& group : groups_)
      if (group.single_file && dot != name.npos)
        if (const auto found = detail::find_in_single_file(names_, flat_tensors(), *group.single_file,
                                                           {{name.substr(0, dot), name.substr(dot + 1)}},
                                                           [](std::size_t, std::size_t) { return true; });
            !found.empty())
          return entries_.tensors[found.front()];
    return nullptr;
  }

  /// What the base calls a component: by its folder's name, or in its tensors' names.
  std::string component_of_base(std::string_view component) const {
    const std::string folder = folder_component();
    if (const ComponentPlace place = place_in_base(component); !place.component.empty())
      return std::string(place.component);
    return is_same_component(folder, component) || component == named_as_folder_ ? folder : std::string(component);
  }

  /// A module's path where the base's mixtures of experts have another name: see MixtureNames.
  std::string path_in_mixture(const AdapterModule& module) const {
    return std::string(before(mixture_.translated(module.tensor_name()), module.parameter));
  }

  /// After find(): a sentence about the modules that are passed over, when some are.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  /// The base's tensors, those of quantised weights also under the names that these would have.
  struct Entries {
    explicit Entries(const Model& base) {
      for (const ModelTensor& tensor : base.tensors()) add(tensor, tensor.info->name);
      for (const bool is_weight : {true, false})  // the weight itself before what belongs to it
        for (const ModelTensor& tensor : base.tensors())
          if (const auto found = quantised_module(tensor.info->name); found && found->is_weight == is_weight)
            if (std::string weight = found->weight(); base.find(weight) == nullptr)
              aliases_.emplace_back(std::move(weight), &tensor);
      const auto by_name = [](const Alias& a, const Alias& b) { return a.first < b.first; };
      const auto are_same = [](const Alias& a, const Alias& b) { return a.first == b.first; };
      lora::detail::sort_stably(aliases_, by_name);
      aliases_.erase(std::unique(aliases_.begin(), aliases_.end(), are_same), aliases_.end());
      for (const auto& [weight, tensor] : aliases_) add(*tensor, weight);
    }
    std::vector<std::string_view> names;
    std::vector<const ModelTensor*> tensors;

   private:
    void add(const ModelTensor& tensor, std::string_view name) {
      names.push_back(name);
      tensors.push_back(&tensor);
    }
    using Alias = std::pair<std::string, const ModelTensor*>;
    std::vector<Alias> aliases_;
  };

  /// What is looked for together: all modules, or those of one component or one prefix of a file's names.
  struct Group {
    std::string component;
    const FlatPrefix* prefix = nullptr;
    bool is_flat = false, is_passed_over = false;
    std::vector<std::size_t> wanted = {};  // places in wanted_
    std::optional<ModuleNames> finder = {};
    std::optional<ComponentPlace> single_file = {};  // where the base, which is one, has them
    std::function<bool(std::size_t, std::size_t)> fits = {};
    std::vector<std::size_t> found = {};  // of each of `wanted`; empty before find(), and when one is missing
    std::size_t missing = 0;              // which, and why
    std::string name = {}, why = {}, spelled = {};  // spelled: a flat name alone
  };

  /// The names that are looked for, each once: experts share a tensor. Optional ones are looked for afterwards.
  void sort_modules() {
    std::unordered_map<std::string, std::size_t> known;
    std::map<std::pair<std::string_view, std::string_view>, std::size_t> places;
    for (std::size_t i = 0; i < adapter_.modules.size(); ++i) {
      const AdapterModule& module = adapter_.modules[i];
      places_.push_back(none);
      if (module.is_optional) continue;
      const auto [place, is_new] = known.try_emplace(module.tensor_name(), wanted_.size());
      places_.back() = place->second;
      if (!is_new) continue;
      const FlatPrefix* const prefix = module.is_flat ? find_flat_prefix(module.path) : nullptr;
      const std::string_view spelling = prefix != nullptr ? prefix->prefix : module.is_flat ? "_" : "";
      const auto [group, is_first] = places.try_emplace({module.component, spelling}, groups_.size());
      if (is_first) groups_.push_back({module.component, prefix, module.is_flat});
      groups_[group->second].wanted.push_back(wanted_.size());
      wanted_.push_back(i);
    }
    if (groups_.empty()) groups_.push_back({});
    for (Group& group : groups_) {
      group.fits = [this, &group](std::size_t k, std::size_t tensor) {
        return k >= group.wanted.size() || fits(group.wanted[k], tensor);
      };
      if (group.is_flat) continue;
      std::vector<std::string> names;
      for (const std::size_t i : group.wanted) names.push_back(module_of(i).tensor_name());
      group.finder.emplace(names_, std::move(names), renames_, group.fits);
    }
  }

  /// Fills found, or missing and why.
  const std::vector<std::size_t>& find(Group& group) {
    if (!group.found.empty()) return group.found;
    if (!group.is_flat) {
      group.found = group.finder->find();
      group.missing = group.finder->missing().name;
      group.why = group.finder->missing().found;
      group.name = text(in_quotes(group.finder->wanted(group.missing)));
      if (group.found.empty()) find_in_other_layout(group);
      if (group.found.empty() && renames_.empty()) find_in_single_file(group);
      return group.found;
    }
    std::vector<FlatNames::Wanted> names;
    const std::size_t begin = group.prefix == nullptr ? 0 : group.prefix->prefix.size();
    for (const std::size_t i : group.wanted) names.push_back({module_of(i).path.substr(begin), module_of(i).parameter});
    find_flat(group, names);
    if (!group.found.empty() || !is_same_component(group.component, "unet")) return group.found;
    const std::vector<FlatNames::Wanted> others =
        in_other_layout(names, [&](const std::string& name) { return FlatNames::has(names_, name); });
    const auto is_same = [](const FlatNames::Wanted& a, const FlatNames::Wanted& b) { return a.name == b.name; };
    if (!std::equal(names.begin(), names.end(), others.begin(), is_same)) find_flat(group, others);
    return group.found;
  }

  /// What the base's own layout calls a tensor of a vision transformer, a mixture of experts or an output layer, and what is within layers.
  std::string as_base_has(const std::string& name) {
    const std::string vision = vision_.translated(name);
    if (vision != name && inner_.has(name)) return name;  // some models have parts of both layouts
    const std::string out = mixture_.translated(vision);
    if (std::string head = other_name(out); !head.empty() && !inner_.has(out) && inner_.has(head)) return head;
    return inner_.translated(out);
  }

  /// The same with the names of the base's own layout, if that is another.
  void find_in_other_layout(Group& group) {
    std::vector<std::string> names;
    bool differs = false;
    for (const std::size_t i : group.wanted) {
      names.push_back(as_base_has(module_of(i).tensor_name()));
      differs = differs || names.back() != module_of(i).tensor_name();
    }
    if (!differs) return;
    group.finder.emplace(names_, std::move(names), renames_, group.fits);
    group.found = group.finder->find();
    if (!group.found.empty()) return;
    group.missing = group.finder->missing().name;
    group.why = group.finder->missing().found;
    group.name = text(in_quotes(group.finder->wanted(group.missing)));
  }

  /// The same where the base is a single-file checkpoint. An adapter of a pipeline's component that does not say so is a UNet's.
  void find_in_single_file(Group& group) {
    const ComponentPlace place = place_in_base(group.component.empty() ? std::string_view("unet") : group.component);
    std::vector<FlatNames::Wanted> names;
    for (const std::size_t i : group.wanted) names.push_back({module_of(i).path, module_of(i).parameter});
    group.found = detail::find_in_single_file(names_, flat_tensors(), place, std::move(names), group.fits);
    if (!group.found.empty()) group.single_file = place;
  }

  /// Made when it is asked for: most bases have the names as they are.
  const FlatTensors& flat_tensors() {
    if (!flat_tensors_) flat_tensors_.emplace(names_);
    return *flat_tensors_;
  }

  /// Fills found; or missing and why, unless an attempt before found more.
  void find_flat(Group& group, const std::vector<FlatNames::Wanted>& names) {
    std::optional<std::string> beginning;
    for (const Rename& rename : renames_)
      if (group.prefix != nullptr && is_rename_of_prefix(rename, group.prefix->prefix)) beginning = rename.to;
    const std::string_view place = place_in_base(group.component).beginning;
    FlatNames finder(names_, flat_tensors(), names, place.empty() ? group.component : std::string(place), beginning,
                     group.fits);
    group.found = finder.find();
    if (!group.found.empty() || (!group.name.empty() && finder.missing().name <= group.missing)) return;
    group.missing = finder.missing().name;
    group.why = finder.missing().found;
    group.spelled = finder.spelled(group.missing);
    group.name = text(in_quotes(group.spelled), " (with '_' for '.')");
  }

  /// Where the base's own names have a component; empty where they have none of it.
  ComponentPlace place_in_base(std::string_view component) const {
    for (std::size_t t = 0; t < names_.size(); ++t)
      if (const ComponentPlace place = place_of(names_.unwrapped(t));
          !place.component.empty() && is_same_component(place.component, component))
        return place;
    return {};
  }
  bool has_names_of(std::string_view component) const { return !place_in_base(component).component.empty(); }

  bool is_gguf_adapter() const {
    const Gguf* const gguf = base_.shards().front().gguf();
    const GgufValue* const type = gguf == nullptr ? nullptr : gguf->header().find_value("general.type");
    const auto* const found = type == nullptr ? nullptr : std::get_if<std::string>(type);
    return found != nullptr && *found == "adapter";
  }

  /// Whether the base has a component's text encoder as OpenCLIP does, whose q, k and v are one tensor.
  bool is_open_clip(std::string_view component) const {
    if (component.empty()) return false;
    for (std::size_t t = 0; t < names_.size(); ++t)
      if (names_.unwrapped(t).ends_with(".attn.in_proj_weight") &&
          is_same_component(place_of(names_.unwrapped(t)).component, component))
        return true;
    return false;
  }

  /// The component that the base's folder is named after, or "".
  std::string folder_component() const {
    std::error_code ignored;
    std::filesystem::path whole = std::filesystem::absolute(base_.path(), ignored).lexically_normal();
    if (!base_.is_folder() || !whole.has_filename()) whole = whole.parent_path();
    const std::string name = utf8_text(whole.filename());
    return find_component(name) == nullptr ? std::string() : name;
  }

  /// Passes over the groups of components that the base is not.
  void choose_groups() {
    std::vector<Group*> open;
    std::vector<std::string_view> all;
    for (Group& group : groups_) {
      if (group.component.empty()) continue;
      open.push_back(&group);
      if (std::find(all.begin(), all.end(), group.component) == all.end()) all.push_back(group.component);
    }
    if (open.empty()) return;
    const auto take = [&](const auto& is_meant) {
      for (Group* const group : open) group->is_passed_over = !is_meant(*group);
    };
    const std::string folder = folder_component();
    if (std::any_of(open.begin(), open.end(), [&](const Group* group) { return has_names_of(group->component); }))
      take([&](const Group& group) { return has_names_of(group.component); });
    else if (!folder.empty())
      take_those_of_folder(open, folder);
    else if (all.size() > 1)
      take_those_found(open, all);
    std::size_t count = 0;
    std::string names;
    for (const std::string_view component : all)
      for (const Group* const group : open) {
        if (!group->is_passed_over || group->component != component) continue;
        count += group->wanted.size();
        if (!names.ends_with(component)) names += text(names.empty() ? "" : ", ", component);
      }
    if (count == 0) return;
    if (std::all_of(groups_.begin(), groups_.end(), [](const Group& group) { return group.is_passed_over; }))
      fail(adapter_.folder, "expected modules for the base ", in_quotes(utf8_text(base_.path())),
           ", which is the component ", in_quotes(folder), " by its folder's name, found modules for ", names,
           " alone");
    warnings_.push_back(text("the adapter ", printable(adapter_.name), ": passed over ", count, " of its ", wanted_.size(),
                             " modules, which are for other components than the base (", names, ")"));
  }

  /// Of a base whose folder is named after a component: its modules, or those of one that may be it and has no other place.
  void take_those_of_folder(const std::vector<Group*>& open, const std::string& folder) {
    bool is_named = false;
    for (Group* const group : open) is_named = is_named || is_same_component(group->component, folder);
    for (Group* const group : open) {
      const bool may_be = !is_named && may_be_component(group->component, folder);
      const bool is_meant = is_named ? is_same_component(group->component, folder) : may_be && has_all(*group);
      if (may_be && !is_meant && has_some(*group)) refuse(group->wanted[group->missing], *group, group->why);
      group->is_passed_over = !is_meant;
      if (!is_named && is_meant) named_as_folder_ = group->component;
    }
  }

  /// Of a base that nothing names: the one component whose modules it has all, in the right shapes.
  void take_those_found(const std::vector<Group*>& open, const std::vector<std::string_view>& names) {
    std::vector<std::string_view> whole;
    for (const std::string_view component : names)
      if (std::all_of(open.begin(), open.end(), [&](Group* group) { return group->component != component || has_all(*group); }))
        whole.push_back(component);
    if (whole.size() > 1)
      fail(base_.path(), "expected a base that is one of the components ", whole[0], " and ", whole[1], " of the adapter ",
           in_quotes(utf8_text(adapter_.folder)), ", found one that has the modules of both: name its folder after the one that it is");
    if (whole.empty()) {
      Group& first = **std::find_if(open.begin(), open.end(), [&](Group* group) { return !has_all(*group); });
      refuse(first.wanted[first.missing], first, first.found.empty() ? first.why : "found one of another shape");
    }
    for (Group* const group : open) group->is_passed_over = group->component != whole.front();
  }
  /// Whether a name is in the numbered list of some module, whose names have shown how it begins.
  bool is_beside_modules(std::string_view name) const {
    std::size_t at = 0;
    for (const std::string_view part : parts_of(name)) {
      if (at != 0 && is_number(part))
        return std::any_of(adapter_.modules.begin(), adapter_.modules.end(),
                           [&](const AdapterModule& module) { return module.path.starts_with(name.substr(0, at)); });
      at += part.size() + 1;
    }
    return false;
  }

  /// The one tensor that has a name of three parts at least with some more, or some less, before its last two; or null.
  const ModelTensor* find_prefixed(std::string_view name) const {
    const auto beginning = [](std::string_view whole, std::string_view& end) {
      const std::size_t parameter = whole.rfind('.');
      const std::size_t module = parameter == whole.npos || parameter == 0 ? whole.npos : whole.rfind('.', parameter - 1);
      if (module == whole.npos) return std::string_view();
      end = whole.substr(module);
      return whole.substr(0, module);
    };
    std::string_view end;
    const std::string_view own = beginning(name, end);
    if (own.empty()) return nullptr;
    std::optional<std::size_t> out;
    for (std::size_t t = 0; t < names_.size(); ++t) {
      std::string_view their_end;
      const std::string_view theirs = beginning(names_.unwrapped(t), their_end);
      if (theirs.empty() || end != their_end || !(is_shortened(own, theirs) || is_shortened(theirs, own))) continue;
      if (out) return nullptr;
      out = t;
    }
    return out ? entries_.tensors[*out] : nullptr;
  }

  bool has_some(const Group& group) const {
    const std::size_t begin = group.prefix == nullptr ? 0 : group.prefix->prefix.size();
    return std::any_of(group.wanted.begin(), group.wanted.end(), [&](std::size_t i) {
      return FlatNames::has(names_, text(std::string_view(module_of(i).path).substr(begin), ".", module_of(i).parameter));
    });
  }
  bool has_all(Group& group) {
    find(group);
    bool out = !group.found.empty();
    for (std::size_t k = 0; k < group.found.size(); ++k) out = out && group.fits(k, group.found[k]);
    return out;
  }

  const AdapterModule& module_of(std::size_t wanted) const { return adapter_.modules[wanted_[wanted]]; }

  /// Whether a tensor has a weight's elements, in either order. Of a name that is no module's all may be meant.
  bool fits(std::size_t wanted, std::size_t tensor) const {
    if (wanted >= wanted_.size()) return true;
    const AdapterModule& module = module_of(wanted);
    std::span<const std::uint64_t> shape = entries_.tensors[tensor]->info->shape;
    if (module.expert >= 0 && shape.size() == 3) shape = shape.subspan(1);
    if (shape.empty()) return false;
    std::uint64_t rest = 1;
    for (const std::uint64_t size : shape.subspan(1)) rest *= size;
    const auto is = [](Index own, std::uint64_t size) { return own < 0 || static_cast<std::uint64_t>(own) == size; };
    return (is(module.rows(), shape[0]) && is(module.cols(), rest)) || (is(module.rows(), rest) && is(module.cols(), shape[0]));
  }

  [[noreturn]] void refuse(std::size_t i, const Group& group, std::string_view found) const {
    const std::string& path = module_of(i).path;
    fail(base_.path(), "module ", in_quotes(path), " of the adapter ", in_quotes(utf8_text(adapter_.folder)),
         ": expected a tensor ", group.name, ", ", found,
         is_gguf_adapter() ? " (the base is a GGUF adapter: name the model that it is for)"
         : base_.shards().front().gguf() != nullptr && !path.starts_with("blk.") && path != "output" &&
                 path != "token_embd"
             ? " (to_gguf() gives an adapter the names of a GGUF model)"
         : !base_.is_folder() && is_shard_name(utf8_text(base_.path().filename()))
             ? " (the base is one of several shards by its name: name the folder that they are in)"
         : is_open_clip(group.component)
             ? " (the base has this text encoder in OpenCLIP's layout, whose names with_open_clip_names() gives to "
               "weights of attention and of the MLP; the adapter's other components alone: lora convert --component "
               "NAME, of_component())"
         : base_.shards().front().gguf() != nullptr && path == "output"
             ? " (the base ties its output layer to its embeddings, token_embd, and has no weight of its own for it to merge into)"
         : module_of(i).parameter == "bias" && module_of(i).update.kind() == "LoRA"
             ? " (lora_bias changes the module's bias: without one in the base, as in PEFT, it cannot be merged)"
         : is_head(path)
             ? text(" (where the output layer is tied to the embeddings it has no weight of its own to merge into: ",
                    untie_remedy, ")")
             : meant_by(group, found));
  }

  /// What may have been meant by a module without a tensor: the end of the sentence that says so.
  std::string meant_by(const Group& group, std::string_view found) const {
    const std::string& own = module_of(group.wanted[group.missing]).path;
    if (is_at_end(own, "encoder.embed_tokens") || is_at_end(own, "decoder.embed_tokens"))
      for (std::size_t t = 0; t < names_.size(); ++t)
        if (is_at_end(names_.unwrapped(t), "shared.weight"))
          return text(" (encoder, decoder and output layer share ", in_quotes(names_[t]),
                      " in the base, which would change for all of them: a base with embeddings of their own can be merged into)");
    static constexpr std::string_view base_layer = ".base_layer.";
    for (std::size_t t = 0; t < names_.size(); ++t)
      if (names_.unwrapped(t).find(base_layer) != std::string_view::npos)
        return text(" (the base is the state of a whole PEFT model, with ", in_quotes(names_[t]),
                    ": save what its merge_and_unload() gives, or name the model that it was trained on)");
    const bool is_several = found.starts_with("found several");
    std::string out;
    const auto renaming = [&](const Rename& rename) {
      return text("--rename ", printable(rename.from), "=", printable(rename.to));
    };
    if (!group.is_flat && is_several) {
      const std::optional<std::size_t> one = group.finder->missing().of_several;
      const auto rename = one && renames_.empty()
                              ? rename_between(group.finder->wanted(group.missing), names_.unwrapped(*one))
                              : std::nullopt;
      return rename ? text(" (", renaming(*rename), " takes the first)") : std::string(" (--rename OLD=NEW, Rename, takes one)");
    }
    if (found.starts_with("found none")) {
      const std::string& wanted = group.is_flat ? group.spelled : group.finder->missing().looked_for;
      if (std::string shorter = group.is_flat ? std::string() : shorter_list(names_, wanted); !shorter.empty())
        return text(": ", shorter, whose_adapter(), ")");
      if (!group.is_flat && renames_.empty())
        if (const auto rename = rename_for(group))
          return text(": ", renaming(*rename), " leads to ",
                      in_quotes(ModuleNames::renamed(std::span(&*rename, 1), group.finder->wanted(group.missing))), whose_adapter(), ")");
      if (const std::optional<std::size_t> nearest = nearest_name(names_, wanted))
        out = text(": the nearest is ", in_quotes(names_[*nearest]));
    }
    const std::string_view prefix = group.prefix == nullptr ? std::string_view() : group.prefix->prefix;
    return text(out, whose_adapter(),
                prefix.empty() ? std::string(" what the base calls otherwise can be told: --rename OLD=NEW, Rename)")
                               : text(" what stands before these names in it can be told: --rename ", prefix.substr(0, prefix.size() - 1),
                                      "=BEGINNING, Rename)"));
  }

  /// A rename after which the base has the tensors of all modules.
  std::optional<Rename> rename_for(const Group& group) const {
    constexpr int most = 8;
    const std::string& wanted = group.finder->wanted(group.missing);
    int tried = 0;
    for (std::size_t t = 0; t < names_.size() && tried < most; ++t) {
      const auto rename = rename_between(wanted, names_.unwrapped(t));
      if (!rename || !group.fits(group.missing, t)) continue;
      ++tried;
      std::vector<std::string> names;
      for (std::size_t k = 0; k < group.wanted.size(); ++k) names.push_back(group.finder->wanted(k));
      if (!ModuleNames(names_, std::move(names), std::span(&*rename, 1), group.fits).find().empty()) return rename;
    }
    return std::nullopt;
  }
  std::string whose_adapter() const {
    return adapter_.base_model.empty() ? " (is the adapter for another model?"
                                       : text(" (the adapter is for ", in_quotes(adapter_.base_model), ": is the base that model?");
  }

  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  const Model& base_;
  const Adapter& adapter_;
  std::span<const Rename> renames_;
  std::vector<std::size_t> places_;  // of each module among the wanted names, or none
  std::vector<std::size_t> wanted_;  // for each such name, the first module
  Entries entries_;
  BaseNames names_;
  VisionLayouts vision_;
  MixtureNames mixture_;
  InnerMoves inner_;
  std::optional<FlatTensors> flat_tensors_;
  std::deque<Group> groups_;
  std::string named_as_folder_;  // the component whose modules are the folder's, where that has another name
  std::vector<std::string> warnings_;
};

}  // namespace io::detail
LORA_NAMESPACE_END
