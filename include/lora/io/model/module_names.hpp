// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How the names in an adapter lead to those in a base: the rule of docs/FILES.md, without files. For bodies
/// (-inl.hpp).
///
/// Names differ at their beginnings: libraries moved modules between versions, files lack a model's own prefix or have
/// one more, and programs leave wrappers in. The wanted names are sorted into towers (the same path up to the first
/// number, as `model.layers.`; a name without numbers is a tower of its own), and one change of the beginning has to
/// serve a whole tower:
///
///  1. none (wrappers do not count);
///  2. one of the known moves;
///  3. some parts less, or some more, before the longest end that allows it. Never other parts in their place.
///
/// Of changes that lead to several tensors the one is taken whose shapes fit, or the one that another tower has shown;
/// if that does not leave one, none is. A single name without numbers ("lm_head") says little: beside other towers it
/// follows these.

#include "lora/core/function_ref.hpp"
#include "lora/io/model/base_names.hpp"
#include "lora/io/model/known_moves.hpp"
#include "lora/io/model/rename.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// Finds the tensors of one adapter. Time is linear in the names' characters and parts.
class ModuleNames {
 public:
  /// `wanted` are tensors' names in the adapter's words; fits(i, t) says whether wanted name i and tensor t agree in
  /// shape, and is asked only where names do not decide. All must outlive it.
  ModuleNames(const BaseNames& base, std::vector<std::string> wanted, std::span<const Rename> renames,
              FunctionRef<bool(std::size_t, std::size_t)> fits)
      : base_(base), wanted_(std::move(wanted)), renames_(renames), fits_(fits) {
    for (std::string& name : wanted_) name = renamed(renames_, name);
  }

  /// A wanted name that has no tensor, and what was found in its place.
  struct Missing {
    std::size_t name;
    std::string found;
    std::string looked_for = {};               // the name as the base would have it
    std::optional<std::size_t> of_several = {};  // one of the tensors that it may mean
  };

  /// The tensor of each name. When some have none it is empty, and missing() says why.
  std::vector<std::size_t> find() {
    std::vector<Tower> towers = sorted();
    for (Tower& tower : towers) serves(tower, {}, tower.found);
    const Ends ends = ends_of(towers);
    for (Tower& tower : towers) find_moved(tower, ends);
    find_by_ends(towers, ends);
    std::vector<std::size_t> out(wanted_.size());
    for (const Tower& tower : towers) {
      if (tower.found.empty()) {
        missing_ = tower.several.empty() ? absent(tower) : Missing{tower.names.front(), tower.several, {}, tower.one_of_several};
        return {};
      }
      for (std::size_t k = 0; k < tower.names.size(); ++k) out[tower.names[k]] = tower.found[k];
    }
    return out;
  }
  const Missing& missing() const { return missing_; }

  /// After find(): the tensor that one more name means, by the changes that have served and the known moves.
  std::optional<std::size_t> find_other(const std::string& name) {
    wanted_.push_back(renamed(renames_, name));
    Tower tower{{wanted_.size() - 1}, 0, true, {}, {}, {}};
    if (!serves(tower, {}, tower.found) && !choose(tower, served(tower, changes_)))
      choose(tower, served(tower, known_changes()));
    wanted_.pop_back();
    return tower.found.empty() ? std::nullopt : std::optional(tower.found.front());
  }

  /// A wanted name as it is looked for: with the longest of the renames' beginnings changed.
  const std::string& wanted(std::size_t i) const { return wanted_[i]; }
  static std::string renamed(std::span<const Rename> renames, std::string_view name) {
    const Rename* best = nullptr;
    for (const Rename& rename : renames)
      if (begins_with(name, rename.from) && (best == nullptr || rename.from.size() > best->from.size())) best = &rename;
    return best == nullptr ? std::string(name) : with_beginning(name, best->from, best->to);
  }

 private:
  /// The beginning `from` becomes `to`.
  struct Change {
    std::string from, to;
    bool operator==(const Change&) const = default;
  };
  struct Candidate {
    Change change;
    std::vector<std::size_t> found;
  };
  struct Tower {
    std::vector<std::size_t> names;  // of wanted_
    std::size_t kept;                // characters at the end of the first name that a change leaves alone
    bool is_single;                  // one name without numbers
    std::vector<std::size_t> found;  // empty until all are
    std::string several;             // what names alone cannot tell apart
    std::optional<Change> nearest;   // one that serves some of the names
    std::optional<std::size_t> one_of_several = {};

    bool is_open() const { return found.empty() && several.empty(); }
  };

