// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora inside of an inference engine: the program's own memory, threads and activations; requests with adapters of their own
// over one weight; a merge while nothing runs; a restart. Checks itself and returns 0 or 1. docs/ENGINE.md goes through it.

#include <lora/lora.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

using Eigen::bfloat16;
using lora::Index;

// [pool]
/// The engine's threads. Several threads may call run() at once; each works on its own tasks too.
class Pool final : public lora::Executor {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() override {
    std::unique_lock lock(mutex_);
    stopped_ = true;
    lock.unlock();
    ready_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  int concurrency() const override { return static_cast<int>(workers_.size()) + 1; }
  void run(int tasks, lora::FunctionRef<void(int)> task) override {
    if (tasks <= 0) return;
    Job job{task, tasks, 0, tasks};
    std::unique_lock lock(mutex_);
    jobs_.push_back(&job);
    ready_.notify_all();
    while (job.next < tasks) run_one(job, lock);
    done_.wait(lock, [&] { return job.left == 0; });
  }

 private:
  struct Job {
    lora::FunctionRef<void(int)> task;
    int tasks, next, left;
  };

  void run_one(Job& job, std::unique_lock<std::mutex>& lock) {
    const int i = job.next++;
    if (job.next == job.tasks) std::erase(jobs_, &job);
    lock.unlock();
    job.task(i);
    lock.lock();
    if (--job.left == 0) done_.notify_all();
  }
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ready_.wait(lock, [&] { return stopped_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      run_one(*jobs_.front(), lock);
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_, done_;
  std::deque<Job*> jobs_;
  bool stopped_ = false;
  std::vector<std::thread> workers_;
};
// [pool]

/// Made up numbers, in the place of a file's.
lora::LowRank<bfloat16> make_adapter(Index out, Index in, Index rank) {
  const lora::Matrix<float> B = 0.1f * lora::Matrix<float>::Random(out, rank);
  const lora::Matrix<float> A = 0.1f * lora::Matrix<float>::Random(rank, in);
  return {B.cast<bfloat16>(), A.cast<bfloat16>(), lora::scaling::alpha(2.0 * static_cast<double>(rank))};
}

/// The largest error of Y against W X + bias computed by Eigen.
float error_of(const lora::Activations<float>& X, const lora::Activations<float>& Y, const lora::Matrix<float>& W,
               const Eigen::VectorXf& bias) {
  return (Y - ((W * X).colwise() + bias)).cwiseAbs().maxCoeff();
}

bool check(bool good, const char* what) {
  std::printf("%-60s %s\n", what, good ? "ok" : "FAILED");
  return good;
}

int main(int argc, char** argv) {
  const std::filesystem::path record_file = argc > 1 ? argv[1] : "engine.undo";
  constexpr Index out = 320, in = 512, batch = 3, requests = 4;
  bool good = true;

  // The engine's own memory: bf16 weights, row-major.
  std::vector<bfloat16> memory(static_cast<std::size_t>(out * in));
  lora::MatrixMap<bfloat16>(memory.data(), out, in, Eigen::OuterStride<>(in)) =
      lora::Matrix<float>::Random(out, in).cast<bfloat16>();
  const std::vector<bfloat16> original = memory;
  const Eigen::VectorXf bias = Eigen::VectorXf::Random(out);
  const lora::LowRank<bfloat16> style = make_adapter(out, in, 8), formal = make_adapter(out, in, 16);
  Pool pool(3);
  std::atomic<int> calls = 0;
  for (const int tasks : {0, 5, 0, 1}) pool.run(tasks, [&](int) { ++calls; });
  good &= check(calls == 6, "the pool runs each task once, and none of no tasks");

  {
    // [requests]
    lora::MatrixMap<bfloat16> W(memory.data(), out, in, Eigen::OuterStride<>(in));
    auto layer = lora::Linear<bfloat16>::view(W, bias);

    // Made once, shared by all threads: checked, scaled and stacked.
    const std::vector<lora::ActiveSet<float>> sets = {{}, {{style, 1.0}}, {{formal, 0.5}}, {{style, 0.7}, {formal, 0.3}}};

    // One request: [batch, in] row-major in, [batch, out] out. Nothing is copied, locked or, but for the scratch memory
    // of a thread, allocated.
    const auto serve = [&](const float* x, float* y, const lora::ActiveSet<float>& set, lora::Workspace& workspace) {
      layer.forward_into(lora::samples(x, batch, in), lora::samples(y, batch, out), set, {&pool, &workspace});
    };
    // [requests]

    std::vector<float> x(batch * in), y(requests * batch * out);
    lora::samples(x.data(), batch, in).setRandom();
    std::vector<std::thread> threads;
    for (Index r = 0; r < requests; ++r)
      threads.emplace_back([&, r] {
        const auto& set = sets[static_cast<std::size_t>(r)];
        // [workspace]
        std::vector<std::byte> scratch(lora::forward_workspace(W, set, batch, {&pool}));
        lora::Workspace workspace{std::span(scratch)};  // never grows
        // [workspace]
        for (int again = 0; again < 20; ++again) serve(x.data(), y.data() + r * batch * out, set, workspace);
      });
    for (std::thread& thread : threads) thread.join();

    const auto X = lora::samples(x.data(), batch, in);
    float worst = 0.0f;
    bool same = true;
    for (Index r = 0; r < requests; ++r) {
      const auto& set = sets[static_cast<std::size_t>(r)];
      const lora::Activations<float> Y = lora::samples(y.data() + r * batch * out, batch, out);
      lora::Matrix<float> sum = W.cast<float>();
      if (!set.empty()) sum += lora::delta<float>(set, out, in);
      worst = std::max(worst, error_of(X, Y, sum, bias));
      lora::Activations<float> alone(out, batch);
      lora::forward_into(W, set, X, alone, bias);  // the free function, on other threads: the same bits
      same = same && alone == Y;
    }
    good &= check(worst < 2e-3f, "requests with adapters of their own: W x + s B A x + bias");
    good &= check(same, "the same bits from the free function and other threads");

    // [merge]
    // While no request runs: the adapter everybody wants goes into the weight.
    layer.attach("style", style);
    layer.activate({{"style", 1.0}});
    layer.merge({&pool});
    const lora::Activations<float> Y = layer.forward(X, {&pool});

    // Before the engine stops: the record goes to disk, beside the merged weights.
    const lora::UndoRecord record = layer.release();
    const std::vector<std::byte> bytes = record.serialize();
    std::ofstream file(record_file, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    file.close();
    // [merge]
    good &= check(file.good(), "the record is on disk");
    good &= check(error_of(X, Y, W.cast<float>(), bias) < 2e-3f, "merged: W' x + bias");
    std::printf("the record takes %.1f %% of the weight\n",
                100.0 * static_cast<double>(bytes.size()) / static_cast<double>(memory.size() * sizeof(bfloat16)));
  }

  good &= check(std::memcmp(memory.data(), original.data(), memory.size() * sizeof(bfloat16)) != 0, "W' is in the memory");
  {
    // [restart]
    // A new process: W' in memory, the same adapter, the record from disk.
    std::vector<std::byte> bytes(std::filesystem::file_size(record_file));
    std::ifstream(record_file, std::ios::binary)
        .read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    lora::MatrixMap<bfloat16> W(memory.data(), out, in, Eigen::OuterStride<>(in));
    auto layer = lora::Linear<bfloat16>::view(W, bias);
    layer.attach("style", style);
    layer.resume({{"style", 1.0}}, lora::UndoRecord::deserialize(bytes));  // checks every byte
    layer.unmerge({&pool});                                               // W0 again, every bit
    // [restart]
  }
  good &= check(std::memcmp(memory.data(), original.data(), memory.size() * sizeof(bfloat16)) == 0,
                "after the restart: unmerged, every bit back");
  std::filesystem::remove(record_file);
  return good ? 0 : 1;
}
