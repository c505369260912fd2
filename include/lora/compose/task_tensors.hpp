// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The rules about single elements: pruning, the vote about signs, the sum. All of it in double and in a fixed order:
/// the same bits on every machine. For bodies (-inl.hpp).

#include "lora/compose/options.hpp"
#include "lora/compose/random_stream.hpp"
#include "lora/compose/run_all.hpp"
#include "lora/compose/update_error.hpp"
#include "lora/core/fma.hpp"
#include "lora/core/function_ref.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

LORA_TAGGED_BEGIN

/// Tensors of one shape, one for each update; `fill` makes rows of one, row-major without gaps, the same numbers each
/// time.
struct TaskTensors {
  Index count, rows, cols;
  FunctionRef<void(Index task, Index first, Index rows, double* out)> fill;
};

enum class Pruning : std::uint8_t { magnitude, random };

struct PruningRule {
  Pruning pruning = Pruning::magnitude;
  bool elects_sign = true;  // TIES; else a plain sum
  const compose::Options& options;
  std::uint64_t stream = 0;  // of random numbers: one for each set of tensors

  /// What stands in for random numbers, for tests: whether an element of a task's tensor is kept.
  const FunctionRef<bool(Index task, Index element)>* masks = nullptr;
};

/// The tensors pruned and merged, on the context's threads.
class PrunedMerge {
 public:
  PrunedMerge(const TaskTensors& tensors, std::span<const double> weights, const PruningRule& rule,
              Context context = {})
      : tensors_(tensors), weights_(weights), rule_(rule), context_(context), cuts_(static_cast<std::size_t>(tensors.count)) {
    if (rule.options.density >= 1) return;
    for (Index task = 0; task < tensors.count; ++task) {
      if (rule.pruning == Pruning::magnitude)
        find_cut(task);
      else
        find_factor(task);
    }
  }

  /// Rows of the result, row-major without gaps.
  void fill(Index first, Index count, double* out) const {
    const Index cols = tensors_.cols;
    const int threads = tasks_for(context_, bands_of(count));
    for_bands(tensors_.count, count, threads, [&](int, Index done, Index taken, double* values) {
      const Index size = taken * cols;
      for (Index task = 0; task < tensors_.count; ++task) {
        tensors_.fill(task, first + done, taken, values + task * size);
        prune(task, (first + done) * cols, values + task * size, size);
      }
      for (Index i = 0; i < size; i += chunk) merge(values + i, size, std::min(chunk, size - i), out + done * cols + i);
    });
  }

 private:
  /// What of a task's tensor stays: magnitudes above a pattern, or of it up to some element.
  struct Cut {
    std::uint64_t pattern = 0;  // of the smallest magnitude that is kept
    Index last_equal = -1;      // elements of exactly that magnitude are kept up to this one
    double factor = 1;          // what is kept is multiplied with it ...
    double divisor = 1;         // ... and divided by this
  };

  static constexpr Index chunk = 64;  // elements that are merged at once

  Index band_rows() const { return std::clamp<Index>((Index{1} << 20) / (tensors_.cols * tensors_.count), 1, 64); }
  Index bands_of(Index rows) const { return (rows + band_rows() - 1) / band_rows(); }

  /// Calls use(thread, first, rows, memory) for bands of `rows` rows, shared out to `threads` threads, each in order. The memory,
  /// a thread's own, has room for a band of so many tensors.
  template <class Use>
  void for_bands(Index tensors, Index rows, int threads, const Use& use) const {
    const Index most = std::min(rows, band_rows()), bands = bands_of(rows), room = tensors * most * tensors_.cols;
    std::vector<double> memory(static_cast<std::size_t>(threads * room));
    run_all(context_, threads, [&](int thread) {
      for (Index band = bands * thread / threads; band < bands * (thread + 1) / threads; ++band)
        use(thread, band * most, std::min(most, rows - band * most), memory.data() + thread * room);
    });
  }

  Index size() const { return tensors_.rows * tensors_.cols; }

  static std::uint64_t magnitude(double value) { return std::bit_cast<std::uint64_t>(std::abs(value)); }

  bool is_kept(Index task, Index element, double value) const {
    const Cut& cut = cuts_[static_cast<std::size_t>(task)];
    if (rule_.pruning == Pruning::magnitude) {
      const std::uint64_t own = magnitude(value);
      return (own > cut.pattern) | ((own == cut.pattern) & (element <= cut.last_equal));
    }
    if (rule_.masks != nullptr) return (*rule_.masks)(task, element);
    return random_of(task).uniform(static_cast<std::uint64_t>(element)) < rule_.options.density;
  }

  RandomStream random_of(Index task) const {
    return {rule_.options.seed, rule_.stream * 0x10000u + static_cast<std::uint64_t>(task)};
  }

  void prune(Index task, Index first_element, double* values, Index count) const {
    if (rule_.options.density >= 1) return;
    const Cut& cut = cuts_[static_cast<std::size_t>(task)];
    const bool scales = !(cut.factor >= 1 && cut.factor <= 1 && cut.divisor >= 1);  // a NaN scales
    for (Index i = 0; i < count; ++i) {
      const double scaled = scales ? values[i] * cut.factor / cut.divisor : values[i];
      values[i] = chosen(is_kept(task, first_element + i, values[i]), scaled, 0.0);
    }
  }

