// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// A program with debug checks, for any machine, on one thread; its library has none of these. What goes to and fro has one
// layout and one name, and either side frees what the other has allocated.

#include "library.hpp"

#include <iostream>
#include <memory>

#if defined(NDEBUG) || defined(_OPENMP)
#error "the program is compiled with debug checks and without OpenMP"
#endif

namespace {

int failures = 0;
void check(bool condition, const char* what) {
  std::cout << (condition ? "as expected: " : "NOT: ") << what << '\n';
  if (!condition) ++failures;
}

template <class Exception, class Function>
bool throws(const Function& function) {
  try {
    function();
  } catch (const Exception&) {
    return true;
  } catch (...) {
  }
  return false;
}

bool same(const lora::LowRank<float>& a, const lora::LowRank<float>& b) {
  return a.B() == b.B() && a.A() == b.A() && a.scaling() == b.scaling();
}

void updates() {
  // Several sizes: small blocks and large ones come from different places of the allocator.
  for (const lora::Index size : {1, 3, 16, 67, 1031}) {
    const lora::Index rank = size < 4 ? 1 : 4;
    const lora::LowRank<float> update(lora::Matrix<float>::Random(size, rank), lora::Matrix<float>::Random(rank, 2 * size),
                                      lora::scaling::alpha(8));
    check(library::sum(update) == update.B().cast<double>().sum() + update.A().cast<double>().sum(),
          "the library reads the program's update");
    library::keep(update);
    check(same(library::kept(), update), "the library keeps a copy and gives one back");
    check(same(library::release(), update), "the library gives away what it kept");
    lora::LowRank<float> moved = update;
    library::keep(std::move(moved));
    moved = library::release();
    check(same(moved, update), "an update is moved there and back");
    const lora::LowRank<float> made = library::make(size, 2 * size, rank);
    check(made.rows() == size && made.cols() == 2 * size && made.rank() == rank && (made.B().array() == 0.25f).all(),
          "the program reads and frees the library's update");
    const std::unique_ptr<lora::LowRank<float>> on_heap(library::make_on_heap(size, 2 * size, rank));
    check(same(*on_heap, made), "the program deletes the library's update");

    lora::Matrix<float> W = lora::Matrix<float>::Random(size, 2 * size);
    const lora::Matrix<float> W0 = W;
    const lora::UndoRecord record = library::merge(W.data(), update);
    const lora::ActiveSet<float> set(update);
    lora::unmerge(W, set, record);
    check(W == W0, "the program unmerges what the library merged");
  }
}

void exceptions() {
  const lora::LowRank<float> update = library::make(4, 5, 2);
  const auto wrong = [&] { library::expect(update, 4, 6); };
  check(!throws<lora::Error>([&] { library::expect(update, 4, 5); }), "nothing is thrown for the right shape");
  check(throws<lora::ShapeError>(wrong), "the library's ShapeError is caught as one");
  check(throws<lora::Error>(wrong), "the library's ShapeError is caught as an Error");
  check(throws<std::runtime_error>(wrong), "the library's ShapeError is caught as a std::runtime_error");
  check(throws<lora::StateError>(library::refuse) && !throws<lora::ShapeError>(library::refuse),
        "the library's StateError is one, and no ShapeError");
  check(throws<lora::ShapeError>(library::mismatch), "what lora throws in the library is caught");
  check(library::catches([] { throw lora::ValueError("program: refused"); }), "the library catches the program's ValueError");
}

/// Each side's default executor is the one of its own flags; an Executor is one on both sides.
void executors() {
  lora::DefaultExecutor own(3);
  check(own.concurrency() == 1, "the program's default executor has one thread, for it is compiled without OpenMP");
  check(library::concurrency(own) == 1, "the library sees the program's executor as it is");
  check(library::default_concurrency() == (library::has_openmp() ? 3 : 1),
        "the library's default executor is of its own flags");
  check(library::threads_of_two_tasks() == (library::has_openmp() ? 2 : 1), "and runs its tasks on OpenMP's threads");
  lora::Context context{&own};
  lora::Matrix<float> W = lora::Matrix<float>::Ones(3, 4);
  lora::merge_plain(W, library::make(3, 4, 2), context);
  check(W(0, 0) != 1, "the program merges with its own executor");
}

}  // namespace

int main() {
  updates();
  executors();
  exceptions();
  return failures == 0 ? 0 : 1;
}
