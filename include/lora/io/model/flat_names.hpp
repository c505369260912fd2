// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How names that have '_' for '.' (kohya, LyCORIS) lead to a base's tensors: the rule of docs/FILES.md, without files. For bodies
/// (-inl.hpp).
///
/// Such a name cannot be turned back, since names of modules have '_' of their own. So the dots of the base's names are turned into
/// '_', and a module's name has to be the result, or its end where a part of the base's name begins. What stands before it in the
/// base has to be the same for all names, as `model.diffusion_model` for those of a UNet.
///
/// Several tensors of one name so turned (a.b_c, a_b.c) are told apart by their shapes. Of several beginnings the component's own
/// name counts first, then none, then the one for which all shapes fit; where that leaves several, none does.

#include "lora/core/function_ref.hpp"
#include "lora/io/model/base_names.hpp"

#include <span>

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// A base's tensors by their names with '_' for '.'.
class FlatTensors {
 public:
  explicit FlatTensors(const BaseNames& base) {
    for (std::size_t t = 0; t < base.size(); ++t)
      if (const std::optional<std::string> key = flat(base.unwrapped(t))) tensors_[*key].push_back(t);
  }

  std::span<const std::size_t> find(const std::string& name) const {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? std::span<const std::size_t>() : at->second;
  }

 private:
  /// The dots before the last one turned into '_'; nothing for a name without a dot.
  static std::optional<std::string> flat(std::string_view name) {
    const std::size_t last = name.rfind('.');
    if (last == name.npos) return std::nullopt;
    std::string out(name);
    std::replace(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(last), '.', '_');
    return out;
  }

  std::unordered_map<std::string, std::vector<std::size_t>> tensors_;
};

/// Finds the tensors of one component's modules. Time is linear in the characters of all names.
class FlatNames {
 public:
  /// One name: `mid_block_attentions_0_proj_in` and "weight" or "bias".
  struct Wanted {
    std::string name, parameter;
  };

  /// `component`: the beginning that counts first; `beginning`: the only one, when the caller knows it; fits(i, t): whether wanted
  /// name i and tensor t agree in shape. `base` and `tensors`, which are its own, must outlive it.
  FlatNames(const BaseNames& base, const FlatTensors& tensors, std::vector<Wanted> wanted, std::string component,
            std::optional<std::string> beginning, FunctionRef<bool(std::size_t, std::size_t)> fits)
      : base_(base),
        tensors_(tensors),
        wanted_(std::move(wanted)),
        component_(std::move(component)),
        beginning_(std::move(beginning)),
        fits_(fits) {}

  /// Whether the base has a tensor whose name so turned is `name` or ends in it.
  static bool has(const BaseNames& base, std::string_view name) {
    std::string_view before;
    for (std::size_t t = 0; t < base.size(); ++t)
      if (ends_flat(base.unwrapped(t), name, before)) return true;
    return false;
  }

  struct Missing {
    std::size_t name = 0;
    std::string found = "found none";
  };

  /// The tensor of each name. When some have none it is empty, and missing() says why.
  std::vector<std::size_t> find() {
    if (wanted_.empty()) return {};
    const std::vector<std::string> beginnings = beginning_ ? std::vector{*beginning_} : beginnings_in_base();
    std::vector<Candidate> candidates;
    for (const std::string& beginning : beginnings) consider(beginning, "", candidates);
    // transformers has moved the modules of CLIP's text model up.
    if (candidates.empty())
      for (const std::string& beginning : beginnings_without_part()) consider(beginning, moved_, candidates);
    if (candidates.empty()) return {};
    for (const std::string_view first : {std::string_view(component_), std::string_view()})
      for (const Candidate& candidate : candidates)
        if (candidate.beginning == first) return chosen(candidate);
    std::vector<Candidate> fitting;
    for (const Candidate& candidate : candidates)
      if (candidate.fits) fitting.push_back(candidate);
    if (fitting.empty()) fitting = candidates;
    if (fitting.size() > 1) {
      missing_ = {0, several(fitting[0].found.front(), fitting[1].found.front())};
      return {};
    }
    return chosen(fitting.front());
  }
  const Missing& missing() const { return missing_; }

