// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/aligned.hpp"
#include "lora/exact/checksum.hpp"
#include "lora/kernel/block.hpp"

#include <cstddef>
#include <span>

LORA_NAMESPACE_BEGIN
namespace detail {

/// One update's factors in memory: B out x rank and A rank x in, both row-major without gaps, and all that multiplies them.
template <class Compute>
struct FactorView {
  const Compute* B;
  const Compute* A;
  Index rank;
  double scaling, weight;
};

/// c = T(s * w), the product in double: the number every entry of B is multiplied with. Throws ValueError unless finite.
template <class Compute>
LORA_NOINLINE Compute combined_scale(double scaling, double weight) {
  const auto c = static_cast<Compute>(scaling * weight);
  if (!is_finite(c))
    throw ValueError(
        text("lora: an update's scaling times its weight: expected a finite number, found ", scaling, " * ", weight));
  return c;
}

/// The factors of an active set, stacked along the rank, scaled, and laid out for the block kernels. Updates whose weight is
/// 0 are left out.
template <class Compute>
class PackedFactors {
 public:
  /// For a weight of rows x cols in the given order and kernels with this order of lanes. Allocates (rows + cols) * (sum of
  /// ranks) numbers; throws ValueError. Must run under an FpEnvironment set by a caller it is not inlined into.
  LORA_NOINLINE PackedFactors(std::span<const FactorView<Compute>> set, Index rows, Index cols, StorageOrder order,
                              const LaneOrder& lanes)
      : lines_(order == row_major ? rows : cols), length_(order == row_major ? cols : rows) {
    for (const FactorView<Compute>& update : set)
      if (update.weight != 0.0) depth_ += update.rank;
    left_ = aligned_array<Compute>(static_cast<std::size_t>(padded(lines_, cell_lines) * depth_));
    right_ = aligned_array<Compute>(static_cast<std::size_t>(padded(length_, cell_length) * depth_));
    fingerprint_ = ChecksumState::mix(sizeof(Compute));
    const LaneOrder lines = natural_order();
    Index first = 0;
    for (const FactorView<Compute>& update : set) {
      if (update.weight == 0.0) continue;
      const Compute c = combined_scale<Compute>(update.scaling, update.weight);
      mix_in(update, c, rows, cols);
      const auto b = [&](Index i, Index k) { return c * update.B[i * update.rank + k]; };
      const auto a = [&](Index j, Index k) { return update.A[k * cols + j]; };
      if (order == row_major) {
        pack<cell_lines>(left_.get(), first, update.rank, rows, lines, b);
        pack<cell_length>(right_.get(), first, update.rank, cols, lanes, a);
      } else {
        pack<cell_lines>(left_.get(), first, update.rank, cols, lines, a);
        pack<cell_length>(right_.get(), first, update.rank, rows, lanes, b);
      }
      first += update.rank;
    }
  }

  /// The sum of the ranks.
  Index depth() const { return depth_; }

  /// The factors of one block.
  BlockFactors<Compute> at(const Block& block) const {
    LORA_ASSERT(block.line % cell_lines == 0 && block.position % cell_length == 0);
    LORA_ASSERT(block.line + block.lines <= lines_ && block.position + block.length <= length_);
    return {left_.get() + block.line * depth_, right_.get() + block.position * depth_, depth_};
  }

  /// Identifies the scaled factors and their order.
  std::uint64_t fingerprint() const { return fingerprint_; }

 private:
  static constexpr LaneOrder natural_order() {
    LaneOrder order{};
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint8_t>(i);
    return order;
  }

  /// out[i / Unit][first + k][order[i % Unit]] = value(i, k) for i < size, and 0 from there to the next multiple of Unit.
  template <Index Unit, class Value>
  void pack(Compute* out, Index first, Index rank, Index size, const LaneOrder& order, const Value& value) const {
    for (Index begin = 0; begin < size; begin += Unit) {
      Compute* part = out + begin * depth_ + first * Unit;
      const Index used = std::min(Unit, size - begin);
      for (Index k = 0; k < rank; ++k)
        for (Index i = 0; i < Unit; ++i)
          part[k * Unit + order[static_cast<std::size_t>(i)]] = i < used ? value(begin + i, k) : Compute{0};
    }
  }

  void mix_in(const FactorView<Compute>& update, Compute c, Index rows, Index cols) {
    const auto hash = [](const Compute* factor, Index size) {
      return checksum(reinterpret_cast<const unsigned char*>(factor), static_cast<std::size_t>(size) * sizeof(Compute));
    };
    for (const std::uint64_t word : {static_cast<std::uint64_t>(to_bits(c)), static_cast<std::uint64_t>(update.rank),
                                     hash(update.B, rows * update.rank), hash(update.A, update.rank * cols)})
      fingerprint_ = ChecksumState::mix(fingerprint_ ^ word) + ChecksumState::step;
  }

  Index lines_, length_, depth_ = 0;
  std::uint64_t fingerprint_ = 0;
  AlignedArray<Compute> left_, right_;
};

}  // namespace detail
LORA_NAMESPACE_END
