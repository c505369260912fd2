// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// What becomes of an adapter's task when other adapters are added to the same weights: accuracy against the number of
// adapters, by every way of combining them, and by routing.

#include "tester.hpp"
#include "ways.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <random>

namespace stacking {
namespace {

using Json = nlohmann::ordered_json;
using Shared = lora::LayerGroup<float>::Shared;

struct Settings {
  std::filesystem::path model, data, out;
  std::vector<std::size_t> counts{2, 4, 8, 16, 32};
  std::size_t orders = 4;
  std::vector<std::string> ways;  // none: all

  /// Norms of c M to try, as multiples of the mean norm of the updates that M was made of (Frobenius', over all
  /// modules).
  std::vector<double> relative_norms{0.71, 1, 1.41, 2, 2.83};

  int threads = 0;

  bool has(const Way& way) const { return ways.empty() || std::find(ways.begin(), ways.end(), way.name) != ways.end(); }
};

/// So many tasks are tested in an order: the first ones.
constexpr std::size_t tested = 8;

/// A composition M of some adapters D_t, for all modules.
struct Composed {
  std::vector<std::pair<std::string, Shared>> updates;
  double norm = 0, mean_norm = 0;  // ||M||, and the mean of the ||D_t||
};

class Experiment {
 public:
  explicit Experiment(const Settings& settings)
      : settings_(settings),
        tasks_(minilm::read_tasks(settings.data)),
        encoder_(lora::io::Safetensors::open(settings.model)),
        tester_(encoder_, tasks_, settings.threads),
        out_(settings.out) {
    if (!out_) throw lora::Error("cannot write " + settings.out.string());
    for (const Task& task : tasks_) {
      const lora::io::Adapter adapter = lora::io::load_adapter(settings.data / "adapters" / task.name);
      encoder_.attach(adapter);
      for (const lora::io::AdapterModule& module : adapter.modules)
        updates_[module.path].push_back(std::get<Shared>(module.update));
    }
    for (const auto& [path, updates] : updates_)
      if (updates.size() != tasks_.size()) throw lora::ValueError(path + ": expected an update of every adapter");
  }

  void run() {
    const std::map<std::string, lora::Matrix<float>> before = encoder_.weights();
    for (order_ = 0; order_ < settings_.orders; ++order_) {
      const std::vector<std::size_t> order = adapters_in_order(order_);
      Json names = Json::array();
      for (const std::size_t t : order) names.push_back(tasks_[t].name);
      const compose::Forecast all = forecast(order);
      Json capacity;
      for (const double share : {0.9, 0.8, 0.5}) capacity[Json(share).dump()] = all.capacity(share);
      out_ << Json{{"order", order_}, {"adapters", names}, {"capacity", capacity}} << '\n';
      const std::size_t size = std::min(tested, order.size());
      record({"none", 0, "", 0, 0}, {0, 0, size}, order, tester_.count(std::span(order).first(size)));
      const std::vector<Count> alone = route(order, 1);
      for (const std::size_t k : settings_.counts) {
        if (k > order.size()) continue;
        if (route(order, k) != alone) throw lora::Error("routed rows got other answers than their adapters give alone");
        foretell(order, k);
        for (const Way& way : ways)
          if (settings_.has(way)) stack(way, order, k);
      }
    }
    if (encoder_.weights() != before) throw lora::Error("the weights are not what they were");
  }

 private:
  /// Some adapters of an order: [begin, end), of which the tasks of [begin, tested) are tested.
  struct Set {
    std::size_t begin, end, last_tested;
  };

  /// What the rows of a measurement say besides.
  struct Label {
    std::string method;
    std::size_t k;
    std::string scale;  // how the coefficient came about
    double coefficient, relative_norm;
  };

  /// Each order begins with other tasks, so that after tasks / tested orders all have been tested once.
  std::vector<std::size_t> adapters_in_order(std::size_t number) const {
    const auto shuffle = [](auto begin, auto end, std::uint32_t seed) {  // as std::shuffle, the same everywhere
      std::mt19937 random(seed);
      for (auto n = end - begin; n > 1; --n)
        std::iter_swap(begin + (n - 1), begin + static_cast<std::ptrdiff_t>(random() % static_cast<std::uint32_t>(n)));
    };
    std::vector<std::size_t> order(tasks_.size());
    std::iota(order.begin(), order.end(), 0);
    shuffle(order.begin(), order.end(), 1);
    std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(number * tested % order.size()),
                order.end());
    if (order.size() > tested) shuffle(order.begin() + tested, order.end(), static_cast<std::uint32_t>(number + 2));
    return order;
  }

