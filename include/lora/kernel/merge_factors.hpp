// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include "lora/core/aligned.hpp"
#include "lora/kernel/block.hpp"
#include "lora/update/form.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

LORA_TAGGED_BEGIN

/// A form laid out for the block kernels of a weight in one storage order. It is made anew for each pass and not kept in the set:
/// a set would be twice as large, and larger for every storage type (whose kernels want lanes in an order of their own) and
/// order of a weight, to spare 1 to 2 % of a merge at 4096 x 4096, rank 16, and 6 % at 1024 x 1024 (measured, one thread).
template <class Compute>
class MergeFactors {
 public:
  /// For a weight of rows x cols in the given order and kernels with this order of lanes. Looks at the form, which has to
  /// outlive it. Allocates (rows + cols) * (sum of ranks) numbers and what the gains take.
  LORA_NOINLINE MergeFactors(const Form<Compute>& form, Index rows, Index cols, StorageOrder order, const LaneOrder& lanes)
      : form_(&form),
        order_(order),
        lanes_(lanes),
        lines_(order == row_major ? rows : cols),
        length_(order == row_major ? cols : rows),
        depth_(form.depth()) {
    left_ = aligned_array<Compute>(static_cast<std::size_t>(padded(lines_, tile_lines) * depth_));
    right_ = aligned_array<Compute>(static_cast<std::size_t>(padded(length_, tile_length) * depth_));
    const LaneOrder lines = natural_order();
    const FactorB b{form};
    const FactorA a{form};
    if (order == row_major) {
      pack<tile_lines>(left_.get(), rows, lines, b);
      pack<tile_length>(right_.get(), cols, lanes, a);
    } else {
      pack<tile_lines>(left_.get(), cols, lines, a);
      pack<tile_length>(right_.get(), rows, lanes, b);
    }
    const Compute* of_lines = order == row_major ? form.row_gains() : form.column_gains();
    const Compute* of_positions = order == row_major ? form.column_gains() : form.row_gains();
    if (of_lines != nullptr) line_gains_ = GainArrays(of_lines, lines_, lines);
    if (of_positions != nullptr) position_gains_ = GainArrays(of_positions, length_, lanes);
  }

  /// The bytes of right factors that a line of blocks goes through.
  std::size_t line_bytes() const { return static_cast<std::size_t>(length_ * depth_) * sizeof(Compute); }

  /// Numbers of scratch memory that at() needs, on a 64-byte boundary.
  Index scratch_size() const { return form_->dense() == nullptr ? 0 : block_elements; }

  /// The factors of one block.
  BlockFactors<Compute> at(const Block& block, Compute* scratch) const {
    LORA_ASSERT(block.line % tile_lines == 0 && block.position % tile_length == 0);
    LORA_ASSERT(block.line + block.lines <= lines_ && block.position + block.length <= length_);
    BlockFactors<Compute> out{left_.get() + block.line * depth_, right_.get() + block.position * depth_, depth_, {}};
    out.extras.lines = line_gains_.view().from(block.line);
    out.extras.positions = position_gains_.view().from(block.position);
    out.extras.lines_first = order_ == column_major;
    if (form_->dense() != nullptr) {
      out.extras.dense = scratch;
      out.extras.dense_stride = padded(block.length, tile_length);
      pack_dense(block, out.extras.dense_stride, scratch);
    }
    return out;
  }

 private:
  /// Gains and divisors for whole tiles, in the order of lanes.
  struct GainArrays {
    AlignedArray<Compute> gains, divisors;

    GainArrays() = default;
    LORA_NOINLINE GainArrays(const Compute* values, Index size, const LaneOrder& order) {
      const Index all = padded(size, tile_length);
      gains = aligned_array<Compute>(static_cast<std::size_t>(all));
      divisors = aligned_array<Compute>(static_cast<std::size_t>(all));
      for (Index i = 0; i < all; ++i) {
        const Index to = i / tile_length * tile_length + order[static_cast<std::size_t>(i % tile_length)];
        gains[static_cast<std::size_t>(to)] = i < size ? values[i] : Compute{1};
        const bool zero = i < size && is_zero(values[i]);
        divisors[static_cast<std::size_t>(to)] = i >= size || zero ? Compute{1} : values[i];
      }
    }
    GainView<Compute> view() const { return {gains.get(), divisors.get()}; }
  };

  static constexpr LaneOrder natural_order() {
    LaneOrder order{};
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint8_t>(i);
    return order;
  }

  /// A form's factors by element, and where elements in the compute type lie one behind the other: 16 from a multiple of 16
  /// on, and any part of them.
  struct FactorA {
    const Form<Compute>& form;
    Compute operator()(Index j, Index k) const { return form.A(k, j); }
    const Compute* at(Index j, Index k) const { return form.A() + k * form.cols() + j; }
  };
  struct FactorB {
    const Form<Compute>& form;
    Compute operator()(Index i, Index k) const { return form.B(i, k); }
    const Compute* at(Index i, Index k) const {
      return form.B() + (i / epilogue_rows * form.depth() + k) * epilogue_rows + i % epilogue_rows;
    }
  };

  /// out[i / Unit][k][order[i % Unit]] = factor(i, k) for i < size, and 0 from there to the next multiple of Unit.
  template <Index Unit, class Factor>
  void pack(Compute* out, Index size, const LaneOrder& order, const Factor& factor) const {
    static_assert(Unit % epilogue_rows == 0 || epilogue_rows % Unit == 0);
    constexpr Index together = std::min(Unit, epilogue_rows);
    const LaneOrder natural = natural_order();
    const bool as_it_is = std::equal(order.begin(), order.begin() + Unit, natural.begin());
    const bool stored = form_->stored_kernels() != nullptr;
    for (Index begin = 0; begin < size; begin += Unit) {
      Compute* part = out + begin * depth_;
      const Index used = std::min(Unit, size - begin);
      for (Index k = 0; k < depth_; ++k, part += Unit) {
        if (used < Unit || stored) {
          for (Index i = 0; i < Unit; ++i)
            part[order[static_cast<std::size_t>(i)]] = i < used ? factor(begin + i, k) : Compute{0};
          continue;
        }
        for (Index i = 0; i < Unit; i += together) {
          const Compute* in = factor.at(begin + i, k);
          if (as_it_is)
            std::memcpy(part + i, in, static_cast<std::size_t>(together) * sizeof(Compute));
          else
            for (Index l = 0; l < together; ++l) part[order[static_cast<std::size_t>(i + l)]] = in[l];
        }
      }
    }
  }

  /// D's block, its lines filled up to whole tiles with zeros, in the order of lanes.
  LORA_NOINLINE void pack_dense(const Block& block, Index stride, Compute* out) const {
    const Index cols = form_->cols(), to_line = order_ == row_major ? cols : 1, to_position = order_ == row_major ? 1 : cols;
    const Compute* in = form_->dense() + block.line * to_line + block.position * to_position;
    std::memset(out, 0, static_cast<std::size_t>(padded(block.lines, tile_lines) * stride) * sizeof(Compute));
    for (Index i = 0; i < block.lines; ++i)
      for (Index j = 0; j < block.length; ++j)
        out[i * stride + j / tile_length * tile_length + lanes_[static_cast<std::size_t>(j % tile_length)]] =
            in[i * to_line + j * to_position];
  }

  const Form<Compute>* form_;
  StorageOrder order_;
  LaneOrder lanes_;
  Index lines_, length_, depth_;
  AlignedArray<Compute> left_, right_;
  GainArrays line_gains_, position_gains_;
};

LORA_TAGGED_END
