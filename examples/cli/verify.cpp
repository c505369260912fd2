// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora verify: every adapted layer's merged forward pass against the unmerged one, and the weight's bits after an
// unmerge.

#include "commands.hpp"
#include "files.hpp"
#include "table.hpp"

#include <lora/layer/forward_bound.hpp>

#include <iostream>
#include <numbers>

namespace cli {
namespace {

namespace io = lora::io;

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
    state_ += 0x9e3779b97f4a7c15u;
    return static_cast<double>((lora::detail::ChecksumState::mix(state_) >> 11) + 1) * 0x1p-53;
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
      const bool same = a == b || (lora::detail::is_nan(a) && lora::detail::is_nan(b));
      const double difference = same ? 0.0 : std::abs(static_cast<double>(a) - static_cast<double>(b));
      if (!same && !(difference <= bound(i, j))) outcome.holds = false;
      double ratio = same ? 0.0 : difference / bound(i, j);
      if (!(ratio >= 0)) ratio = std::numeric_limits<double>::infinity();
      if (ratio > outcome.ratio) outcome = {difference, bound(i, j), ratio, outcome.holds, outcome.restored};
    }
  outcome.ratio = std::max(outcome.ratio, 0.0);
}

struct Verify {
  AdapterOptions options;
  int threads = 0;

  int run() const {
    use_threads(threads);
    const std::vector<ChosenAdapter> adapters = options.load();
    const io::Safetensors base = io::Safetensors::open(options.base);
    const std::vector<Target> targets = plan_merge(base, adapters);

    Table table({"layer", "shape", "rank", "dtype", "worst difference", "bound", "ratio", "bits back"});
    std::size_t broken = 0, lost = 0;
    double worst = 0;
    for (const Target& target : targets) {
      const Outcome outcome = verify_layer(base, target);
      broken += outcome.holds ? 0 : 1;
      lost += outcome.restored ? 0 : 1;
      worst = std::max(worst, outcome.ratio);
      table.add({target.module, lora::detail::shape_text(target.rows, target.cols), std::to_string(target.rank()),
                 std::string(io::name(target.tensor->dtype)), number_text(outcome.difference),
                 number_text(outcome.bound), number_text(outcome.ratio, 3) + (outcome.holds ? "" : " BROKEN"),
                 outcome.restored ? "all" : "LOST"});
    }
    base.file().expect_unchanged();
    std::cout << table;
    if (broken + lost != 0)
      throw lora::Error(lora::detail::text("lora: of ", targets.size(), " layers, ", broken,
                                           " broke the bound on |merged - unmerged| and ", lost,
                                           " did not get their bits back"));
    std::cout << targets.size() << (targets.size() == 1 ? " layer" : " layers")
              << ": merged and unmerged differ by at most " << number_text(worst, 3)
              << " of the bound, and every bit came back\n";
    return 0;
  }

 private:
  static constexpr lora::Index batch = 8;

  static Outcome verify_layer(const io::Safetensors& base, const Target& target) {
    Outcome outcome;
    with_weight(target.type, target.order, [&]<class T, lora::StorageOrder Order>() {
      using Compute = lora::compute_t<T>;
      lora::Matrix<T, Order> W(target.rows, target.cols);
      base.read(*target.tensor, 0, bytes_of(W));
      const lora::Matrix<T, Order> W0 = W;
      Normal normal(1);
      const auto X = lora::Activations<Compute>::NullaryExpr(target.cols, batch, [&] {
                       return static_cast<Compute>(normal());
                     }).eval();
      try {
        const Updates<Compute> updates(target);
        auto layer = lora::Linear<T, Order>::view(W);
        std::vector<lora::Activation> active;
        for (std::size_t i = 0; i < updates.updates.size(); ++i) {
          active.push_back({std::to_string(i), updates.set[i].weight});
          layer.attach(active.back().name, updates.updates[i]);
        }
        layer.activate(active);
        const auto unmerged = layer.forward(X);
        const auto bound = lora::forward_bound(W0, updates.set, X);
        layer.merge();
        compare<Compute>(unmerged, layer.forward(X), bound, outcome);
        layer.unmerge();
      } catch (const lora::ValueError& error) {
        io::detail::fail(base.path(), "module ", io::detail::in_quotes(target.module), ": ", io::detail::bare(error));
      }
      const auto before = bytes_of(W0), after = std::as_bytes(bytes_of(W));
      outcome.restored = std::equal(before.begin(), before.end(), after.begin(), after.end());
    });
    return outcome;
  }
};

}  // namespace

void add_verify(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand(
      "verify", "Compare merged with unmerged forward passes, layer by layer, and the bits after an unmerge");
  const auto verify = std::make_shared<Verify>();
  verify->options.add_to(*command);
  add_threads_option(*command, verify->threads);
  command->footer(
      std::string("Example:\n"
                  "  lora verify --base base.safetensors --adapter adapters/games\n\n"
                  "Random activations (8 samples, always the same) go through every adapted layer, unmerged and\n"
                  "merged. The table shows for each the element whose difference is the largest part of its\n"
                  "bound, which follows from the roundings of both ways. Exit code 1 when a bound is broken or\n"
                  "a bit did not come back. Nothing is written.\n\n") +
      name_rules);
  command->callback([verify, &run] { run = [verify] { return verify->run(); }; });
}

}  // namespace cli
