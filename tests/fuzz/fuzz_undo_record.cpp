// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Any bytes into UndoRecord::deserialize. What it accepts must serialise to the same bytes, and be applied to a weight
// of its shape without leaving either one's memory, by every instruction set with the same result.

#include "fuzz/fuzz.hpp"

#include "exact/record_bytes.hpp"
#include "lora/kernel/block_kernels.hpp"
#include "lora/kernel/merge_factors.hpp"

#include <memory>

namespace {

using fuzz::require;
using lora::Index;
using lora::UndoRecord;
using lora::detail::Block;
using lora::detail::BlockEntry;
using lora::detail::UndoRecordAccess;

constexpr Index largest_applied = 1 << 16;

/// A low-rank part, a dense one where there are gains, and the record's first gains, tame: with others no merge gives a weight
/// of small numbers, and of a candidate that is NaN the format says nothing.
template <class Compute>
lora::Form<Compute> form_of(const UndoRecord& record) {
  const lora::Matrix<Compute> b = lora::Matrix<Compute>::Constant(record.rows(), 1, Compute{0.75f});
  const lora::Matrix<Compute> a = lora::Matrix<Compute>::Constant(1, record.cols(), Compute{-0.3f});
  lora::FormBuilder<Compute> builder(record.rows(), record.cols(), nullptr, {});
  builder.add_low_rank(1.0, b, a);
  std::span<const lora::detail::RecordedGains> all = UndoRecordAccess::gains(record);
  all = all.first(std::min<std::size_t>(all.size(), 4));
  if (!all.empty())
    builder.add_dense(1.0, lora::Matrix<Compute>::Constant(record.rows(), record.cols(), Compute{0.01f}).eval());
  for (const lora::detail::RecordedGains& gains : all) {
    lora::Matrix<Compute> values(static_cast<Index>(gains.values.size() / sizeof(Compute)), 1);
    if (!gains.values.empty()) std::memcpy(values.data(), gains.values.data(), gains.values.size());
    for (Compute& value : values.reshaped())
      if (!(std::abs(value) < Compute{256} && (std::abs(value) > Compute{1} / 256 || lora::detail::is_zero(value))))
        value = 1;
    if (gains.axis == 0)
      builder.scale_rows(lora::view_of(values));
    else
      builder.scale_columns(lora::view_of(values));
  }
  return builder.take();
}

/// What unmerging all blocks makes of a weight of small numbers, in memory of exactly its size.
template <class T>
std::unique_ptr<T[]> apply(const UndoRecord& record, const lora::detail::TileKernels<T>& tiles,
                           const lora::detail::UnmergeKernels<T>& kernels, const lora::detail::TileCodec& codec) {
  using Compute = lora::compute_t<T>;
  const bool by_rows = record.order() == lora::row_major;
  const Index lines = by_rows ? record.rows() : record.cols(), length = by_rows ? record.cols() : record.rows();
  const auto size = static_cast<std::size_t>(lines * length);
  std::unique_ptr<T[]> w(new T[size]);
  for (std::size_t i = 0; i < size; ++i)
    w[i] = lora::detail::narrow<T>(static_cast<Compute>(static_cast<int>(i * 37 % 101) - 50) / Compute{16});

  const lora::Form<Compute> form = form_of<Compute>(record);
  const lora::detail::MergeFactors<Compute> packed(form, record.rows(), record.cols(), record.order(), *tiles.order);
  const auto scratch = lora::detail::aligned_array<Compute>(static_cast<std::size_t>(packed.scratch_size()));

  const lora::detail::BlockGrid grid(lines, length);
  const std::span<const BlockEntry> entries = UndoRecordAccess::entries(record);
  for (Index i = 0; i < grid.count(); ++i) {
    const Block block = grid[i];
    const BlockEntry& entry = entries[static_cast<std::size_t>(i)];
    if (!entry.raw)
      lora::detail::BlockKernels<T>(tiles, nullptr)
          .unmerge({w.get() + block.line * length + block.position, length, block.lines, block.length, 0},
                   packed.at(block, scratch.get()), lora::detail::view_payload(entry.payload, block), kernels, codec);
  }
  return w;
}

/// By every instruction set that the machine has.
template <class T>
void apply_everywhere(const UndoRecord& record) {
  namespace detail = lora::detail;
  using Compute = lora::compute_t<T>;
  const auto size = static_cast<std::size_t>(record.rows() * record.cols()) * sizeof(T);
  const auto apply_with = [&](const detail::TileKernels<T>& tiles, detail::UnmergeKernels<T> kernels,
                              const detail::TileSteps<Compute>& gains, const detail::TileCodec& codec) {
    if (!UndoRecordAccess::gains(record).empty()) {
      kernels.row = nullptr;
      kernels.step = kernels.gains_step;
      if constexpr (std::is_same_v<T, Compute>) kernels.step = gains.unmerge;
    }
    return apply<T>(record, tiles, kernels, codec);
  };
  const std::unique_ptr<T[]> expected =
      apply_with(detail::portable::tile_kernels<T>(), detail::portable::unmerge_kernels<T>(),
                 detail::portable::gains_steps<Compute>(), {nullptr, nullptr, detail::portable::unpack_tiles});
  const auto compare = [&](const std::unique_ptr<T[]>& found) {
    require(std::memcmp(expected.get(), found.get(), size) == 0, "instruction sets disagree");
  };
#if LORA_TARGETS_X86
  const detail::TileCodec avx2{nullptr, nullptr, detail::avx2::unpack_tiles};
  const detail::TileCodec vbmi2{nullptr, nullptr, detail::avx512_vbmi2::unpack_tiles};
  const auto with_avx512 = [&](const detail::TileCodec& codec) {
    return apply_with(detail::avx512::tile_kernels<T>(), detail::avx512::unmerge_kernels<T>(),
                      detail::avx512::gains_steps<Compute>(), codec);
  };
  if (detail::machine_isa() >= lora::Isa::avx2)
    compare(apply_with(detail::avx2::tile_kernels<T>(), detail::avx2::unmerge_kernels<T>(),
                       detail::avx2::gains_steps<Compute>(), avx2));
  if (detail::machine_isa() >= lora::Isa::avx512) compare(with_avx512(avx2));
  if (detail::machine_has_vbmi2()) compare(with_avx512(vbmi2));
#elif LORA_TARGETS_NEON
  compare(apply_with(detail::neon::tile_kernels<T>(), detail::neon::unmerge_kernels<T>(),
                     detail::neon::gains_steps<Compute>(), {nullptr, nullptr, detail::neon::unpack_tiles}));
#else
  static_cast<void>(compare);
#endif
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // In memory of its own, so that reading beyond the end is seen.
  const std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data),
                                     reinterpret_cast<const std::byte*>(data) + size);
  UndoRecord record;
  try {
    record = UndoRecord::deserialize(bytes);
  } catch (const lora::RecordError&) {
    return 0;
  }
  require(record.size_bytes() == size && record.serialize() == bytes, "an accepted record serialises to other bytes");
  const UndoRecord copy = record;
  require(copy.serialize() == bytes, "a copy serialises to other bytes");
  if (record.rows() > largest_applied || record.cols() > largest_applied ||
      record.rows() * record.cols() > largest_applied)
    return 0;
  switch (copy.type()) {
    case lora::ScalarType::half: apply_everywhere<Eigen::half>(copy); break;
    case lora::ScalarType::bfloat16: apply_everywhere<Eigen::bfloat16>(copy); break;
    case lora::ScalarType::float32: apply_everywhere<float>(copy); break;
    case lora::ScalarType::float64: apply_everywhere<double>(copy); break;
  }
  return 0;
}

/// libFuzzer's own mutation, then mostly checksums that fit, and often sizes.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t capacity,
                                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, capacity);
  if (seed % 16 != 0) lora_test::repair({reinterpret_cast<std::byte*>(data), size}, seed % 16 < 8);
  return size;
}
