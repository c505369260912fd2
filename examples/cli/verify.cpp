// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora verify: every adapted layer's merged forward pass against the unmerged one, and the weight's bits after an
// unmerge.

#include "commands.hpp"
#include "table.hpp"
#include "text.hpp"
#include "weights.hpp"

#include <lora/layer/forward_bound.hpp>
#include <lora/layer/linear.hpp>

#include <numbers>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
using Target = io::MergeTarget;

/// Standard normal numbers, the same on every machine: splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom
/// number generators", 2014) and the transform of Box & Muller (1958).
class Normal {
 public:
  explicit Normal(std::uint64_t seed) : state_(seed) {}
  double operator()() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }

 private:
  double uniform() {  // in (0, 1]
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return static_cast<double>(((x ^ (x >> 31)) >> 11) + 1) * 0x1p-53;
  }
  std::uint64_t state_;
};

/// What one layer showed, at the element where the difference is the largest part of its bound.
struct Outcome {
  double difference = 0, bound = 0, ratio = 0;
  bool holds = true, restored = true;
};

template <class Compute>
void compare(const lora::Activations<Compute>& unmerged, const lora::Activations<Compute>& merged,
             const lora::Activations<double>& bound, Outcome& outcome) {
  outcome.ratio = -1;
  for (lora::Index j = 0; j < unmerged.cols(); ++j)
    for (lora::Index i = 0; i < unmerged.rows(); ++i) {
      const Compute a = unmerged(i, j), b = merged(i, j);
      const bool same = a == b || (std::isnan(a) && std::isnan(b));
      const double difference = same ? 0.0 : std::abs(static_cast<double>(a) - static_cast<double>(b));
      if (!same && !(difference <= bound(i, j))) outcome.holds = false;
      double ratio = same ? 0.0 : difference / bound(i, j);
      if (!(ratio >= 0)) ratio = std::numeric_limits<double>::infinity();
      if (ratio > outcome.ratio) outcome = {difference, bound(i, j), ratio, outcome.holds, outcome.restored};
    }
  outcome.ratio = std::max(outcome.ratio, 0.0);
}

struct Verify {
  fs::path base;
  AdapterOptions adapters;
  CommonOptions common;

  int run() {
    const std::vector<ChosenAdapter> chosen = adapters.load(common, base);
    const io::Model model = io::Model::open(base);
    std::vector<std::string> warnings;
    const std::vector<Target> targets = changed_weights(model, chosen, adapters, warnings);
    const std::vector<Outcome> outcomes = verify_layers(model, targets);

    std::size_t broken = 0, lost = 0;
    double worst = 0;
    for (const Outcome& outcome : outcomes) {
      broken += outcome.holds ? 0 : 1;
      lost += outcome.restored ? 0 : 1;
      worst = std::max(worst, outcome.ratio);
    }
    const bool good = broken + lost == 0;
    print(common.json ? json(targets, outcomes, good, all_warnings(chosen, warnings)) : table(targets, outcomes));
    if (!good)
      throw lora::Error(text("lora: of ", targets.size(), " layers, ", broken,
                             " broke the bound on |merged - unmerged| and ", lost, " did not get their bits back"));
    if (!common.json)
      print(text(count_text(targets.size(), "layer"), ": merged and unmerged differ by at most ", number_text(worst, 3),
                 " of the bound, and every bit came back\n"));
    return 0;
  }

 private:
  static constexpr lora::Index batch = 8;

  std::vector<Outcome> verify_layers(const io::Model& model, const std::vector<Target>& targets) const {
    std::vector<Outcome> outcomes(targets.size());
    for_each_weight(model, targets, 2, "verifying", common,  // W and W0
                    [&](std::size_t i, std::span<std::byte> both, const lora::Context& context) {
                      outcomes[i] = verify_layer(model, targets[i], both.first(both.size() / 2),
                                                 both.last(both.size() / 2), context);
                    });
    return outcomes;
  }

