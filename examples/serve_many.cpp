// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// One model, 32 adapters, a stream of requests: every step encodes a batch of sentences, each with the adapter that it asks for, in one
// mixed batch over the same weights; an adapter store keeps the adapters that are asked for in memory.

#include "tasks.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <random>

namespace {

using lora::Index;
using minilm::Activations, minilm::Encoder, minilm::Sentence, minilm::Task;
using Store = lora::io::AdapterStore<float>;
using Pin = lora::io::AdapterPin<float>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t checked_rows[] = {0, 1, 64, 65};  // of Task::embedding

// ---- a step ----------------------------------------------------------------------------------------------------------------

/// Encodes sentences, each with its adapter, together.
class Server {
 public:
  Server(const Encoder& encoder, const Store& store) : encoder_(encoder), store_(store) {}

  Activations encode(std::span<const Sentence> sentences, std::span<const Pin> pins) {
    columns_.clear();
    for (const Sentence& sentence : sentences) columns_.push_back(std::ssize(sentence));
    batch_.assign(pins, columns_);  // once for all layers
    const auto pass = encoder_.modules().pass();
    return encoder_.encode(sentences, [&](const std::string& path) { return batch_.layer(store_.layer(path)); });
  }

 private:
  const Encoder& encoder_;
  const Store& store_;
  lora::io::AdapterBatch<float> batch_;
  std::vector<Index> columns_;
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
  Eigen::setNbThreads(threads);
  const std::vector<Task> tasks = minilm::read_tasks(data);
  const Encoder encoder(lora::io::Safetensors::open(model_file));
  const auto open = [&](std::size_t budget) {
    auto store = std::make_unique<Store>(encoder.modules(), budget);
    for (const Task& task : tasks) store->attach(task.name, {{data / "adapters" / task.name}});
    return store;
  };
  const auto store = open(std::size_t{1} << 30);
  Server server(encoder, *store);
  if (!benchmark) return check(server, *store, tasks) ? 0 : 1;
  compare(server, *store, tasks);
  serve(server, *store, tasks, tasks.size(), 10);
  const std::size_t all = store->statistics().bytes;
  const auto small = open(all * 3 / 4);
  Server crowded(encoder, *small);
  std::printf("the same with room for three quarters of the adapters, %.1f MB:\n", 0.75e-6 * static_cast<double>(all));
  serve(crowded, *small, tasks, tasks.size() / 2, 10);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool benchmark = arguments.size() == 4 && arguments[2] == "--bench";
  const int threads = benchmark ? std::atoi(arguments[3].c_str()) : Eigen::nbThreads();
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
