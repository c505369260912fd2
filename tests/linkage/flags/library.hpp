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

/// Merges into a row-major weight; the record is the caller's.
lora::UndoRecord merge(float* weight, const lora::LowRank<float>& update);

}  // namespace library