  std::vector<Tower> sorted() const {
    std::vector<Tower> out;
    std::unordered_map<std::string_view, std::size_t> places;
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      const std::string_view name = wanted_[i];
      const std::vector<std::string_view> parts = parts_of(name);
      std::size_t number = 1;  // that of a list; a first one is a module's of a pipeline
      while (number < parts.size() && !is_number(parts[number])) ++number;
      const bool is_single = number == parts.size();
      const auto length = [&](std::size_t count) {
        std::size_t sum = 0;
        for (std::size_t k = 0; k < count; ++k) sum += parts[k].size() + 1;
        return sum;
      };
      // A change may touch what stands before a list's name, or before a module's last part.
      const std::size_t kept = is_single ? 2 : parts.size() - number + 1;
      const std::size_t free = length(parts.size() - std::min(kept, parts.size()));
      const auto [place, is_new] = places.try_emplace(is_single ? name : name.substr(0, length(number)), out.size());
      if (is_new) out.push_back({{}, name.size() - free, is_single, {}, {}, {}});
      out[place->second].names.push_back(i);
    }
    return out;
  }

  std::optional<std::size_t> find(std::size_t i, const Change& change) const {
    if (!begins_with(wanted_[i], change.from)) return std::nullopt;
    return base_.find(with_beginning(wanted_[i], change.from, change.to));
  }

  /// Whether the base has all of a tower's names after a change: they are `found` then.
  bool serves(const Tower& tower, const Change& change, std::vector<std::size_t>& found) const {
    std::vector<std::size_t> out;
    for (const std::size_t i : tower.names) {
      const std::optional<std::size_t> at = find(i, change);
      if (!at) return false;
      out.push_back(*at);
    }
    found = std::move(out);
    return true;
  }
  std::vector<Candidate> served(const Tower& tower, const std::vector<Change>& changes) const {
    std::vector<Candidate> out;
    for (const Change& change : changes)
      if (Candidate one{change, {}}; serves(tower, change, one.found)) out.push_back(std::move(one));
    return out;
  }
  static const std::vector<Change>& known_changes() {
    static const std::vector<Change> changes = [] {
      std::vector<Change> out;
      for (const auto& [older, newer] : known_moves) {
        out.push_back({std::string(older), std::string(newer)});
        out.push_back({std::string(newer), std::string(older)});
      }
      return out;
    }();
    return changes;
  }

  /// Takes the candidate that is left alone, if one is.
  bool choose(Tower& tower, std::vector<Candidate> candidates) {
    for (std::size_t a = 0; a < candidates.size(); ++a)  // other changes may lead to the same tensors
      for (std::size_t b = candidates.size(); b-- > a + 1;)
        if (candidates[a].found == candidates[b].found)
          candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(b));
    keep(candidates, [&](const Candidate& one) {
      for (std::size_t k = 0; k < one.found.size(); ++k)
        if (!fits_(tower.names[k], one.found[k])) return false;
      return true;
    });
    keep(candidates, [&](const Candidate& one) {
      return std::find(changes_.begin(), changes_.end(), one.change) != changes_.end();
    });
    if (candidates.size() > 1) {
      tower.several = found_several(candidates[0].found.front(), candidates[1].found.front());
      tower.one_of_several = candidates[0].found.front();
    }
    if (candidates.size() != 1) return false;
    tower.found = candidates.front().found;
    tower.several.clear();
    const Change& change = candidates.front().change;
    if (changes_.size() < most_candidates && std::find(changes_.begin(), changes_.end(), change) == changes_.end())
      changes_.push_back(change);
    return true;
  }
  /// Of several, those that pass a test, if any do.
  template <class Test>
  static void keep(std::vector<Candidate>& candidates, const Test& test) {
    if (candidates.size() < 2) return;
    std::vector<Candidate> passed;
    for (const Candidate& one : candidates)
      if (test(one)) passed.push_back(one);
    if (!passed.empty()) candidates = std::move(passed);
  }
  std::string found_several(std::size_t a, std::size_t b) const {
    return text("found several that may be meant: ", in_quotes(base_[a]), " and ", in_quotes(base_[b]));
  }

  /// Calls run() with a name and what is left of it after each dot, from `longest` characters down to `shortest`.
  /// Names of very many parts are nobody's.
  template <class Run>
  static void for_each_end(std::string_view name, std::size_t longest, std::size_t shortest, const Run& run) {
    constexpr std::ptrdiff_t most_parts = 64;
    if (std::count(name.begin(), name.end(), '.') >= most_parts) return;
    for (std::size_t at = 0; name.size() - at >= shortest; ++at) {
      if (name.size() - at <= longest) run(name.substr(at));
      at = name.find('.', at);
      if (at == name.npos) return;
    }
  }
  template <class Run>
  void for_each_end(const Tower& tower, const Run& run) const {
    const std::string_view name = wanted_[tower.names.front()];
    for_each_end(name, name.size(), tower.kept, run);
  }
  using Ends = std::unordered_map<std::string_view, std::vector<std::size_t>>;

  /// The base's names by those of their ends that open towers may keep.
  Ends ends_of(const std::vector<Tower>& towers) const {
    Ends ends;
    std::size_t longest = 0;
    for (const Tower& tower : towers)
      if (tower.is_open())
        for_each_end(tower, [&](std::string_view end) {
          ends[end];
          longest = std::max(longest, end.size());
        });
    for (std::size_t t = 0; t < base_.size() && !ends.empty(); ++t)
      for_each_end(base_.unwrapped(t), longest, 1, [&](std::string_view end) {
        if (const auto at = ends.find(end); at != ends.end() && at->second.size() <= most_candidates)
          at->second.push_back(t);
      });
    return ends;
  }

  /// A known move, unless the base has the very names as well, after a prefix.
  void find_moved(Tower& tower, const Ends& ends) {
    if (!tower.is_open()) return;
    std::vector<Candidate> candidates = served(tower, known_changes());
    if (candidates.empty()) return;
    for (Candidate& one : candidates_at(tower, wanted_[tower.names.front()], ends))
      candidates.push_back(std::move(one));
    choose(tower, std::move(candidates));
  }

  void find_by_ends(std::vector<Tower>& towers, const Ends& ends) {
    bool is_alone = std::all_of(towers.begin(), towers.end(), [](const Tower& one) { return one.found.empty(); });
    for (const bool is_single : {false, true})
      for (Tower& tower : towers)
        if (tower.is_open() && tower.is_single == is_single) {
          if (is_single) choose(tower, served(tower, changes_));
          if (!is_single || is_alone)
            for_each_end(tower, [&](std::string_view end) {
              if (tower.is_open()) choose(tower, candidates_at(tower, end, ends));
            });
          is_alone = is_alone && tower.found.empty();
        }
    for (Tower& tower : towers)  // by what towers after it have shown
      if (tower.found.empty() && !tower.several.empty()) choose(tower, served(tower, changes_));
  }

  /// The changes before one end that serve a tower.
  std::vector<Candidate> candidates_at(Tower& tower, std::string_view end, const Ends& ends) const {
    std::vector<Candidate> out;
    const auto place = ends.find(end);
    if (place == ends.end()) return out;
    const std::vector<std::size_t>& tensors = place->second;
    if (tensors.size() > most_candidates) {
      tower.several = found_several(tensors[0], tensors[1]);
      return out;
    }
    for (const std::size_t t : tensors) {
      const std::string_view ours = before(wanted_[tower.names.front()], end), theirs = before(base_.unwrapped(t), end);
      if (!is_shortened(ours, theirs) && !is_shortened(theirs, ours)) continue;
      Candidate one{{std::string(ours), std::string(theirs)}, {}};
      if (serves(tower, one.change, one.found))
        out.push_back(std::move(one));
      else if (!tower.nearest)
        tower.nearest = one.change;
    }
    return out;
  }

  /// The first name of a tower that the base lacks where it has others, under the same names or after a change.
  Missing absent(const Tower& tower) const {
    const bool has_some =
        std::any_of(tower.names.begin(), tower.names.end(), [&](std::size_t i) { return find(i, {}).has_value(); });
    const Change change = has_some || !tower.nearest ? Change{} : *tower.nearest;
    std::optional<std::size_t> lacking, other;
    for (const std::size_t i : tower.names) (find(i, change) ? other : lacking) = i;
    for (const std::size_t i : tower.names)
      if (!find(i, change)) {
        lacking = i;
        break;
      }
    const std::size_t i = lacking.value_or(tower.names.front());
    if (change == Change{} || !other) return {i, "found none", wanted_[i]};
    const std::string changed = with_beginning(wanted_[i], change.from, change.to);
    return {i, text("found none, nor ", in_quotes(changed), " beside ", in_quotes(base_[*find(*other, change)])), changed};
  }

  /// Of a name that ends more tensors nothing can be said, and more changes show nothing; it bounds the time as well.
  static constexpr std::size_t most_candidates = 64;

  const BaseNames& base_;
  std::vector<std::string> wanted_;
  std::span<const Rename> renames_;
  FunctionRef<bool(std::size_t, std::size_t)> fits_;
  std::vector<Change> changes_;  // that have served, the first of them
  Missing missing_{};
};

}  // namespace io::detail
LORA_NAMESPACE_END
