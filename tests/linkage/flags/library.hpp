// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include <lora/lora.hpp>

/// A shared library that is compiled with other flags than its user (OpenMP, the machine's instruction set, no debug checks)
/// and has lora's types in its interface.
namespace library {

/// The sum of B's and of A's elements.
double sum(const lora::LowRank<float>& update);

/// Keeps an update, and gives away a copy of it or the update itself.
void keep(lora::LowRank<float> update);
lora::LowRank<float> kept();
lora::LowRank<float> release();

/// An update of the library's own making, and one on the heap, which the caller deletes.
lora::LowRank<float> make(lora::Index rows, lora::Index cols, lora::Index rank);
lora::LowRank<float>* make_on_heap(lora::Index rows, lora::Index cols, lora::Index rank);

/// Throws ShapeError unless the update is for weights of that shape.
void expect(const lora::LowRank<float>& update, lora::Index rows, lora::Index cols);

/// Throws StateError.
void refuse();

/// What lora itself throws within the library: the factors' ranks differ.
void mismatch();

/// Whether the library, too, catches what `callback` throws as an Error.
bool catches(void (*callback)());

/// How many threads lora::DefaultExecutor(3) has in the library, and how many somebody else's executor has.
int default_concurrency();
int concurrency(const lora::Executor& executor);

/// On how many threads lora::DefaultExecutor(2) ran two tasks in the library.
int threads_of_two_tasks();

/// Whether the library is compiled with OpenMP.
bool has_openmp();

/// Merges into a row-major weight; the record is the caller's.
lora::UndoRecord merge(float* weight, const lora::LowRank<float>& update);

}  // namespace library