  static Outcome verify_layer(const io::Model& model, const Target& target, std::span<std::byte> bytes,
                              std::span<std::byte> original, const lora::Context& context) {
    io::read_extended(model, target, io::weight_offset(target), original);
    std::copy(original.begin(), original.end(), bytes.begin());
    Outcome outcome;
    with_weight_of(model, target, bytes, [&]<class T>(auto W) {
      const decltype(W) W0(reinterpret_cast<T*>(original.data()), target.rows, target.cols);
      outcome = verify<T>(W, W0, target, context);
    });
    outcome.restored = std::equal(original.begin(), original.end(), bytes.begin());
    return outcome;
  }

  template <class T, class Weight>
  static Outcome verify(Weight& W, const Weight& W0, const Target& target, const lora::Context& context) {
    using Compute = lora::compute_t<T>;
    constexpr lora::StorageOrder order = Weight::IsRowMajor ? lora::row_major : lora::column_major;
    Normal normal(1);
    const auto X = lora::Activations<Compute>::NullaryExpr(target.cols, batch, [&] {
                     return static_cast<Compute>(normal());
                   }).eval();
    const auto set = io::active_set<Compute>(target.parts);
    auto layer = lora::Linear<T, order>::view(W);
    std::vector<lora::ActiveName> active;
    for (const auto& [update, coefficient] : set.updates()) {
      active.push_back({std::to_string(active.size()), coefficient});
      layer.attach(active.back().name, update);
    }
    layer.activate(active, context);
    const auto unmerged = layer.forward(X, context);
    const auto bound = lora::forward_bound(W0, layer.active_set(), X);
    layer.merge(context);
    Outcome outcome;
    compare<Compute>(unmerged, layer.forward(X, context), bound, outcome);
    layer.unmerge(context);
    return outcome;
  }

  static std::string table(const std::vector<Target>& targets, const std::vector<Outcome>& outcomes) {
    Table out({"layer", "shape", "rank", "dtype", "worst difference", "bound", "ratio", "bits back"});
    for (std::size_t i = 0; i < targets.size(); ++i)
      out.add({targets[i].module, shape_text(targets[i].rows, targets[i].cols), std::to_string(targets[i].rank()),
               std::string(io::name(io::dtype_of(targets[i].type))), number_text(outcomes[i].difference),
               number_text(outcomes[i].bound), number_text(outcomes[i].ratio, 3) + (outcomes[i].holds ? "" : " BROKEN"),
               outcomes[i].restored ? "all" : "LOST"});
    return text(out);
  }

  static std::string json(const std::vector<Target>& targets, const std::vector<Outcome>& outcomes, bool good,
                          const std::vector<std::string>& warnings) {
    using Json = nlohmann::ordered_json;
    Json layers = Json::array();
    for (std::size_t i = 0; i < targets.size(); ++i)
      layers.push_back({{"name", targets[i].module},
                        {"shape", {targets[i].rows, targets[i].cols}},
                        {"rank", targets[i].rank()},
                        {"dtype", io::name(io::dtype_of(targets[i].type))},
                        {"difference", outcomes[i].difference},  // null when it is not finite
                        {"bound", outcomes[i].bound},
                        {"ratio", outcomes[i].ratio},
                        {"holds", outcomes[i].holds},
                        {"restored", outcomes[i].restored}});
    return Json{{"command", "verify"}, {"good", good}, {"layers", std::move(layers)}, {"warnings", warnings}}.dump(2, ' ', true) +
           '\n';
  }
};

}  // namespace

void add_verify(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand(
      "verify", "Compare merged with unmerged forward passes, layer by layer, and the bits after an unmerge");
  const auto verify = std::make_shared<Verify>();
  command->add_option("--base", verify->base, model_help)->type_name("PATH")->required()->check(not_empty);
  verify->adapters.add_to(*command);
  verify->common.add_to(*command, false);
  command->footer(
      text("Example:\n"
           "  lora verify --base base.safetensors --adapter adapters/games\n\n"
           "Random activations (8 samples, always the same) go through every adapted layer, unmerged and\n"
           "merged. The table shows for each the element whose difference is the largest part of its\n"
           "bound, which follows from the roundings of both ways. Exit code 1 when a bound is broken or\n"
           "a bit did not come back. Nothing is written.\n\n",
           name_rules, "\n", coefficient_rules));
  command->callback([verify, &run] { run = [verify] { return verify->run(); }; });
}

}  // namespace cli
