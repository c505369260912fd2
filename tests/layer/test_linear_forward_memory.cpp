// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// After the first call a forward pass allocates nothing. malloc is counted where the C library lets a program put its own
// in front: Eigen does not use operator new.

#include "lora/layer/conv.hpp"
#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/random_sets.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LORA_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define LORA_TEST_SANITIZED 1
#endif
#endif

namespace {
std::atomic<int> allocations{0};
}  // namespace

#if defined(__GLIBC__) && !defined(LORA_TEST_SANITIZED)
// operator new comes here, too, with and without an alignment.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void* malloc(std::size_t size) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
}
#define LORA_TEST_COUNTS_ALLOCATIONS 1
#endif

namespace {

using lora::Index;
using reference::Random;

template <class Layout>
class ForwardMemory : public ::testing::Test {};
TYPED_TEST_SUITE(ForwardMemory, reference::Layouts);

TYPED_TEST(ForwardMemory, IsAllocatedOnce) {
#if !defined(LORA_TEST_COUNTS_ALLOCATIONS)
  GTEST_SKIP() << "allocations cannot be counted in this build";
#endif
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(61);
  const Index rows = 300, cols = 450;
  lora::Linear<T, TypeParam::order> layer(reference::gaussian<T, TypeParam::order>(random, rows, cols));
  layer.attach("a", lora::LowRank<C>(reference::gaussian<C>(random, rows, 5), reference::gaussian<C>(random, 5, cols),
                                       lora::scaling::fixed(1)));
  layer.activate({{"a", 0.5}});
  const lora::Activations<C> X = reference::gaussian<C, lora::column_major>(random, cols, 32);
  const lora::Activations<T> narrow = reference::gaussian<T, lora::column_major>(random, cols, 32);
  lora::Activations<C> Y(rows, 32);
  lora::Activations<T> narrow_results(rows, 32);

  int before = allocations;
  std::free(std::malloc(1));
  EXPECT_GT(allocations, before);
  before = allocations;
  ::operator delete (::operator new (64, std::align_val_t{64}), std::align_val_t{64});
  EXPECT_GT(allocations, before) << "what forward passes allocate is not counted";
  layer.forward_into(X, Y);
  layer.forward_into(narrow, narrow_results);
  before = allocations;
  for (const Index batch : {1, 4, 7, 32}) {
    layer.forward_into(X.leftCols(batch), Y.leftCols(batch));
    layer.forward_into(X.col(0), Y.col(0));
    layer.forward_into(narrow.leftCols(batch), narrow_results.leftCols(batch));
  }
  EXPECT_EQ(before, allocations);
}

/// Nor with a workspace, from the first call on: of gains, a dense part and low-rank ones, few columns and many.
TYPED_TEST(ForwardMemory, IsNotAllocatedWithAWorkspace) {
#if !defined(LORA_TEST_COUNTS_ALLOCATIONS)
  GTEST_SKIP() << "allocations cannot be counted in this build";
#endif
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(62);
  const Index rows = 90, cols = 150;
  const auto W = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  reference::Updates<C> updates;
  updates.add_gaussian(random, rows, cols, 3, 0.1);
  updates.add_dense(random, rows, cols, 0.1);
  updates.add_dora(random, rows, cols, 2, 0.1, 1);
  const auto set = lora::for_weight(updates.set(), W);
  lora::DefaultExecutor executor(1);
  for (const Index batch : {1, 9, 50}) {
    const lora::Activations<T> X = reference::gaussian<T, lora::column_major>(random, cols, batch);
    lora::Activations<T> Y(rows, batch);
    lora::Context context{&executor};
    std::vector<std::byte> memory(lora::forward_workspace(W, set, batch, context));
    lora::Workspace workspace(memory);
    context.workspace = &workspace;
    const int before = allocations;
    lora::forward_into(W, set, X, Y, context);
    EXPECT_EQ(before, allocations) << "batch " << batch;
  }
}

/// Of convolutions neither, with groups too, where W' is made for each pass.
TYPED_TEST(ForwardMemory, OfConvolutionsIsAllocatedOnce) {
#if !defined(LORA_TEST_COUNTS_ALLOCATIONS)
  GTEST_SKIP() << "allocations cannot be counted in this build";
#endif
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(63);
  for (const Index groups : {1, 3}) {
    const Index out = 12, in = 6, cols = in / groups * 9;
    lora::Conv<T, TypeParam::order> conv(reference::gaussian<T, TypeParam::order>(random, out, cols),
                                         {.kernel = {3, 3}, .padding = {1, 1}, .groups = groups});
    reference::Updates<C> updates, across;
    updates.add_gaussian(random, out, cols, 3, 0.1);
    updates.add_dense(random, out, cols, 0.1);
    across.add_gaussian(random, out, in * 9, 2, 0.1);
    conv.attach("a", lora::LowRank<C>(reference::gaussian<C>(random, out, 5), reference::gaussian<C>(random, 5, cols),
                                      lora::scaling::fixed(1)));
    conv.activate({{"a", 0.5}});
    const lora::Activations<C> X = reference::gaussian<C, lora::column_major>(random, in * 20, 3);
    lora::Activations<C> Y(out * 20, 3), Z(out * 20, 3);
    const std::vector<Index> size{5, 4};
    const auto set = updates.set(), whole = across.set();
    const auto run = [&](lora::Activations<C>& to, const lora::Context& context) {
      conv.forward_into(X, to, size, context);
      conv.forward_into(X, to, size, set, context);
      conv.forward_into(X, to, size, whole, context);
    };
    run(Y, {});
    int before = allocations;
    run(Z, {});
    EXPECT_EQ(before, allocations) << groups << " groups";
    EXPECT_EQ(std::memcmp(Y.data(), Z.data(), static_cast<std::size_t>(Y.size()) * sizeof(C)), 0);

    // With a workspace not the first time either; of the size that it is said to need.
    lora::DefaultExecutor executor(1);
    lora::Context context{&executor};
    std::vector<std::byte> memory(
        std::max({conv.forward_workspace(size, context), conv.forward_workspace(size, set, context),
                  conv.forward_workspace(size, whole, context)}));
    lora::Workspace workspace(memory);
    context.workspace = &workspace;
    Z.setZero();
    before = allocations;
    run(Z, context);
    EXPECT_EQ(before, allocations) << groups << " groups";
    EXPECT_EQ(std::memcmp(Y.data(), Z.data(), static_cast<std::size_t>(Y.size()) * sizeof(C)), 0);
  }
}

/// Nor by mixed batches: after a thread's first, or with a workspace; nor by other routes in the place of old ones.
TYPED_TEST(ForwardMemory, IsAllocatedOnceByMixedBatches) {
#if !defined(LORA_TEST_COUNTS_ALLOCATIONS)
  GTEST_SKIP() << "allocations cannot be counted in this build";
#endif
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(63);
  const Index rows = 90, cols = 150, most = 70;
  const lora::Linear<T, TypeParam::order> layer(reference::gaussian<T, TypeParam::order>(random, rows, cols));
  std::vector<lora::ActiveSet<C>> sets;
  for (const auto& updates : reference::random_sets<C>(random, rows, cols))
    sets.push_back(layer.for_weight(lora::ActiveSet<C>::in_storage_type(updates)));
  const auto X = reference::gaussian<T, lora::column_major>(random, cols, most);
  lora::Activations<T> Y(rows, most);
  std::vector<std::vector<Index>> lists;
  for (const Index batch : {most, Index{1}, Index{9}, Index{32}, Index{50}})
    lists.push_back(reference::random_routes(random, batch, static_cast<Index>(sets.size())));
  lora::Routes routes(lists.front());
  lora::DefaultExecutor executor(1);  // OpenMP's threads come with memory of their own
  std::vector<std::byte> memory(lora::forward_workspace(layer.weight().matrix(), sets, most, {&executor}));
  lora::Workspace workspace{std::span(memory)};
  int before = allocations;
  layer.forward_into(X, Y, {routes, sets}, {&executor, &workspace});
  EXPECT_EQ(before, allocations) << "with a workspace";
  layer.forward_into(X, Y, {routes, sets});
  before = allocations;
  for (const auto& list : lists) {
    routes.assign(list);
    layer.forward_into(X.leftCols(routes.batch()), Y.leftCols(routes.batch()), {routes, sets});
  }
  EXPECT_EQ(before, allocations);
}

}  // namespace