  void record(const Label& label, const Set& set, std::span<const std::size_t> order, std::span<const Count> counts) {
    for (std::size_t i = set.begin; i < set.last_tested; ++i) {
      const Count& own = counts[i - set.begin];
      out_ << Json{{"order", order_},
                   {"set", {set.begin, set.end}},
                   {"k", label.k},
                   {"method", label.method},
                   {"scale", label.scale},
                   {"coefficient", label.coefficient},
                   {"relative_norm", label.relative_norm},
                   {"task", tasks_[order[i]].name},
                   {"accuracy", own.accuracy(Part::test)},
                   {"rows", own.rows_of(Part::test)},
                   {"held_out_accuracy", own.accuracy(Part::held_out)},
                   {"held_out_rows", own.rows_of(Part::held_out)}}
           << '\n';
    }
    out_.flush();
  }

  /// k adapters each, so that all the order's first tasks are tested: several sets where these are more than k.
  static std::vector<Set> sets_of(std::size_t k, std::size_t adapters) {
    std::vector<Set> sets;
    for (std::size_t begin = 0; begin < std::min(tested, adapters); begin += k)
      sets.push_back({begin, std::min(begin + k, adapters), std::min({begin + k, adapters, tested})});
    return sets;
  }

  /// Routing per row in batches that mix k adapters; with one, it is that adapter alone.
  std::vector<Count> route(std::span<const std::size_t> order, std::size_t k) {
    std::vector<Count> all;
    for (const Set& set : sets_of(k, order.size())) {
      const auto own = order.subspan(set.begin, set.end - set.begin);
      std::vector<std::vector<lora::ActiveName>> lists;
      for (const std::size_t t : own) lists.push_back({{tasks_[t].name, 1.0}});
      std::map<std::string, std::vector<lora::ActiveSet<float>>> active;
      for (const auto& [path, layer] : encoder_.modules()) active[path] = encoder_.modules().sets_of(path, lists);
      const auto counts =
          tester_.count_routed(own, [&](const std::string& path) { return std::span(active.at(path)); });
      record({k == 1 ? "alone" : "routing", k, "1", 1, 1}, set, order, counts);
      all.insert(all.end(), counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(set.last_tested - set.begin));
    }
    return all;
  }

  compose::Forecast forecast(std::span<const std::size_t> adapters) const {
    std::vector<std::string> paths;
    for (const auto& [path, updates] : updates_) paths.push_back(path);
    std::vector<compose::Interference> found(paths.size());
    in_parallel(paths.size(), settings_.threads, [&](std::size_t i) {
      found[i] = compose::interference<float>(lora::ActiveSet<float>(parts(paths[i], adapters)));
    });
    compose::Forecast out(adapters.size());
    for (const compose::Interference& weight : found) out.add(weight);
    return out;
  }

  /// What the factors say of plain sums, before any is made.
  void foretell(std::span<const std::size_t> order, std::size_t k) {
    for (const Set& set : sets_of(k, order.size())) {
      const compose::Forecast found = forecast(order.subspan(set.begin, set.end - set.begin));
      for (std::size_t i = set.begin; i < set.last_tested; ++i)
        out_ << Json{{"order", order_},
                     {"set", {set.begin, set.end}},
                     {"k", k},
                     {"task", tasks_[order[i]].name},
                     {"crosstalk", found.crosstalk(i - set.begin)},
                     {"signal", found.signal(i - set.begin)},
                     {"retained", found.retained(i - set.begin)}}
             << '\n';
    }
  }

  void stack(const Way& way, std::span<const std::size_t> order, std::size_t k) {
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    double composing = 0;
    for (const Set& set : sets_of(k, order.size())) {
      const double begin = seconds();
      std::vector<std::size_t> adapters(order.begin() + static_cast<std::ptrdiff_t>(set.begin),
                                        order.begin() + static_cast<std::ptrdiff_t>(set.end));
      std::sort(adapters.begin(),
                adapters.end());  // where one stands in a composition has nothing to do with being tested
      const Composed composed = compose(way, adapters);
      composing += seconds() - begin;
      std::vector<std::pair<std::string, double>> scales{{"1", 1}};
      if (way.method == Method::cat) {
        scales.emplace_back("1/k", 1 / static_cast<double>(k));
        scales.emplace_back("1/sqrt(k)", 1 / std::sqrt(static_cast<double>(k)));
      }
      const double one = composed.mean_norm / composed.norm;  // makes it as large as an adapter
      scales.emplace_back("rule", std::pow(static_cast<double>(k), way.growth) * one);
      for (const double norm : settings_.relative_norms) scales.emplace_back("norm " + Json(norm).dump(), norm * one);
      std::map<double, std::vector<Count>> counts;  // by coefficient: some scales are the same
      for (const auto& [scale, coefficient] : scales) {
        std::vector<Count>& own = counts[coefficient];
        if (own.empty()) own = count(composed, coefficient, order.subspan(set.begin, set.last_tested - set.begin));
        record({way.name, k, scale, coefficient, coefficient / one}, set, order, own);
      }
    }
    std::printf("order %zu, k = %zu, %s: %.1f s, %.1f of them to compose\n", order_, k, way.name, seconds(), composing);
    std::fflush(stdout);
  }

