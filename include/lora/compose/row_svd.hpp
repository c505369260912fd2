// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The SVD of a matrix that is made a few rows at a time. For bodies (-inl.hpp).

#include "lora/compose/random_stream.hpp"
#include "lora/compose/spectral.hpp"
#include "lora/core/function_ref.hpp"

LORA_TAGGED_BEGIN

/// `fill` makes rows first ... first + count - 1, row-major without gaps.
struct RowMatrix {
  Index rows, cols;
  FunctionRef<void(Index first, Index count, double* out)> fill;

  /// Calls use(first, block) for blocks of rows in order; the columns of a block are the rows.
  template <class Use>
  void for_blocks(const Use& use) const {
    const Index most = std::clamp<Index>((Index{1} << 20) / cols, 1, rows);
    ColumnMatrix block;
    for (Index first = 0; first < rows; first += most) {
      block.resize(cols, std::min(most, rows - first));
      fill(first, block.cols(), block.data());
      use(first, block);
    }
  }
};

/// Of a matrix one of whose sides has at most so many elements the whole SVD is made.
inline constexpr Index whole_svd_limit = 512;

/// Block subspace iteration with `size` columns: V spans the leading right singular vectors when this has been called
/// often enough; then M V = U S W^T gives U, S and V W (Halko, Martinsson & Tropp, "Finding Structure with Randomness",
/// 2011, algorithm 4.4). Each call of step() makes all of M once.
template <class = void>
class SubspaceIteration {
 public:
  SubspaceIteration(const RowMatrix& M, Index size) : M_(M), Z_(M.cols, size) {
    const RandomStream random(0, 0);
    for (Index i = 0; i < Z_.size(); ++i) Z_.data()[i] = random.uniform(static_cast<std::uint64_t>(i)) - 0.5;
  }

  /// Returns the sum of squares of the first `count` singular values of M V: it grows towards that of M.
  double step(Index count) {
    const OrthonormalBasis<> basis(Z_);
    V_ = basis.times(ColumnMatrix::Identity(basis.depth(), basis.depth()));
    Y_.resize(M_.rows, V_.cols());
    Z_ = ColumnMatrix::Zero(M_.cols, V_.cols());
    squares_ = 0;
    M_.for_blocks([&](Index first, const ColumnMatrix& block) {
      const ColumnMatrix Y = transposed_product(block, V_);
      Y_.middleRows(first, Y.rows()) = Y;
      Z_ += product(block, Y);
      squares_ += block.squaredNorm();
    });
    spectrum_ = spectrum_of(Y_);
    const double norm = spectrum_.s.head(std::min(count, spectrum_.size())).norm();
    return norm * norm;
  }

  /// The sum of squares of all elements, after a step.
  double squares() const { return squares_; }

  /// Of M V V^T.
  Spectrum spectrum() const { return {spectrum_.U, spectrum_.s, product(V_, spectrum_.V)}; }

 private:
  const RowMatrix& M_;
  ColumnMatrix Z_, V_, Y_;
  Spectrum spectrum_;
  double squares_ = 0;
};

/// The leading part of a matrix's SVD, as much as a truncation wants. Of a matrix with more than whole_svd_limit rows
/// and columns by iteration, until another pass over M takes less than 1e-6 off the square of the error; the error that
/// is told is that of the result.
template <class = void>
LORA_NOINLINE TruncatedSpectrum truncated_svd(const RowMatrix& M, const compose::Truncation& truncation) {
  using Rule = compose::Truncation::Rule;
  const Index least = std::min(M.rows, M.cols);
  const bool by_energy = truncation.rule() == Rule::energy;
  if (least <= whole_svd_limit || truncation.rule() == Rule::none || 2 * truncation.rank() > least) {
    ColumnMatrix whole(M.rows, M.cols);
    M.for_blocks(
        [&](Index first, const ColumnMatrix& block) { whole.middleRows(first, block.cols()) = block.transpose(); });
    return truncated(spectrum_of(whole), truncation, M.rows, M.cols);
  }
  for (Index wanted = by_energy ? 64 : truncation.rank();; wanted *= 2) {
    const Index size = std::min(least, wanted + std::max<Index>(16, wanted / 2));
    SubspaceIteration<> iteration(M, size);
    double before = 0, found = iteration.step(wanted);
    const double squares = iteration.squares(), enough = by_energy ? truncation.energy() * squares : squares;
    // A subspace that is too small for the energy is given up sooner.
    const auto goes_on = [&] {
      return found - before > (found < enough && by_energy ? 1e-3 : 1e-6) * (squares - found);
    };
    for (int passes = 1; passes < 60 && size < least && goes_on(); ++passes) {
      before = found;
      found = iteration.step(wanted);
    }
    if (by_energy && found < enough && size < least) continue;
    Spectrum spectrum = iteration.spectrum();
    Index count = std::min(wanted, spectrum.size());
    if (by_energy) {
      double sum = 0;
      for (count = 0; count < spectrum.size() && (count == 0 || sum < enough); ++count)
        sum += spectrum.s(count) * spectrum.s(count);
    }
    spectrum.keep(count);
    const double rest = std::max(squares - spectrum.s.squaredNorm(), 0.0);
    return {std::move(spectrum), std::sqrt(squares), std::sqrt(rest)};
  }
}

LORA_TAGGED_END
