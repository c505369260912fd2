// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The SVD of a matrix that is made a few rows at a time. For bodies (-inl.hpp).

#include "lora/compose/random_stream.hpp"
#include "lora/compose/spectral.hpp"
#include "lora/core/function_ref.hpp"
#include "lora/core/matrix.hpp"
#include "lora/update/factors.hpp"

#include <tuple>

LORA_TAGGED_BEGIN

/// Row i of a matrix. Throws ValueError when it is not finite.
inline void read_finite_row(const char* what, const MatrixView& matrix, Index i, double* out) {
  read_row(matrix, i, out);
  expect_finite_row(what, out, matrix.cols, i);
}

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

/// The block Krylov space of M^T M from a random block: V spans the leading right singular vectors better with every
/// step, which makes all of M once; then M V = U S W^T gives U, S and V W (Golub & Underwood's block Lanczos, 1977,
/// with full orthogonalisation; Musco & Musco, "Randomized Block Krylov Methods", 2015).
template <class = void>
class KrylovSpace {
 public:
  KrylovSpace(const RowMatrix& M, Index block) : M_(M), basis_(M.cols), next_(M.cols, block) {
    const RandomStream random(0, 0);
    for (Index i = 0; i < next_.size(); ++i) next_.data()[i] = random.uniform(static_cast<std::uint64_t>(i)) - 0.5;
  }

  /// The squares of the singular values of M in the space, from the largest on: each grows towards that of M.
  const Eigen::VectorXd& step() {
    const Index grown = basis_.add(next_), size = basis_.all().cols();
    if (grown > 0) {
      const ColumnMatrix fresh = basis_.all().rightCols(grown);
      next_ = ColumnMatrix::Zero(M_.cols, grown);
      squares_ = 0;
      M_.for_blocks([&](Index, const ColumnMatrix& block) {
        next_ += product(block, transposed_product(block, fresh));
        squares_ += block.squaredNorm();
      });
      const ColumnMatrix border = transposed_product(basis_.all(), next_);
      gram_.conservativeResize(size, size);
      gram_.rightCols(grown) = border;
      gram_.bottomRows(grown) = border.transpose();
      ritz_ = spectrum_of(gram_);
    }
    return ritz_.s;
  }

  Index size() const { return basis_.all().cols(); }

  /// The sum of squares of all elements, after a step.
  double squares() const { return squares_; }

  /// Of M in the first `count` directions of the space. Makes M once more.
  Spectrum spectrum(Index count) const {
    const ColumnMatrix V = product(basis_.all(), ritz_.U.leftCols(std::min(count, size())));
    ColumnMatrix Y(M_.rows, V.cols());
    M_.for_blocks([&](Index first, const ColumnMatrix& block) {
      Y.middleRows(first, block.cols()) = transposed_product(block, V);
    });
    Spectrum out = spectrum_of(Y);
    out.V = product(V, out.V);
    return out;
  }

 private:
  const RowMatrix& M_;
  GrowingBasis<> basis_;
  ColumnMatrix next_, gram_;  // gram_: of M times the basis
  Spectrum ritz_;
  double squares_ = 0;
};

/// The sizes that Krylov spaces for `wanted` singular vectors grow by, and up to.
inline Index krylov_block(Index wanted, Index least) { return std::min(least, wanted + 8); }
inline Index krylov_limit(Index block) { return std::max<Index>(512, 8 * block); }

/// The most memory that truncated_svd() takes, about, in bytes. Of a whole matrix: itself, its block of rows, the
/// reflections and U where it is long, else all that its SVD needs. Of a Krylov space: the basis, twice while it grows, the
/// next block and its image, the result's vectors, the Gram matrix with its SVD, and a block of rows.
inline std::uint64_t svd_bytes(Index rows, Index cols, const compose::Truncation& truncation) {
  constexpr Index of_svd = 9;  // matrices of its size, as measured
  const Index least = std::min(rows, cols), size = rows * cols;
  const Index largest =
      truncation.rule() == compose::Truncation::Rule::none ? least : std::min(truncation.rank(), least);
  Index doubles = 0;
  if (least <= whole_svd_limit || largest > least / 2) {
    doubles = (std::max(rows, cols) > 2 * least ? 4 : of_svd) * size;
  } else {
    const Index block = krylov_block(largest, least), most = std::min(krylov_limit(block), least);
    doubles =
        cols * (2 * most + 3 * block) + 3 * rows * block + (1 + of_svd) * most * most + std::min(size, Index{1} << 20);
  }
  return sizeof(double) * static_cast<std::uint64_t>(doubles);
}

/// Of the first `count` numbers, or of all.
inline double leading_sum(const Eigen::VectorXd& numbers, Index count) {
  return numbers.head(std::min(count, numbers.size())).sum();
}

/// As few of the first squares as have the sum `enough`, `most` at most, and whether they have it.
inline std::pair<Index, bool> count_of_energy(const Eigen::VectorXd& squares, Index most, double enough) {
  double sum = 0;
  Index count = 0;
  while (sum < enough && count < std::min(most, squares.size())) sum += squares(count++);
  return {std::max<Index>(count, 1), sum >= enough};
}

/// The leading part of a matrix's SVD, as much as a truncation wants. Of a matrix with more than whole_svd_limit rows
/// and columns in a Krylov space, until another pass over M takes less than 1e-6 off the square of the error; the error
/// that is told is that of the result.
template <class = void>
LORA_NOINLINE TruncatedSpectrum truncated_svd(const RowMatrix& M, const compose::Truncation& truncation) {
  using Rule = compose::Truncation::Rule;
  const Index least = std::min(M.rows, M.cols);
  const bool by_energy = truncation.rule() == Rule::energy;
  const auto decompose_whole = [&] {
    ColumnMatrix whole(M.rows, M.cols);
    M.for_blocks(
        [&](Index first, const ColumnMatrix& block) { whole.middleRows(first, block.cols()) = block.transpose(); });
    return truncated(spectrum_of(whole), truncation, M.rows, M.cols);
  };
  if (least <= whole_svd_limit || truncation.rule() == Rule::none || (!by_energy && truncation.rank() > least / 2))
    return decompose_whole();
  const Index largest = std::min(truncation.rank(), least);
  for (Index wanted = by_energy ? std::min<Index>(64, largest) : largest;; wanted = std::min(2 * wanted, largest)) {
    if (wanted > least / 2) return decompose_whole();
    const Index block = krylov_block(wanted, least), most = krylov_limit(block);
    KrylovSpace<> space(M, block);
    Eigen::VectorXd now = space.step(), before = Eigen::VectorXd::Zero(now.size());
    const double squares = space.squares();
    // So many as hold the energy; a space that is too small for it is given up sooner.
    Index count = wanted;
    bool is_enough = true;
    const auto goes_on = [&] {
      if (by_energy) std::tie(count, is_enough) = count_of_energy(now, wanted, truncation.energy() * squares);
      const double found = leading_sum(now, count);
      return found - leading_sum(before, count) > (is_enough ? 1e-6 : 1e-3) * std::max(squares - found, 0.0);
    };
    while (goes_on() && space.size() + block <= most) {
      before = std::move(now);
      now = space.step();
    }
    if (!is_enough && wanted < largest) continue;
    Spectrum spectrum = space.spectrum(count);
    spectrum.keep(kept_count(spectrum.s, truncation, M.rows, M.cols, squares));
    const double rest = std::max(squares - spectrum.s.squaredNorm(), 0.0);
    return {std::move(spectrum), std::sqrt(squares), std::sqrt(rest)};
  }
}

LORA_TAGGED_END
