// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The kernels for one block of a weight: its tiles in order.

#include "lora/exact/tile_codec.hpp"
#include "lora/kernel/extras_kernels.hpp"
#include "lora/kernel/fixup.hpp"

LORA_TAGGED_BEGIN

/// Calls work(row, line, position) for the block's tiles in order, some of them at a time.
template <class T, class Work>
LORA_INLINE void for_rows(const WeightBlock<T>& block, const Work& work) {
  for (Index line = 0; line < block.lines; line += tile_lines) {
    const Index lines = block.lines - line, whole = lines >= tile_lines ? block.length / tile_length * tile_length : 0;
    const Index below = lines + block.lines_below >= 2 * tile_lines ? tile_lines * block.stride : 0;
    T* data = block.data + line * block.stride;
    for (Index position = 0; position < whole; position += row_tiles * tile_length) {
      const Index count = std::min(row_tiles, (whole - position) / tile_length);
      work(TileRow<T>{data + position, block.stride, count, tile_lines, tile_length, below}, line, position);
    }
    for (Index position = whole; position < block.length; position += tile_length) {
      EdgeTile<T> edge(data + position, block.stride, lines, block.length - position);
      work(edge.row(), line, position);
      edge.write_back();
    }
  }
}

template <class T>
class BlockKernels {
 public:
  using Compute = compute_t<T>;
  using Weight = WeightBlock<T>;
  using Factors = BlockFactors<Compute>;

  /// For a set of this form.
  explicit BlockKernels(const Form<Compute>& form) : BlockKernels(tile_kernels<T>(), form.extras_kernels()) {}
  BlockKernels(const TileKernels<T>& tiles, const ExtrasKernels<Compute>* extras) : tiles_(tiles), extras_(extras) {}

  /// The order of lanes that the factors are packed in.
  const LaneOrder& order() const { return *tiles_.order; }

  /// W' = round(W0 + delta).
  LORA_NOINLINE void add(const Weight& w, const Factors& factors) const {
    const AddKernels<T> kernels = with_extras(add_kernels<T>(), &TileSteps<Compute>::add);
    RowCopy old;
    for_rows<T>(w, [&](const TileRow<T>& row, Index line, Index position) {
      const TileFactors<Compute> own = factors.tiles(line, position);
      const unsigned nonfinite =
          kernels.row == nullptr ? add_by_steps(kernels, row, own, old.data()) : kernels.row(row, own, old.data());
      if (nonfinite != 0) [[unlikely]]
        fixup_added(row, own, old.data(), nonfinite);
    });
  }

  /// The same, and what gives W0 back, through the cursors.
  LORA_NOINLINE void merge(const Weight& w, const Factors& factors, PayloadCursors& out) const {
    const MergeKernels<T> kernels = with_extras(merge_kernels<T>(), &TileSteps<Compute>::merge);
    const TileCodec codec = tile_codec();
    for_rows<T>(w, [&](const TileRow<T>& row, Index line, Index position) {
      merge_row(kernels, codec, row, factors.tiles(line, position), out);
    });
  }

  /// W0 out of W' and the payload.
  void unmerge(const Weight& w, const Factors& factors, PayloadView in) const {
    unmerge(w, factors, in, with_extras(unmerge_kernels<T>(), &TileSteps<Compute>::unmerge), tile_codec());
  }
  /// With these kernels.
  LORA_NOINLINE void unmerge(const Weight& w, const Factors& factors, PayloadView in, const UnmergeKernels<T>& kernels,
                             const TileCodec& codec) const {
    for_rows<T>(w, [&](const TileRow<T>& row, Index line, Index position) {
      unmerge_row(kernels, codec, row, factors.tiles(line, position), in);
    });
  }

  /// delta itself, over what was there; a NaN (of factors that overflow) is the canonical one.
  LORA_NOINLINE void write_delta(const Weight& w, const Factors& factors) const requires(std::is_same_v<T, Compute>) {
    for_rows<T>(w, [&](const TileRow<T>& row, Index line, Index position) {
      for (Index c = 0; c < row.count; ++c) {
        const TileDelta<T> delta = delta_of(factors.tiles(line, position).tile(c));
        for (Index i = 0; i < tile_lines; ++i)
          for (Index j = 0; j < tile_length; ++j)  // lanes are positions here
            row.data[i * row.stride + c * tile_length + j] = narrow<T>(delta.lanes[i * tile_length + j]);
      }
    });
  }

 private:
  static constexpr Index row_elements = row_tiles * tile_elements;

  /// Room for a row's elements, as it comes: half and bfloat16 would be set to zero, for each row anew.
  struct RowCopy {
    T* data() { return reinterpret_cast<T*>(bytes); }
    alignas(64) unsigned char bytes[row_elements * sizeof(T)];
  };

  /// The kernels, or the steps that the form needs instead.
  template <class Kernels, class Step>
  Kernels with_extras(Kernels kernels, Step TileSteps<Compute>::*step) const {
    if (extras_ == nullptr) return kernels;
    kernels.row = nullptr;
    if constexpr (std::is_same_v<T, Compute>)
      kernels.step = extras_->steps().*step;
    else
      kernels.step = kernels.gains_step;
    return kernels;
  }

