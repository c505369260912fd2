// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/core/matrix.hpp"

#include <gtest/gtest.h>

namespace {

using lora::detail::lines_of;

TEST(Lines, FollowTheMemoryOfAMatrix) {
  lora::Matrix<float> rows(3, 5);
  const auto by_rows = lines_of(rows);
  EXPECT_EQ(by_rows.data, rows.data());
  EXPECT_EQ(by_rows.lines, 3);
  EXPECT_EQ(by_rows.length, 5);
  EXPECT_EQ(by_rows.stride, 5);
  EXPECT_EQ(by_rows.order, lora::row_major);
  EXPECT_EQ(by_rows.line(2), &rows(2, 0));

  lora::Matrix<float, lora::column_major> columns(3, 5);
  const auto by_columns = lines_of(columns.block(1, 2, 2, 3));
  EXPECT_EQ(by_columns.data, &columns(1, 2));
  EXPECT_EQ(by_columns.lines, 3);
  EXPECT_EQ(by_columns.length, 2);
  EXPECT_EQ(by_columns.stride, 3);
  EXPECT_EQ(by_columns.rows(), 2);
  EXPECT_EQ(by_columns.cols(), 3);
}

TEST(Lines, OfAConstMatrixAreConst) {
  const lora::Matrix<double> matrix(2, 2);
  EXPECT_TRUE((std::is_same_v<decltype(lines_of(matrix)), lora::detail::Lines<const double>>));
}

TEST(Lines, GapsBetweenElementsAreRefused) {
  float memory[64] = {};
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  Eigen::Map<lora::Matrix<float>, 0, Stride> map(memory, 3, 4, Stride(16, 2));
  try {
    lines_of(map);
    FAIL();
  } catch (const lora::ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("inner stride of 1, found 2"), std::string::npos) << error.what();
  }
  Eigen::Map<lora::Matrix<float>, 0, Stride> one_wide(memory, 3, 1, Stride(16, 2));
  EXPECT_EQ(lines_of(one_wide).stride, 16);
}

TEST(Errors, AreAllLoraErrorsAndNameShapes) {
  EXPECT_TRUE((std::is_base_of_v<std::runtime_error, lora::Error>));
  EXPECT_TRUE((std::is_base_of_v<lora::Error, lora::ShapeError>));
  EXPECT_TRUE((std::is_base_of_v<lora::Error, lora::ValueError>));
  EXPECT_TRUE((std::is_base_of_v<lora::Error, lora::StateError>));
  EXPECT_TRUE((std::is_base_of_v<lora::Error, lora::RecordError>));
  EXPECT_NO_THROW(lora::detail::expect_shape("a matrix", 2, 3, 2, 3));
  try {
    lora::detail::expect_shape("the matrix", 2, 3, 4, 5);
    FAIL();
  } catch (const lora::ShapeError& error) {
    EXPECT_STREQ(error.what(), "lora: the matrix: expected 2 x 3, found 4 x 5");
  }
}

}  // namespace