  /// A wanted name as it is spelled in messages.
  std::string spelled(std::size_t i) const { return text(wanted_[i].name, ".", wanted_[i].parameter); }

 private:
  struct Candidate {
    std::string beginning;
    std::vector<std::size_t> found;
    bool fits = true;
    std::string several = "";
  };

  /// Whether a base's name so turned ends in `end`; `before` is what stands in front of it.
  static bool ends_flat(std::string_view name, std::string_view end, std::string_view& before) {
    if (name.size() < end.size()) return false;
    const std::size_t at = name.size() - end.size();
    if (at != 0 && (at < 2 || name[at - 1] != '.')) return false;
    const std::size_t last = name.rfind('.');
    for (std::size_t i = name.size(); i-- > at;)
      if ((i < last && name[i] == '.' ? '_' : name[i]) != end[i - at]) return false;
    before = name.substr(0, at == 0 ? 0 : at - 1);
    return true;
  }

  /// What stands in the base before the longest of the names.
  std::vector<std::string> beginnings_in_base() const { return beginnings_of(spelled(longest())); }
  std::vector<std::string> beginnings_without_part() const {
    const std::string name = spelled(longest());
    return name.starts_with(moved_) ? beginnings_of(std::string_view(name).substr(moved_.size()))
                                    : std::vector<std::string>();
  }
  std::vector<std::string> beginnings_of(std::string_view name) const {
    std::vector<std::string> out;
    for (std::size_t t = 0; t < base_.size() && out.size() < most_candidates; ++t) {
      std::string_view before;
      if (ends_flat(base_.unwrapped(t), name, before) && std::find(out.begin(), out.end(), before) == out.end())
        out.emplace_back(before);
    }
    return out;
  }
  std::size_t longest() const {
    const auto at = std::max_element(wanted_.begin(), wanted_.end(),
                                     [](const Wanted& a, const Wanted& b) { return a.name.size() < b.name.size(); });
    return static_cast<std::size_t>(at - wanted_.begin());
  }

  /// Adds a candidate when the base has all names behind a beginning, without the part `left_out` at their own.
  void consider(const std::string& beginning, std::string_view left_out, std::vector<Candidate>& candidates) {
    Candidate out{beginning, {}};
    std::string before = beginning;
    std::replace(before.begin(), before.end(), '.', '_');
    if (!before.empty()) before += '_';
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      const std::string name = spelled(i);
      std::vector<std::size_t> of_beginning;  // a_b.c is not behind the beginning a
      if (name.starts_with(left_out))
        for (const std::size_t t : tensors_.find(text(before, std::string_view(name).substr(left_out.size()))))
          if (begins_with(base_.unwrapped(t), beginning)) of_beginning.push_back(t);
      if (of_beginning.empty()) {
        if (candidates.empty() && missing_.name <= i)
          missing_ = {i, before.empty() ? "found none" : text("found none behind ", in_quotes(beginning))};
        return;
      }
      std::vector<std::size_t> fitting;
      for (const std::size_t t : of_beginning)
        if (of_beginning.size() == 1 || fits_(i, t)) fitting.push_back(t);
      if (fitting.size() != 1 && out.several.empty()) {
        out.several = several(of_beginning[0], of_beginning[1]);
        several_name_ = i;
      }
      out.found.push_back(fitting.empty() ? of_beginning.front() : fitting.front());
      out.fits = out.fits && fits_(i, out.found.back());
    }
    candidates.push_back(std::move(out));
  }

  std::vector<std::size_t> chosen(const Candidate& candidate) {
    if (candidate.several.empty()) return candidate.found;
    missing_ = {several_name_, candidate.several};
    return {};
  }

  std::string several(std::size_t a, std::size_t b) const {
    return text("found several that may be meant: ", in_quotes(base_[a]), " and ", in_quotes(base_[b]));
  }

  static constexpr std::size_t most_candidates = 64;
  static constexpr std::string_view moved_ = "text_model_";

  const BaseNames& base_;
  const FlatTensors& tensors_;
  std::vector<Wanted> wanted_;
  std::string component_;
  std::optional<std::string> beginning_;
  FunctionRef<bool(std::size_t, std::size_t)> fits_;
  Missing missing_;
  std::size_t several_name_ = 0;
};

}  // namespace io::detail
LORA_NAMESPACE_END