  /// Calls step(i, tile, its extras, its delta) for each tile of a row.
  template <class Step>
  LORA_INLINE void for_tiles(const TileRow<T>& row, const TileFactors<Compute>& factors, const Step& step) const {
    alignas(64) Compute delta[tile_elements];
    for (Index i = 0; i < row.count; ++i) {
      const TileFactors<Compute> own = factors.tile(i);
      const TileRow<T> tile = row.tile(i);
      prefetch_below(tile.data, row.stride, row.below);
      tiles_.delta(own, delta);
      step(i, tile, own.extras, delta);
    }
  }
  LORA_NOINLINE unsigned add_by_steps(const AddKernels<T>& kernels, const TileRow<T>& row,
                                      const TileFactors<Compute>& factors, T* old) const {
    unsigned nonfinite = 0;
    for_tiles(row, factors,
              [&](Index i, const TileRow<T>& tile, const TileExtras<Compute>& extras, const Compute* delta) {
                nonfinite |= static_cast<unsigned>(kernels.step(tile, extras, delta, old + i * tile_elements)) << i;
              });
    return nonfinite;
  }
  LORA_NOINLINE Doubts merge_by_steps(const MergeKernels<T>& kernels, const TileRow<T>& row,
                                      const TileFactors<Compute>& factors, T* old, std::int8_t* distances) const {
    Doubts doubts{0, 0};
    for_tiles(
        row, factors, [&](Index i, const TileRow<T>& tile, const TileExtras<Compute>& extras, const Compute* delta) {
          const Doubts own = kernels.step(tile, extras, delta, old + i * tile_elements, distances + i * tile_elements);
          doubts.nonfinite |= own.nonfinite << i;
          doubts.extreme |= own.extreme << i;
        });
    return doubts;
  }
  LORA_NOINLINE void unmerge_by_steps(const UnmergeKernels<T>& kernels, const TileRow<T>& row,
                                      const TileFactors<Compute>& factors, const std::int8_t* distances) const {
    for_tiles(row, factors,
              [&](Index i, const TileRow<T>& tile, const TileExtras<Compute>& extras, const Compute* delta) {
                kernels.step(tile, extras, delta, distances + i * tile_elements);
              });
  }

  LORA_NOINLINE TileDelta<T> delta_of(const TileFactors<Compute>& factors) const {
    TileDelta<T> delta;
    tiles_.delta(factors, delta.lanes);
    delta.order = tiles_.order;
    delta.extras = factors.extras;
    return delta;
  }
  LORA_NOINLINE void fixup_added(const TileRow<T>& row, const TileFactors<Compute>& factors, const T* old,
                                 unsigned tiles) const {
    for (; tiles != 0; tiles &= tiles - 1) {
      const Index i = std::countr_zero(tiles);
      fixup_sums(row.tile(i), old + i * tile_elements, delta_of(factors.tile(i)));
    }
  }
  LORA_NOINLINE void fixup_merged(const TileRow<T>& row, const TileFactors<Compute>& factors, const T* old,
                                  std::int8_t* distances, const Doubts& doubts, const TileCodec& codec,
                                  unsigned char*& raw) const {
    for (unsigned tiles = doubts.nonfinite | doubts.extreme; tiles != 0; tiles &= tiles - 1) {
      const Index i = std::countr_zero(tiles);
      std::uint16_t extreme[tile_groups];
      codec.extreme(distances + i * tile_elements, extreme);
      fixup_changes(row.tile(i), old + i * tile_elements, delta_of(factors.tile(i)), (doubts.nonfinite >> i & 1u) != 0,
                    extreme, distances + i * tile_elements, raw);
    }
  }
  LORA_NOINLINE static void load_escaped_of(const TileRow<T>& row, const std::int8_t* distances, unsigned tiles,
                                            const unsigned char*& raw) {
    for (; tiles != 0; tiles &= tiles - 1) {
      const Index i = std::countr_zero(tiles);
      load_escaped(row.tile(i), distances + i * tile_elements, raw);
    }
  }
  /// Behind the weight's edge a gain may have turned a +0 into -0.
  LORA_NOINLINE static void clear_outside(const TileRow<T>& tile, std::int8_t* distances) {
    for (Index i = 0; i < tile_lines; ++i)
      for (Index j = i < tile.lines ? tile.length : 0; j < tile_length; ++j) distances[i * tile_length + j] = 0;
  }
  LORA_INLINE void merge_row(const MergeKernels<T>& kernels, const TileCodec& codec, const TileRow<T>& row,
                             const TileFactors<Compute>& factors, PayloadCursors& out) const {
    RowCopy old;
    alignas(64) std::int8_t distances[row_elements];
    const Doubts doubts = kernels.row == nullptr ? merge_by_steps(kernels, row, factors, old.data(), distances)
                                                 : kernels.row(row, factors, old.data(), distances);
    if ((doubts.nonfinite | doubts.extreme) != 0) [[unlikely]]
      fixup_merged(row, factors, old.data(), distances, doubts, codec, out.raw);
    if (row.lines < tile_lines || row.length < tile_length) clear_outside(row, distances);
    codec.pack(distances, row.count, out);
  }
  LORA_INLINE void unmerge_row(const UnmergeKernels<T>& kernels, const TileCodec& codec, const TileRow<T>& row,
                               const TileFactors<Compute>& factors, PayloadView& in) const {
    alignas(64) std::int8_t distances[row_elements];
    const unsigned escaped = codec.unpack(in, row.count, distances);
    if (kernels.row == nullptr)
      unmerge_by_steps(kernels, row, factors, distances);
    else
      kernels.row(row, factors, distances);
    if (escaped != 0) [[unlikely]]
      load_escaped_of(row, distances, escaped, in.raw);
  }

  TileKernels<T> tiles_;
  const ExtrasKernels<Compute>* extras_;
};

LORA_TAGGED_END
