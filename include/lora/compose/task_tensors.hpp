// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The rules about single elements: pruning, the vote about signs, the sum. All of it in double and in a fixed order:
/// the same bits on every machine. For bodies (-inl.hpp).

#include "lora/compose/options.hpp"
#include "lora/compose/random_stream.hpp"
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

/// The tensors pruned and merged.
class PrunedMerge {
 public:
  PrunedMerge(const TaskTensors& tensors, std::span<const double> weights, const PruningRule& rule)
      : tensors_(tensors), weights_(weights), rule_(rule), cuts_(static_cast<std::size_t>(tensors.count)) {
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
    const Index cols = tensors_.cols, most = std::min(count, band_rows());
    std::vector<double> values(static_cast<std::size_t>(tensors_.count * most * cols));
    for (Index done = 0; done < count; done += most) {
      const Index taken = std::min(most, count - done), size = taken * cols;
      for (Index task = 0; task < tensors_.count; ++task) {
        double* own = values.data() + task * size;
        tensors_.fill(task, first + done, taken, own);
        prune(task, (first + done) * cols, own, size);
      }
      for (Index i = 0; i < size; ++i) out[done * cols + i] = merged(values.data() + i, size);
    }
  }

 private:
  /// What of a task's tensor stays: magnitudes above a pattern, or of it up to some element.
  struct Cut {
    std::uint64_t pattern = 0;  // of the smallest magnitude that is kept
    Index last_equal = -1;      // elements of exactly that magnitude are kept up to this one
    double factor = 1;          // what is kept is multiplied with it ...
    double divisor = 1;         // ... and divided by this
  };

  Index band_rows() const { return std::clamp<Index>((Index{1} << 20) / (tensors_.cols * tensors_.count), 1, 64); }
  Index size() const { return tensors_.rows * tensors_.cols; }

  static std::uint64_t magnitude(double value) { return std::bit_cast<std::uint64_t>(std::abs(value)); }

  bool is_kept(Index task, Index element, double value) const {
    const Cut& cut = cuts_[static_cast<std::size_t>(task)];
    if (rule_.pruning == Pruning::magnitude)
      return magnitude(value) > cut.pattern || (magnitude(value) == cut.pattern && element <= cut.last_equal);
    if (rule_.masks != nullptr) return (*rule_.masks)(task, element);
    return random_of(task).uniform(static_cast<std::uint64_t>(element)) < rule_.options.density;
  }

  RandomStream random_of(Index task) const {
    return {rule_.options.seed, rule_.stream * 0x10000u + static_cast<std::uint64_t>(task)};
  }

  void prune(Index task, Index first_element, double* values, Index count) const {
    if (rule_.options.density >= 1) return;
    const Cut& cut = cuts_[static_cast<std::size_t>(task)];
    for (Index i = 0; i < count; ++i)
      values[i] = is_kept(task, first_element + i, values[i]) ? values[i] * cut.factor / cut.divisor : 0.0;
  }

  template <class Use>
  void for_elements(Index task, const Use& use) const {
    const Index rows = std::min(tensors_.rows, band_rows());
    std::vector<double> values(static_cast<std::size_t>(rows * tensors_.cols));
    for (Index first = 0; first < tensors_.rows; first += rows) {
      const Index taken = std::min(rows, tensors_.rows - first);
      tensors_.fill(task, first, taken, values.data());
      for (Index i = 0; i < taken * tensors_.cols; ++i)
        use(first * tensors_.cols + i, values[static_cast<std::size_t>(i)]);
    }
  }

  /// The magnitude of the int(density n)-th largest element, 16 bits of its pattern a pass.
  void find_cut(Index task) {
    Cut& cut = cuts_[static_cast<std::size_t>(task)];
    auto wanted = static_cast<Index>(rule_.options.density * static_cast<double>(size()));
    if (wanted == 0) {
      cut.pattern = magnitude(std::numeric_limits<double>::infinity());
      return;
    }
    std::vector<Index> counts(std::size_t{1} << 16);
    for (int shift = 48;; shift -= 16) {
      std::fill(counts.begin(), counts.end(), 0);
      for_elements(task, [&](Index, double value) {
        const std::uint64_t pattern = magnitude(value);
        if (shift == 48 || pattern >> (shift + 16) == cut.pattern >> (shift + 16))
          ++counts[(pattern >> shift) & 0xffff];
      });
      std::uint64_t bin = 0xffff;
      for (; counts[bin] < wanted; --bin) wanted -= counts[bin];
      cut.pattern |= bin << shift;
      if (counts[bin] == wanted) {  // all of the bin, and so all from its least pattern on
        cut.last_equal = size();
        return;
      }
      if (shift == 0) break;
    }
    for_elements(task, [&](Index element, double value) {
      if (magnitude(value) == cut.pattern && wanted-- > 0) cut.last_equal = element;
    });
  }

  /// 1 / density, or of mergekit's rule the ratio of the L1 norms.
  void find_factor(Index task) {
    Cut& cut = cuts_[static_cast<std::size_t>(task)];
    if (rule_.options.rules == compose::Rules::peft) {
      cut.divisor = rule_.options.density;
      return;
    }
    double before = 0, after = 0;
    for_elements(task, [&](Index element, double value) {
      before += std::abs(value);
      if (is_kept(task, element, value)) after += std::abs(value);
    });
    constexpr double least = 1e-7;  // mergekit's
    if (before >= least && after >= least) cut.factor = before / after;
  }

  static int sign(double value) { return (value > 0) - (value < 0); }

  /// One element of the result out of the tasks' own, `stride` apart.
  double merged(const double* values, Index stride) const {
    const bool mergekit = rule_.options.rules == compose::Rules::mergekit;
    int majority = 0;
    if (rule_.elects_sign) {
      double votes = 0;
      for (Index task = 0; task < tensors_.count; ++task) {
        const double value = values[task * stride], voice = mergekit ? weight(task) : 1.0;
        votes = rule_.options.majority_sign == compose::MajoritySign::total ? fma(voice, value, votes)
                                                                            : votes + sign(value) * sign(voice);
      }
      majority = votes >= 0 ? 1 : -1;
    }
    double sum = 0, agreeing = 0;
    for (Index task = 0; task < tensors_.count; ++task) {
      const double value = values[task * stride];
      if (rule_.elects_sign && sign(value) * (mergekit ? sign(weight(task)) : 1) != majority) continue;
      sum = fma(weight(task), value, sum);
      agreeing += mergekit ? weight(task) : 1.0;
    }
    const bool divides = rule_.elects_sign && !(mergekit && rule_.pruning == Pruning::random);
    return divides && (agreeing < 0 || agreeing > 0) ? sum / agreeing : sum;
  }

  double weight(Index task) const { return weights_[static_cast<std::size_t>(task)]; }

  const TaskTensors& tensors_;
  std::span<const double> weights_;
  PruningRule rule_;
  std::vector<Cut> cuts_;
};

LORA_TAGGED_END
