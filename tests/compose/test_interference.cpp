// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// Measures from the factors, against those of whole matrices.

#include "compose/dense.hpp"
#include "reference/expect.hpp"

namespace {

using namespace dense;

/// Bound for a number that belongs to a matrix of this norm.
double near(double norm) { return 1e-12 * (norm + 1e-300); }

TEST(Interference, IsThatOfTheWholeDeltas) {
  const Set set = gaussian(1, 30, 26, {4, 2, 5}, {0.7, -0.4, 1.5});
  const auto found = compose::interference<double>(set);
  std::vector<Doubles> D;
  for (std::size_t t = 0; t < 3; ++t) D.push_back(set.updates()[t].coefficient * delta(set, t));
  ASSERT_EQ(found.updates.size(), 3u);
  ASSERT_EQ(found.pairs.size(), 3u);
  std::vector<Svd> spectra;
  for (std::size_t t = 0; t < 3; ++t) {
    const Svd all = svd(D[t]);
    EXPECT_EQ(found.updates[t].rank, rank(all.s));
    EXPECT_NEAR(found.updates[t].norm, D[t].norm(), near(D[t].norm()));
    EXPECT_NEAR(found.updates[t].spectral_norm, all.s(0), near(D[t].norm()));
    EXPECT_NEAR(found.updates[t].stable_rank, all.s.squaredNorm() / (all.s(0) * all.s(0)), 1e-12 * 26);
    spectra.push_back(first(all, rank(all.s)));
  }
  for (const auto& pair : found.pairs) {
    const Doubles &a = D[pair.first], &b = D[pair.second];
    EXPECT_LT(pair.first, pair.second);
    EXPECT_NEAR(pair.inner_product, a.cwiseProduct(b).sum(), near(a.norm() * b.norm()));
    EXPECT_NEAR(pair.cosine, a.cwiseProduct(b).sum() / (a.norm() * b.norm()), 1e-12);
    const Vector columns = svd(spectra[pair.first].U.transpose() * spectra[pair.second].U).s,
                 rows = svd(spectra[pair.first].V.transpose() * spectra[pair.second].V).s;
    ASSERT_EQ(pair.column_cosines.size(), static_cast<std::size_t>(columns.size()));
    for (Index i = 0; i < columns.size(); ++i) {
      EXPECT_NEAR(pair.column_cosines[static_cast<std::size_t>(i)], columns(i), 1e-10);
      EXPECT_NEAR(pair.row_cosines[static_cast<std::size_t>(i)], rows(i), 1e-10);
    }
  }
  EXPECT_NEAR(found.sum.norm, sum(set).norm(), near(sum(set).norm()));
  EXPECT_EQ(found.sum.rank, 11);
  EXPECT_EQ(found.weight_norm, 0.0);
  EXPECT_EQ(found.intruders, 0);
}

TEST(Interference, OfAnUpdateWithItselfAndWithNothing) {
  const Set one = gaussian(2, 12, 10, {3}, {1.0});
  const lora::LowRank<double> zero(lora::Matrix<double>::Zero(12, 2), lora::Matrix<double>::Zero(2, 10),
                                   lora::scaling::fixed(1));
  const auto found = compose::interference<double>({one.updates()[0], {one.updates()[0].update, -2.0}, {zero, 1.0}});
  EXPECT_NEAR(found.pairs[0].cosine, -1.0, 1e-12);
  for (const double cosine : found.pairs[0].column_cosines) EXPECT_NEAR(cosine, 1.0, 1e-12);
  EXPECT_EQ(found.updates[2].rank, 0);
  EXPECT_EQ(found.updates[2].stable_rank, 0.0);
  EXPECT_EQ(found.pairs[1].cosine, 0.0);
  EXPECT_TRUE(found.pairs[1].row_cosines.empty());
}

TEST(Interference, CountsDirectionsThatAreStrongerThanTheWeight) {
  reference::Random random(3);
  const lora::Matrix<float> W0 = reference::gaussian<float>(random, 60, 50);
  lora::Matrix<float> B = lora::Matrix<float>::Zero(60, 3), A = lora::Matrix<float>::Zero(3, 50);
  B(0, 0) = B(1, 1) = B(2, 2) = A(0, 0) = A(1, 1) = 1;
  A(2, 2) = 0.01f;
  const lora::LowRank<float> update(B, A, lora::scaling::fixed(40));
  const auto found = compose::interference<float>(update, W0);
  const Svd all = svd(W0.cast<double>());
  EXPECT_NEAR(found.weight_norm, all.s.norm(), 1e-10 * all.s.norm());
  EXPECT_LE(found.weight_spectral_norm, all.s(0) * (1 + 1e-12));
  EXPECT_GE(found.weight_spectral_norm, all.s(0) * (1 - 1e-3));
  EXPECT_EQ(found.intruders, 2);
  EXPECT_EQ(compose::interference<float>({{update, 0.01}}, lora::Matrix<float, lora::column_major>(W0)).intruders, 0);
  EXPECT_THROW((void)compose::interference<float>(update, lora::Matrix<float>(W0.transpose())), lora::ShapeError);
}

TEST(Interference, NamesThePlaceThatIsNotFinite) {
  const Set set = gaussian(5, 6, 4, {2}, {1.0});
  lora::Matrix<float> W0 = lora::Matrix<float>::Ones(6, 4);
  W0(4, 3) = std::numeric_limits<float>::quiet_NaN();
  const std::string message =
      reference::message_of<lora::ValueError>([&] { (void)compose::interference<double>(set, W0); });
  EXPECT_NE(message.find("interference: W0: expected finite numbers, found NaN at (4, 3)"), std::string::npos) << message;
}

TEST(OutputChange, IsThatOfTheWholeDeltas) {
  const Set set = gaussian(6, 20, 12, {3, 5, 1}, {0.7, -0.4, 0.0});
  reference::Random random(7);
  const lora::Matrix<double> first = reference::gaussian<double>(random, 12, 9);
  const lora::Matrix<float, lora::column_major> second = reference::gaussian<float>(random, 12, 4);
  const auto found = compose::output_change<double>(set, std::vector{lora::view_of(first), lora::view_of(second), lora::view_of(first)});
  const std::vector<Doubles> X{first, second.cast<double>(), first};
  Doubles norms(3, 3);
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      const Index a = static_cast<Index>(i), b = static_cast<Index>(j);
      norms(a, b) = (set.updates()[i].coefficient * delta(set, i) * X[j]).norm();
      EXPECT_NEAR(found.norm(i, j), norms(a, b), 1e-12 * (norms(a, b) + 1e-300));
    }
  EXPECT_NEAR(found.relative(0, 1), norms(0, 1) / norms(1, 1), 1e-12);
  EXPECT_NEAR(found.relative(1, 0), norms(1, 0) / norms(0, 0), 1e-12);
  EXPECT_EQ(found.relative(0, 0), 1.0);
  EXPECT_EQ(found.relative(0, 2), 0.0);  // the third does nothing
  EXPECT_EQ(found.relative(2, 0), 0.0);
}

TEST(OutputChange, RefusesInputsThatDoNotFit) {
  const Set set = gaussian(8, 5, 4, {2, 2}, {1.0, 1.0});
  lora::Matrix<double> X = lora::Matrix<double>::Ones(4, 3);
  const lora::Matrix<double> other = lora::Matrix<double>::Ones(3, 4), none(4, 0);
  const auto change = [&](const lora::Matrix<double>& second) {
    (void)compose::output_change<double>(set, std::vector{lora::view_of(X), lora::view_of(second)});
  };
  change(X);
  EXPECT_THROW((void)compose::output_change<double>(set, std::vector{lora::view_of(X)}), lora::ShapeError);
  const std::string shape = reference::message_of<lora::ShapeError>([&] { change(other); });
  EXPECT_NE(shape.find("the inputs of update 2: expected 4 rows and at least one column, found 3 x 4"), std::string::npos) << shape;
  EXPECT_THROW(change(none), lora::ShapeError);
  lora::Matrix<double> broken = X;
  broken(3, 1) = std::numeric_limits<double>::infinity();
  const std::string message = reference::message_of<lora::ValueError>([&] { change(broken); });
  EXPECT_NE(message.find("found infinity at (3, 1)"), std::string::npos) << message;
}

}  // namespace