  /// yes ? a : b without a branch: which it is cannot be foreseen.
  static double chosen(bool yes, double a, double b) {
    const std::uint64_t mask = std::uint64_t{0} - std::uint64_t{yes};
    return std::bit_cast<double>((std::bit_cast<std::uint64_t>(a) & mask) | (std::bit_cast<std::uint64_t>(b) & ~mask));
  }

  /// Calls use(thread, element, value) for all elements of a task's tensor; one thread sees them in order.
  template <class Use>
  void for_elements(Index task, int threads, const Use& use) const {
    for_bands(1, tensors_.rows, threads, [&](int thread, Index first, Index rows, double* values) {
      tensors_.fill(task, first, rows, values);
      for (Index i = 0; i < rows * tensors_.cols; ++i) use(thread, first * tensors_.cols + i, values[i]);
    });
  }

  /// The magnitude of the int(density n)-th largest element, 16 bits of its pattern a pass.
  void find_cut(Index task) {
    Cut& cut = cuts_[static_cast<std::size_t>(task)];
    auto wanted = static_cast<Index>(rule_.options.density * static_cast<double>(size()));
    if (wanted == 0) {
      cut.pattern = magnitude(std::numeric_limits<double>::infinity());
      return;
    }
    constexpr std::size_t bins = std::size_t{1} << 16;
    const int threads = tasks_for(context_, bands_of(tensors_.rows));
    std::vector<Index> counts(static_cast<std::size_t>(threads) * bins);  // the first of them, then, of all threads
    for (int shift = 48;; shift -= 16) {
      std::fill(counts.begin(), counts.end(), 0);
      for_elements(task, threads, [&](int thread, Index, double value) {
        const std::uint64_t pattern = magnitude(value);
        if (shift == 48 || pattern >> (shift + 16) == cut.pattern >> (shift + 16))
          ++counts[static_cast<std::size_t>(thread) * bins + ((pattern >> shift) & 0xffff)];
      });
      for (std::size_t i = bins; i < counts.size(); ++i) counts[i % bins] += counts[i];
      std::uint64_t bin = 0xffff;
      for (; counts[bin] < wanted; --bin) wanted -= counts[bin];
      cut.pattern |= bin << shift;
      if (counts[bin] == wanted) {  // all of the bin, and so all from its least pattern on
        cut.last_equal = size();
        return;
      }
      if (shift == 0) break;
    }
    for_elements(task, 1, [&](int, Index element, double value) {
      if (magnitude(value) == cut.pattern && wanted-- > 0) cut.last_equal = element;
    });
  }

  /// 1 / density, or of mergekit's rule the ratio of the L1 norms. Throws ValueError when that overflows: a NaN would be
  /// voted down.
  void find_factor(Index task) {
    Cut& cut = cuts_[static_cast<std::size_t>(task)];
    if (rule_.options.rules == compose::Rules::peft) {
      cut.divisor = rule_.options.density;
      return;
    }
    double before = 0, after = 0;
    for_elements(task, 1, [&](int, Index element, double value) {
      before += std::abs(value);
      if (is_kept(task, element, value)) after += std::abs(value);
    });
    if (!std::isfinite(before))
      throw compose::UpdateError(static_cast<std::size_t>(task), text("expected a finite L1 norm, found ", before));
    constexpr double least = 1e-7;  // mergekit's
    if (before >= least && after >= least) cut.factor = before / after;
  }

  static int sign(double value) { return (value > 0) - (value < 0); }

  /// `count` elements of the result, a chunk at most, out of the tasks' own, `stride` apart.
  void merge(const double* values, Index stride, Index count, double* out) const {
    const bool mergekit = rule_.options.rules == compose::Rules::mergekit;
    double votes[chunk] = {}, sums[chunk] = {}, agreeing[chunk] = {};
    for (Index task = 0; task < tensors_.count && rule_.elects_sign; ++task) {
      const double* const own = values + task * stride;
      const double voice = mergekit ? weight(task) : 1.0;
      if (rule_.options.majority_sign != compose::MajoritySign::total)
        for (Index i = 0; i < count; ++i) votes[i] += sign(own[i]) * sign(voice);
      else if (mergekit)
        for (Index i = 0; i < count; ++i) votes[i] = fma(voice, own[i], votes[i]);
      else
        for (Index i = 0; i < count; ++i) votes[i] += own[i];
    }
    for (Index task = 0; task < tensors_.count; ++task) {
      const double* const own = values + task * stride;
      const double factor = weight(task), voice = mergekit ? factor : 1.0;
      for (Index i = 0; i < count; ++i) {
        const bool agrees = !rule_.elects_sign || sign(own[i]) * sign(voice) == (votes[i] >= 0 ? 1 : -1);
        sums[i] = chosen(agrees, fma(factor, own[i], sums[i]), sums[i]);
        agreeing[i] += chosen(agrees, voice, 0.0);
      }
    }
    const bool divides = rule_.elects_sign && !(mergekit && rule_.pruning == Pruning::random);
    for (Index i = 0; i < count; ++i) {
      const bool has_divisor = agreeing[i] < 0 || agreeing[i] > 0;
      out[i] = divides && has_divisor ? sums[i] / agreeing[i] : sums[i];
    }
  }

  double weight(Index task) const { return weights_[static_cast<std::size_t>(task)]; }

  const TaskTensors& tensors_;
  std::span<const double> weights_;
  PruningRule rule_;
  Context context_;
  std::vector<Cut> cuts_;
};

LORA_TAGGED_END
