// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// A thread may have little stack: musl gives one 128 KB, unless it is asked for more.

#include "io/files.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

#include <lora/compose.hpp>
#include <lora/io/peft/load_adapter.hpp>
#include <lora/io/peft/save_adapter.hpp>
#include <lora/lora.hpp>

#if LORA_TEST_POSIX

#include <functional>

#include <pthread.h>

namespace io = lora::io;
using lora::Index;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool is_sanitized = true;
#elif defined(__has_feature)
constexpr bool is_sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool is_sanitized = false;
#endif
constexpr std::size_t stack_bytes = is_sanitized ? 8 << 20 : 128 << 10;  // instrumented frames are several times as large

/// Runs work() on a thread with little stack; one that overflows ends the program.
void run_on_small_stack(std::function<void()> work) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, stack_bytes), 0);
  pthread_t thread{};
  const auto begin = [](void* argument) -> void* {
    (*static_cast<std::function<void()>*>(argument))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, begin, &work), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

lora::LowRank<float> update(Index rows, Index cols, Index rank) {
  reference::Random random(7);
  return {reference::gaussian<float>(random, rows, rank), reference::gaussian<float>(random, rank, cols),
          lora::scaling::alpha(8)};
}

template <class T>
void use_layer() {
  constexpr Index rows = 300, cols = 520;
  reference::Random random(8);
  const lora::Matrix<T> W0 = reference::gaussian<T>(random, rows, cols);
  lora::Linear<T> layer(W0);
  layer.attach("a", update(rows, cols, 16));
  layer.activate({{"a", 0.5}});
  for (const Index batch : {1, 3, 8, 40, 200}) {
    const lora::Activations<T> X = reference::gaussian<T>(random, cols, batch);
    EXPECT_EQ(layer.forward(X).cols(), batch);
  }
  layer.merge();
  layer.activate({{"a", 1.5}});
  layer.unmerge();
  EXPECT_TRUE(reference::same_bits(W0, layer.weight().matrix()));
}

TEST(SmallStack, Layers) {
  run_on_small_stack([] {
    use_layer<float>();
    use_layer<Eigen::half>();
    use_layer<Eigen::bfloat16>();
    use_layer<double>();
  });
}

TEST(SmallStack, Files) {
  run_on_small_stack([] {
    const test::Folder folder;
    io::save_adapter({"a", folder / "a", {{"m", update(64, 48, 4), false}}}, folder / "a");
    EXPECT_EQ(io::load_adapter(folder / "a").modules.size(), 1u);
    // As deep as a file may be.
    test::write(folder / "deep", test::safetensors(std::string(60, '[') + std::string(60, ']')));
    EXPECT_NE(test::message([&] { io::Safetensors::open(folder / "deep"); }), "");
  });
}

TEST(SmallStack, Compositions) {
  run_on_small_stack([] {
    const auto a = update(2048, 512, 8), b = update(2048, 512, 4);
    EXPECT_EQ(lora::compose::svd<float>({{a, 0.5}, {b, -0.5}}, lora::compose::Truncation::none()).update.rank(), 12);
  });
}

}  // namespace

#endif
