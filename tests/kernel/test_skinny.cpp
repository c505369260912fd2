// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The forward pass of up to 32 columns equals the scalar reference in every bit.

#include "kernel/forward_order.hpp"

namespace {

using lora::Index;
using reference::Random;

template <class Layout>
class Skinny : public ForwardOrder<Layout> {};
TYPED_TEST_SUITE(Skinny, reference::Layouts);

TYPED_TEST(Skinny, EqualsTheReferenceAtAwkwardSizes) {
  Random random(50);
  const Index shapes[][2] = {{0, 5},  {5, 0},  {1, 1},   {1, 16},  {16, 1},  {3, 15},  {7, 17},
                             {8, 16}, {9, 31}, {15, 33}, {17, 48}, {33, 65}, {64, 64}, {65, 7}};
  for (const auto& [rows, cols] : shapes)
    for (const Index batch : {1, 2, 3, 4, 5, 7, 9, 16, 17, 31, 32}) this->check(random, rows, cols, batch);
}

/// More rows and columns than the kernels take at once; threads with shares of their own.
TYPED_TEST(Skinny, EqualsTheReferenceForLargeWeightsAndAnyThreads) {
  Random random(51);
  const Index shapes[][3] = {{9, 1100, 9}, {300, 40, 32}, {8300, 3, 1}, {70, 2100, 3}, {131, 1041, 2}};
  for (const auto& [rows, cols, batch] : shapes) this->check_threads(random, rows, cols, batch);
}

TYPED_TEST(Skinny, EqualsTheReferenceForAnyBits) {
  Random random(52);
  for (const Index batch : {1, 6, 17})
    for (const Index cols : {1, 2, 19, 40}) this->check_any_bits(random, cols, batch);
}

TYPED_TEST(Skinny, DoesNotDependOnTheCallersEnvironment) {
  Random random(53);
  this->check_environment(random, 150, 700, 3, 300, 1);
}

}  // namespace
