// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "lora/core/context.hpp"
#include "lora/layer/forward.hpp"
#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using lora::Workspace;
using reference::Random;

bool is_aligned(const std::byte* memory) { return reinterpret_cast<std::uintptr_t>(memory) % 64 == 0; }

TEST(Workspace, OfItsOwnGrowsAndStays) {
  Workspace own;
  EXPECT_EQ(own.size(), 0u);
  std::byte* memory = own.reserve(1000);
  EXPECT_TRUE(is_aligned(memory));
  EXPECT_GE(own.size(), 1000u);
  EXPECT_EQ(own.reserve(10), memory);
  EXPECT_EQ(own.reserve(1000), memory);
  EXPECT_TRUE(is_aligned(own.reserve(100000)));
  EXPECT_GE(own.size(), 100000u);
}

TEST(Workspace, UsesTheCallersMemoryWhereverItBegins) {
  alignas(64) std::byte memory[1024];
  for (const std::size_t offset : {0u, 1u, 63u}) {
    Workspace given(std::span<std::byte>(memory + offset, 512));
    EXPECT_EQ(given.size(), 512u);
    const std::size_t room = 512 - (offset == 0 ? 0 : 64 - offset);
    std::byte* first = given.reserve(room);
    EXPECT_TRUE(is_aligned(first));
    EXPECT_GE(first, memory + offset);
    EXPECT_LE(first + room, memory + offset + 512);
    try {
      given.reserve(room + 1);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const lora::ValueError& error) {
      EXPECT_NE(std::string(error.what()).find("expected at least 513 bytes, found 512"), std::string::npos) << error.what();
    }
  }
  Workspace empty{std::span<std::byte>()};
  EXPECT_NO_THROW(empty.reserve(0));
  EXPECT_THROW(empty.reserve(1), lora::ValueError);
}

/// Moving takes the memory along; what is moved from has none, and is an own or a given one as before.
TEST(Workspace, MovedFromHasNoMemory) {
  Workspace own;
  std::byte* const memory = own.reserve(1000);
  Workspace taken(std::move(own));
  EXPECT_EQ(taken.reserve(1000), memory);
  EXPECT_EQ(own.size(), 0u);  // NOLINT(bugprone-use-after-move): what is asked for
  std::byte* const fresh = own.reserve(500);
  EXPECT_NE(fresh, memory);
  EXPECT_GE(own.size(), 500u);
  own = std::move(taken);
  EXPECT_EQ(own.reserve(1000), memory);
  EXPECT_EQ(taken.size(), 0u);  // NOLINT(bugprone-use-after-move)
  EXPECT_NO_THROW(taken.reserve(10));

  alignas(64) std::byte buffer[256];
  Workspace given{std::span<std::byte>(buffer)};
  Workspace other(std::move(given));
  EXPECT_EQ(other.reserve(256), buffer);
  EXPECT_EQ(given.size(), 0u);  // NOLINT(bugprone-use-after-move)
  EXPECT_THROW(given.reserve(1), lora::ValueError) << "it grew, though its memory is the caller's";
  given = std::move(other);
  EXPECT_EQ(given.reserve(256), buffer);
  EXPECT_THROW(other.reserve(1), lora::ValueError);  // NOLINT(bugprone-use-after-move)
}

template <class Layout>
class GivenMemory : public ::testing::Test {};
TYPED_TEST_SUITE(GivenMemory, reference::Layouts);

/// merge_workspace() and forward_workspace() are enough wherever the memory begins, and with too little a call throws and
/// changes nothing.
TYPED_TEST(GivenMemory, OfTheSizeAskedForIsEnough) {
  using T = typename TypeParam::Scalar;
  using C = lora::compute_t<T>;
  Random random(230);
  const Index rows = 129, cols = 1041;
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  reference::Updates<C> from, to;
  from.add_gaussian(random, rows, cols, 2, 0.1);
  from.add_dense(random, rows, cols, 0.1);
  from.add_dora(random, rows, cols, 1, 0.1, 1);
  to.add_dense(random, rows, cols, 0.1);
  for (const int threads : {1, 3}) {
    lora::DefaultExecutor executor(threads);
    lora::Context context{&executor};
    std::vector<std::byte> memory(1 + lora::merge_workspace<T>(context));
    Workspace enough{std::span<std::byte>(memory).subspan(1)}, little{std::span<std::byte>(memory).first(100)};
    auto w = w0, expected = w0;
    lora::merge_plain(expected, from);
    context.workspace = &little;
    EXPECT_THROW(static_cast<void>(lora::merge(w, from, context)), lora::ValueError);
    EXPECT_TRUE(reference::same_bits(w0, w));
    context.workspace = &enough;
    lora::UndoRecord record = lora::merge(w, from, context);
    EXPECT_TRUE(reference::same_bits(expected, w));
    context.workspace = &little;
    EXPECT_THROW(lora::unmerge(w, from, record, context), lora::ValueError);
    EXPECT_TRUE(reference::same_bits(expected, w));
    context.workspace = &enough;
    record = lora::switch_to(w, from, record, to, context);
    lora::unmerge(w, to, record, context);
    EXPECT_TRUE(reference::same_bits(w0, w));

    const auto set = lora::for_weight(from.set(), w0);
    for (const Index batch : {1, 7, 33, 41, 70, 300}) {
      SCOPED_TRACE(batch);
      const lora::Activations<T> X = reference::gaussian<T, lora::column_major>(random, cols, batch);
      lora::Activations<T> Y(rows, batch), alone(rows, batch);
      std::vector<std::byte> scratch(1 + lora::forward_workspace(w0, set, batch, context));
      Workspace given{std::span<std::byte>(scratch).subspan(1)};
      lora::forward_into(w0, set, X, Y, {&executor, &given});
      lora::forward_into(w0, set, X, alone);
      EXPECT_TRUE(reference::same_bits(alone, Y));
      EXPECT_THROW(lora::forward_into(w0, set, X, Y, {&executor, &little}), lora::ValueError);
    }
  }
}

}  // namespace
