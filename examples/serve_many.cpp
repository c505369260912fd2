// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// One model, 32 adapters, a stream of requests: every step encodes a batch of sentences, each with the adapter that it asks for, in one
// mixed batch over the same weights; an adapter store keeps the adapters that are asked for in memory.

#include "tasks.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <future>
#include <numeric>
#include <random>

namespace {

using lora::Index;
using minilm::Activations, minilm::Encoder, minilm::Sentence, minilm::Task;
using Store = lora::io::AdapterStore<float>;
using Pin = lora::io::AdapterPin<float>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t checked_rows[] = {0, 1, 64, 65};  // of Task::embedding

// ---- a step ----------------------------------------------------------------------------------------------------------------

/// Encodes sentences, each with its adapter, together: a share of them on each thread, from the first layer to the last, so that
/// threads wait for each other once in a step.
class Server {
 public:
  Server(const Encoder& encoder, const Store& store, int threads)
      : encoder_(encoder), store_(store), shares_(static_cast<std::size_t>(threads)) {}

  Activations encode(std::span<const Sentence> sentences, std::span<const Pin> pins) {
    share_out(sentences);
    const auto pass = encoder_.modules().pass();
    std::vector<std::future<void>> others;
    for (Share& share : std::span(shares_).subspan(1))
      others.push_back(std::async(std::launch::async, [&] { encode(share, sentences, pins); }));
    encode(shares_.front(), sentences, pins);
    for (std::future<void>& other : others) other.get();
    Activations all(shares_.front().vectors.rows(), std::ssize(sentences));
    for (const Share& share : shares_)
      for (std::size_t i = 0; i < share.numbers.size(); ++i)
        all.col(static_cast<Index>(share.numbers[i])) = share.vectors.col(static_cast<Index>(i));
    return all;
  }

 private:
  struct Share {
    std::vector<std::size_t> numbers;  // of sentences
    Index tokens = 0;
    std::vector<Sentence> sentences;
    std::vector<Pin> pins;
    std::vector<Index> columns;
    lora::io::AdapterBatch<float> batch;
    lora::Workspace workspace;
    Activations vectors;
  };

  /// As many tokens for each thread as for the others: the longest sentences first, each to who has the fewest.
  void share_out(std::span<const Sentence> sentences) {
    for (Share& share : shares_) {
      share.numbers.clear();
      share.tokens = 0;
    }
    order_.resize(sentences.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::size_t a, std::size_t b) { return sentences[a].size() > sentences[b].size(); });
    for (const std::size_t number : order_) {
      Share& least = *std::min_element(shares_.begin(), shares_.end(),
                                       [](const Share& a, const Share& b) { return a.tokens < b.tokens; });
      least.numbers.push_back(number);
      least.tokens += std::ssize(sentences[number]);
    }
  }

  void encode(Share& share, std::span<const Sentence> sentences, std::span<const Pin> pins) const {
    share.sentences.clear();
    share.pins.clear();
    share.columns.clear();
    for (const std::size_t number : share.numbers) {
      share.sentences.push_back(sentences[number]);
      share.pins.push_back(pins[number]);
      share.columns.push_back(std::ssize(sentences[number]));
    }
    share.batch.assign(share.pins, share.columns);  // once for all layers
    lora::DefaultExecutor serial(1);
    share.vectors = encoder_.encode(
        share.sentences, [&](const std::string& path) { return share.batch.layer(store_.layer(path)); }, {&serial, &share.workspace});
  }

  const Encoder& encoder_;
  const Store& store_;
  std::vector<Share> shares_;
  std::vector<std::size_t> order_;
};

// ---- the check -------------------------------------------------------------------------------------------------------------

/// Each task with its adapter, in batches that mix all of them, beside what PyTorch + PEFT computed. See minilm.cpp for the
/// tolerance; here PyTorch's float32 differs from the exact vectors as well.
bool check(Server& server, Store& store, const std::vector<Task>& tasks) {
  constexpr float tolerance = 2 * 144 * 0x1p-24f;
  float largest = 0;
  std::vector<int> right(tasks.size(), 0);
  const std::size_t rows = tasks.front().sentences.size();
  for (std::size_t row = 0; row < rows; ++row) {
    std::vector<Sentence> sentences;
    std::vector<Pin> pins;
    for (const Task& task : tasks) {
      sentences.push_back(task.sentences[row]);
      pins.push_back(store.get(task.name));
    }
    const Activations vectors = server.encode(sentences, pins);
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      const auto vector = vectors.col(static_cast<Index>(t));
      right[t] += tasks[t].is_right(row, vector) ? 1 : 0;
      for (Index i = 0; i < std::ssize(checked_rows); ++i)
        if (checked_rows[i] == row)
          largest = std::max(largest, (vector - tasks[t].embedding.row(i).transpose()).cwiseAbs().maxCoeff<Eigen::PropagateNaN>());
    }
  }
  int all = 0;
  for (const int count : right) all += count;
  const bool good = largest <= tolerance;
  std::printf("%zu adapters in every batch: accuracy %.3f, largest difference from PyTorch + PEFT %.1e (tolerance %.1e)\n%s\n", tasks.size(),
              static_cast<double>(all) / static_cast<double>(rows * tasks.size()), static_cast<double>(largest),
              static_cast<double>(tolerance), good ? "all is as it should be" : "BROKEN");
  return good;
}

