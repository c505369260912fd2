// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "library.hpp"

#include <array>
#include <optional>
#include <thread>

#if !defined(NDEBUG)
#error "the library is compiled without debug checks"
#endif

namespace library {
namespace {

std::optional<lora::LowRank<float>> held;

}  // namespace

double sum(const lora::LowRank<float>& update) {
  return update.B().cast<double>().sum() + update.A().cast<double>().sum();
}

void keep(lora::LowRank<float> update) { held.emplace(std::move(update)); }

lora::LowRank<float> kept() { return *held; }

lora::LowRank<float> release() {
  lora::LowRank<float> out = std::move(*held);
  held.reset();
  return out;
}

lora::LowRank<float> make(lora::Index rows, lora::Index cols, lora::Index rank) {
  return {lora::Matrix<float>::Constant(rows, rank, 0.25f), lora::Matrix<float>::Constant(rank, cols, 0.5f),
          lora::scaling::alpha(8)};
}

lora::LowRank<float>* make_on_heap(lora::Index rows, lora::Index cols, lora::Index rank) {
  return new lora::LowRank<float>(make(rows, cols, rank));
}

void expect(const lora::LowRank<float>& update, lora::Index rows, lora::Index cols) {
  if (update.rows() != rows || update.cols() != cols) throw lora::ShapeError("library: expected another shape");
}

void refuse() { throw lora::StateError("library: refused"); }

void mismatch() { make(4, 5, 2) = {lora::Matrix<float>::Zero(4, 2), lora::Matrix<float>::Zero(3, 5), lora::scaling::alpha(8)}; }

bool catches(void (*callback)()) {
  try {
    callback();
  } catch (const lora::Error&) {
    return true;
  }
  return false;
}

int default_concurrency() { return concurrency(lora::DefaultExecutor(3)); }

int concurrency(const lora::Executor& executor) { return executor.concurrency(); }

int threads_of_two_tasks() {
  std::array<std::thread::id, 2> threads;
  lora::DefaultExecutor(2).run(2, [&](int i) { threads[static_cast<std::size_t>(i)] = std::this_thread::get_id(); });
  return threads[0] == threads[1] ? 1 : 2;
}

bool has_openmp() {
#if defined(_OPENMP)
  return true;
#else
  return false;
#endif
}

lora::UndoRecord merge(float* weight, const lora::LowRank<float>& update) {
  lora::MatrixMap<float> map(weight, update.rows(), update.cols(), Eigen::OuterStride<>(update.cols()));
  const lora::ActiveSet<float> set(update);
  return lora::merge(map, set);
}

}  // namespace library