  std::vector<lora::ActiveUpdate<float>> parts(const std::string& path, std::span<const std::size_t> adapters) const {
    std::vector<lora::ActiveUpdate<float>> out;
    for (const std::size_t t : adapters) out.emplace_back(updates_.at(path)[t]);
    return out;
  }

  Composed compose(const Way& way, std::span<const std::size_t> adapters) const {
    Composed out;
    for (const auto& [path, updates] : updates_) out.updates.emplace_back(path, nullptr);
    std::vector<double> squares(out.updates.size());
    std::vector<std::vector<double>> own(out.updates.size());
    in_parallel(out.updates.size(), settings_.threads, [&](std::size_t i) {
      const auto updates = parts(out.updates[i].first, adapters);
      for (const auto& update : updates) own[i].push_back(squared_norm(update));
      const auto made = compose::combine<float>(lora::ActiveSet<float>(updates), way.method, way.options);
      squares[i] = squared_norm(made.update);
      out.updates[i].second = std::make_shared<lora::LowRank<float>>(made.update);
    });
    for (std::size_t t = 0; t < adapters.size(); ++t) {
      double sum = 0;
      for (const auto& module : own) sum += module[t];
      out.mean_norm += std::sqrt(sum) / static_cast<double>(adapters.size());
    }
    out.norm = std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0));
    return out;
  }
  static double squared_norm(const lora::ActiveUpdate<float>& update) {
    return lora::delta<float>(lora::ActiveSet<float>(update), update.update->rows(), update.update->cols())
        .cast<double>()
        .squaredNorm();
  }

  /// The tasks' right answers with c times a composition merged into the weights.
  std::vector<Count> count(const Composed& composed, double coefficient, std::span<const std::size_t> tasks) {
    lora::LayerGroup<float>& modules = encoder_.modules();
    modules.attach("composed", composed.updates);
    modules.activate({{"composed", coefficient}});
    modules.merge();
    std::vector<Count> counts = tester_.count(tasks);
    modules.unmerge();
    modules.activate({});
    modules.detach("composed");
    return counts;
  }

  const Settings& settings_;
  std::vector<Task> tasks_;
  Encoder encoder_;
  Tester tester_;
  std::ofstream out_;
  std::map<std::string, std::vector<Shared>> updates_;  // by module, in the order of the tasks
  std::size_t order_ = 0;
};

int run(int argc, char** argv) {
  Settings settings;
  CLI::App program("Accuracy of tasks whose adapters are stacked on one model, by every way of combining them");
  program.allow_windows_style_options(false);  // paths may begin with '/'
  program.add_option("model", settings.model, "The model's safetensors file")->required();
  program.add_option("data", settings.data, "A folder of tasks and adapters")
      ->required()
      ->check(CLI::ExistingDirectory);
  program.add_option("out", settings.out, "Results, one JSON object a line")->required();
  program.add_option("--counts", settings.counts, "How many adapters")->delimiter(',')->check(CLI::Range(2, 1024));
  program.add_option("--orders", settings.orders, "How many orders of the adapters")->check(CLI::Range(1, 1024));
  std::vector<std::string> names;
  for (const Way& way : ways) names.emplace_back(way.name);
  program.add_option("--way", settings.ways, "One of the ways of combining, by name (default: all)")
      ->check(CLI::IsMember(names));
  program.add_option("--norms", settings.relative_norms, "Norms of the compositions, in those of an adapter")
      ->delimiter(',');
  program.add_option("--threads", settings.threads, "Default: the number of processors");
  CLI11_PARSE(program, argc, argv);
  if (settings.threads < 1) settings.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (!std::filesystem::exists(settings.model)) {
    std::printf("skipped: there is no %s; examples/stacking/run.sh fetches the model\n", settings.model.string().c_str());
    return 77;  // what ctest takes for skipped
  }
  Eigen::setNbThreads(1);  // the threads are those of in_parallel()
  Experiment(settings).run();
  return 0;
}

}  // namespace
}  // namespace stacking

int main(int argc, char** argv) {
  try {
    return stacking::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stacking: error: %s\n", error.what());
    return 1;
  }
}