// ---- the stream ------------------------------------------------------------------------------------------------------------

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// One step with 32 adapters beside one with a single adapter.
void compare(Server& server, Store& store, const std::vector<Task>& tasks) {
  std::vector<Sentence> sentences;
  std::vector<Pin> one, all, none;
  for (const Task& task : tasks) {
    sentences.push_back(task.sentences.front());
    one.push_back(store.get(tasks.front().name));
    all.push_back(store.get(task.name));
    none.push_back(nullptr);
  }
  constexpr int rounds = 101;
  std::vector<double> times[3];
  for (int round = 0; round <= rounds; ++round)
    for (const int way : {0, 1, 2}) {
      const auto begin = Clock::now();
      server.encode(sentences, way == 0 ? none : way == 1 ? one : all);
      if (round > 0) times[way].push_back(seconds_since(begin));  // the first round warms up
    }
  double median[3];
  for (const int way : {0, 1, 2}) {
    std::nth_element(times[way].begin(), times[way].begin() + rounds / 2, times[way].end());
    median[way] = times[way][rounds / 2];
  }
  std::printf("a batch of %zu sentences, ms: the base %.2f, one adapter %.2f, %zu adapters %.2f: %.2f times one\n", sentences.size(),
              1e3 * median[0], 1e3 * median[1], tasks.size(), 1e3 * median[2], median[2] / median[1]);
}

struct Request {
  std::size_t task, sentence;
  Clock::time_point arrival;
};

/// Requests for adapters of which some are asked for much more often than others, always `waiting` of them. Those whose adapter is
/// on its way wait for a later step.
void serve(Server& server, Store& store, const std::vector<Task>& tasks, std::size_t batch, double seconds) {
  const std::size_t waiting = 2 * batch;
  std::mt19937 random(1);
  std::vector<double> popularity;
  for (std::size_t i = 0; i < tasks.size(); ++i) popularity.push_back(1 / static_cast<double>(i + 1));  // Zipf's law
  std::discrete_distribution<std::size_t> choose(popularity.begin(), popularity.end());
  std::deque<Request> queue;
  std::vector<Request> step;
  std::vector<Sentence> sentences;
  std::vector<Pin> pins;
  std::vector<double> latencies;
  const auto before = store.statistics();
  const auto begin = Clock::now();
  while (seconds_since(begin) < seconds) {
    while (queue.size() < waiting) {
      const std::size_t task = choose(random);
      queue.push_back({task, random() % tasks[task].sentences.size(), Clock::now()});
    }
    step.clear();
    sentences.clear();
    pins.clear();
    for (auto at = queue.begin(); at != queue.end() && step.size() < batch;) {
      Pin pin = store.find(tasks[at->task].name);
      if (pin == nullptr) {
        ++at;
        continue;
      }
      sentences.push_back(tasks[at->task].sentences[at->sentence]);
      pins.push_back(std::move(pin));
      step.push_back(*at);
      at = queue.erase(at);
    }
    if (step.empty()) {
      store.get(tasks[queue.front().task].name);
      continue;
    }
    server.encode(sentences, pins);
    for (const Request& request : step) latencies.push_back(seconds_since(request.arrival));
  }
  const double time = seconds_since(begin);
  const auto after = store.statistics();
  std::sort(latencies.begin(), latencies.end());
  const auto quantile = [&](double share) {
    return latencies.empty() ? 0.0 : 1e3 * latencies[static_cast<std::size_t>(share * static_cast<double>(latencies.size() - 1))];
  };
  std::printf("served %zu sentences in batches of up to %zu: %.0f per second; adapters found in memory %llu times, not %llu times, "
              "%llu loads, %llu made room; latency p50 %.1f ms, p99 %.1f ms\n",
              latencies.size(), batch, static_cast<double>(latencies.size()) / time,
              static_cast<unsigned long long>(after.hits - before.hits), static_cast<unsigned long long>(after.misses - before.misses),
              static_cast<unsigned long long>(after.loads - before.loads),
              static_cast<unsigned long long>(after.evictions - before.evictions), quantile(0.5), quantile(0.99));
}

int run(const std::filesystem::path& model_file, const std::filesystem::path& data, bool benchmark, int threads) {
  const std::vector<Task> tasks = minilm::read_tasks(data);
  const Encoder encoder(lora::io::Safetensors::open(model_file));
  lora::DefaultExecutor one_load(1);  // at a time: threads that wait for loads would take time from the steps
  const auto open = [&](std::size_t budget) {
    auto store = std::make_unique<Store>(encoder.modules(), budget, &one_load);
    for (const Task& task : tasks) store->attach(task.name, {{data / "adapters" / task.name}});
    return store;
  };
  const auto store = open(std::size_t{1} << 30);
  Server server(encoder, *store, threads);
  if (!benchmark) return check(server, *store, tasks) ? 0 : 1;
  compare(server, *store, tasks);
  serve(server, *store, tasks, tasks.size(), 10);
  const std::size_t all = store->statistics().bytes;
  const auto small = open(all * 3 / 4);
  Server crowded(encoder, *small, threads);
  std::printf("the same with room for three quarters of the adapters, %.1f MB:\n", 0.75e-6 * static_cast<double>(all));
  serve(crowded, *small, tasks, tasks.size() / 2, 10);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool benchmark = arguments.size() == 4 && arguments[2] == "--bench";
  const int threads = benchmark ? std::atoi(arguments[3].c_str()) : 2;
  if (threads < 1 || (arguments.size() != 2 && !benchmark)) {
    std::fprintf(stderr, "usage: serve_many MODEL_FILE DATA_FOLDER [--bench THREADS]\n");
    return 2;
  }
  if (!std::filesystem::exists(arguments[0])) {
    std::printf("skipped: there is no %s; examples/minilm/run.sh fetches the model\n", arguments[0].c_str());
    return 77;  // what ctest takes for skipped
  }
  try {
    return run(arguments[0], arguments[1], benchmark, threads);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "serve_many: error: %s\n", error.what());
    return 1;
  }
}
