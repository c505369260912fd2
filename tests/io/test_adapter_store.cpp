// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The adapter store gives out what the files say, keeps its budget, and loses nothing when files or names go away.

#include "io/stored_adapters.hpp"

#include <lora/update/dora.hpp>

#include <thread>

namespace {

using lora::Index;
using test::expect_pieces, test::message, test::number_of, test::Store, test::fs::path;

class AdapterStore : public ::testing::Test {
 protected:
  /// Calls find() until the adapter is there.
  static lora::io::AdapterPin<float> wait_for(Store& store, const std::string& name) {
    while (true) {
      if (auto pin = store.find(name)) return pin;
      std::this_thread::yield();
    }
  }

  std::vector<lora::io::AdapterFile> file(const std::string& name, int number) {
    return {{test::save_numbered(folder / name, number)}};
  }

  static constexpr std::size_t plenty = 1 << 20;
  const test::Folder folder;
  const test::Group model = test::make_model();
};

TEST_F(AdapterStore, GivesOutWhatTheFilesSay) {
  test::save_numbered(folder / "a", 3, {test::layer_paths[0], test::layer_paths[2]});
  Store store(model, plenty);
  store.attach("a", {{folder / "a", 0.5}});
  const auto pin = store.get("a");
  EXPECT_EQ(pin->name(), "a");
  EXPECT_EQ(pin->sets().size(), 3u);
  EXPECT_TRUE(pin->set(store.layer(test::layer_paths[1])).empty());
  reference::Random random(5);
  const lora::Matrix<float, lora::column_major> X = reference::gaussian<float, lora::column_major>(random, test::layer_cols, 3);
  for (const std::size_t i : {0u, 2u}) {
    const std::string& layer = test::layer_paths[i];
    lora::Activations<float> Y(test::layer_rows, 3), expected(test::layer_rows, 3);
    model[layer].forward_into(X, Y, pin->set(store.layer(layer)));
    model[layer].forward_into(X, expected, lora::ActiveSet<float>({{test::numbered(3), 0.5}}));
    EXPECT_EQ(Y, expected) << layer;
  }
}

TEST_F(AdapterStore, SeveralFilesUnderOneName) {
  Store store(model, plenty);
  auto files = file("a", 1);
  files.push_back({file("b", 2).front().path, -0.25});
  store.attach("both", files);
  const auto updates = store.get("both")->set(0).updates();
  ASSERT_EQ(updates.size(), 2u);
  EXPECT_EQ(updates[0].coefficient, 1.0);
  EXPECT_EQ(updates[1].coefficient, -0.25);
}

TEST_F(AdapterStore, FindBeginsALoadAndGivesNullUntilThen) {
  Store store(model, plenty);
  store.attach("a", file("a", 1));
  EXPECT_EQ(store.find("a"), nullptr);
  EXPECT_EQ(number_of(wait_for(store, "a")), 1);
  EXPECT_EQ(number_of(store.find("a")), 1);
  const auto statistics = store.statistics();
  EXPECT_EQ(statistics.loads, 1u);
  EXPECT_GE(statistics.hits, 1u);
  EXPECT_GE(statistics.misses, 1u);
  EXPECT_EQ(statistics.resident, 1u);
}

TEST_F(AdapterStore, GainsOfDoRAComeFromTheModelsWeights) {
  reference::Random random(6);
  const lora::Matrix<float> magnitude = reference::gaussian<float>(random, test::layer_rows, 1).cwiseAbs();
  lora::io::Adapter adapter{"d", "d", {}};
  const lora::DoRA<float> update(test::numbered(1).cast<float>(), magnitude);
  adapter.modules.push_back({test::layer_paths[0], update, false});
  lora::io::save_adapter(adapter, folder / "d");
  Store store(model, plenty);
  store.attach("d", {{folder / "d"}});
  const auto pin = store.get("d");
  EXPECT_TRUE(pin->set(0).is_bound());
  const auto expected = model[test::layer_paths[0]].for_weight(lora::ActiveSet<float>(update));
  ASSERT_NE(pin->set(0).form().row_gains(), nullptr);
  for (Index i = 0; i < test::layer_rows; ++i) EXPECT_EQ(pin->set(0).form().row_gains()[i], expected.form().row_gains()[i]);
}

TEST_F(AdapterStore, RefusesByName) {
  Store store(model, plenty);
  store.attach("a", file("a", 1));
  using lora::ValueError;
  expect_pieces(message<ValueError>([&] { store.find("b"); }), {"no adapter 'b' is attached"});
  expect_pieces(message<ValueError>([&] { store.get("b"); }), {"no adapter 'b' is attached"});
  expect_pieces(message<ValueError>([&] { store.prefetch("b"); }), {"no adapter 'b' is attached"});
  expect_pieces(message<ValueError>([&] { store.detach("b"); }), {"no adapter 'b' is attached"});
  expect_pieces(message<ValueError>([&] { store.switch_to("b", {{"x"}}); }), {"no adapter 'b' is attached"});
  expect_pieces(message<ValueError>([&] { store.layer("block.2"); }), {"no layer 'block.2'"});
  expect_pieces(message<ValueError>([&] { store.attach("c", {}); }), {"'c'", "expected an adapter's file, found none"});
  expect_pieces(message<ValueError>([&] {
                  store.attach("c", {{"x", std::numeric_limits<double>::infinity()}});
                }),
                {"'c'", "expected a finite coefficient, found inf"});
  expect_pieces(message<ValueError>([&] { store.attach({{"c", {{"x"}}}, {"a", {{"x"}}}}); }),
                {"expected a name that is free, found 'a'"});
  EXPECT_EQ(store.names(), std::vector<std::string>{"a"}) << "nothing has changed";
}

TEST_F(AdapterStore, RefusesWhatDoesNotFitTheModel) {
  Store store(model, plenty);
  test::save_numbered(folder / "other", 1, {"block.7.query"});
  lora::io::Adapter wide{"wide", "wide", {}};
  wide.modules.push_back({test::layer_paths[0], lora::LowRank<float>(lora::Matrix<float>::Ones(5, 2),
                                                                     lora::Matrix<float>::Ones(2, 3), lora::scaling::fixed(1)),
                          false});
  lora::io::save_adapter(wide, folder / "wide");
  test::fs::create_directory(folder / "empty");
  store.attach({{"other", {{folder / "other"}}}, {"wide", {{folder / "wide"}}}, {"empty", {{folder / "empty"}}}});
  expect_pieces(message([&] { store.get("other"); }), {"module 'block.7.query'", "the model has no layer of this path"});
  expect_pieces(message([&] { store.get("wide"); }), {"module 'block.0.query'", "24 x 16", "5 x 3"});
  expect_pieces(message([&] { store.get("empty"); }), {"empty"});
  EXPECT_EQ(store.statistics().failures, 3u);
}

TEST_F(AdapterStore, KeepsItsBudgetAndLetsTheLeastRecentlyUsedGo) {
  const std::size_t one = test::bytes_of(model, file("a", 1));
  Store store(model, 2 * one);
  for (const auto& [name, number] : {std::pair{"a", 1}, {"b", 2}, {"c", 3}}) store.attach(name, file(name, number));
  store.get("a");
  store.get("b");
  store.get("a");
  store.get("c");  // b has to go
  auto statistics = store.statistics();
  EXPECT_EQ(statistics.evictions, 1u);
  EXPECT_EQ(statistics.resident, 2u);
  EXPECT_EQ(statistics.bytes, 2 * one);
  EXPECT_NE(store.find("a"), nullptr);
  EXPECT_NE(store.find("c"), nullptr);
  EXPECT_EQ(number_of(store.get("b")), 2);
  EXPECT_EQ(store.statistics().evictions, 2u);
}

TEST_F(AdapterStore, WhatIsInUseStays) {
  const std::size_t one = test::bytes_of(model, file("a", 1));
  Store store(model, 2 * one);
  for (const auto& [name, number] : {std::pair{"a", 1}, {"b", 2}, {"c", 3}}) store.attach(name, file(name, number));
  auto a = store.get("a"), b = store.get("b");
  expect_pieces(message<lora::StateError>([&] { store.get("c"); }),
                {"adapter 'c'", "expected room for " + std::to_string(one), "found " + std::to_string(2 * one),
                 "in adapters that are in use"});
  EXPECT_EQ(number_of(a), 1);
  a = nullptr;
  EXPECT_EQ(number_of(store.get("c")), 3);
  EXPECT_EQ(number_of(b), 2);

  Store small(model, one - 1);
  small.attach("a", file("a", 1));
  expect_pieces(message<lora::ValueError>([&] { small.get("a"); }),
                {"adapter 'a'", "expected at most the budget", "found " + std::to_string(one)});
}

TEST_F(AdapterStore, BytesAreThoseOfFactorsAndSets) {
  Store store(model, plenty);
  store.attach("a", file("a", 1));
  // The update's factors of half; the set's, with rows of B in sixteens; a scale in float for every rank.
  const std::size_t rank = 2, factors = rank * (24 + 16) * 2, set = rank * (32 + 16) * 2 + rank * 4;
  EXPECT_EQ(store.get("a")->bytes(), 3 * (factors + set));
}

TEST_F(AdapterStore, AFileThatDisappearsIsAnErrorOfItsAdapterAlone) {
  Store store(model, plenty);
  store.attach({{"a", file("a", 1)}, {"b", file("b", 2)}});
  const auto a = store.get("a");
  test::fs::remove_all(folder / "a");
  test::fs::remove_all(folder / "b");
  EXPECT_EQ(store.get("a"), a) << "what is in memory goes on";
  expect_pieces(message([&] { store.get("b"); }), {lora::io::utf8_text(folder / "b")});
  // find() tells the last error once, then tries again.
  std::string error;
  while ((error = message([&] { EXPECT_EQ(store.find("b"), nullptr); })).empty()) std::this_thread::yield();
  expect_pieces(error, {lora::io::utf8_text(folder / "b")});
  file("b", 2);
  lora::io::AdapterPin<float> b;
  while (b == nullptr) static_cast<void>(message([&] { b = store.find("b"); }));
  EXPECT_EQ(number_of(b), 2);
}

TEST_F(AdapterStore, SwitchesAName) {
  Store store(model, plenty);
  store.attach("a", file("one", 1));
  const auto before = store.get("a");
  store.switch_to("a", file("two", 2));
  EXPECT_EQ(number_of(store.find("a")), 2);
  EXPECT_EQ(number_of(before), 1) << "who holds the old one keeps it";
  expect_pieces(message([&] { store.switch_to("a", {{folder / "three"}}); }), {lora::io::utf8_text(folder / "three")});
  EXPECT_EQ(number_of(store.find("a")), 2) << "nothing has changed";
}

TEST_F(AdapterStore, DetachesWhatIsHeld) {
  Store store(model, plenty);
  store.attach("a", file("a", 1));
  auto pin = store.get("a");
  store.detach("a");
  EXPECT_EQ(number_of(pin), 1);
  EXPECT_EQ(store.statistics().bytes, pin->bytes());
  pin = nullptr;
  EXPECT_EQ(store.statistics().bytes, 0u);
  store.attach("a", file("b", 2));
  EXPECT_EQ(number_of(store.get("a")), 2);
}

/// Columns of different adapters, and of none: each what it has alone.
TEST_F(AdapterStore, BatchesRequests) {
  Store store(model, plenty);
  store.attach({{"a", file("a", 1)}, {"b", file("b", 2)}});
  const std::vector<lora::io::AdapterPin<float>> pins = {store.get("b"), nullptr, store.get("a"), store.get("b")};
  const std::vector<Index> columns = {2, 1, 3, 0};
  lora::io::AdapterBatch<float> batch;
  batch.assign(pins, columns);
  EXPECT_EQ(batch.routes().batch(), 6);
  reference::Random random(7);
  const lora::Matrix<float, lora::column_major> X = reference::gaussian<float, lora::column_major>(random, test::layer_cols, 6);
  for (const auto& [path, layer] : model) {
    lora::Activations<float> Y(test::layer_rows, 6), alone(test::layer_rows, 6);
    layer.forward_into(X, Y, batch.layer(store.layer(path)));
    Index first = 0;
    for (std::size_t i = 0; i < pins.size(); first += columns[i++]) {
      if (columns[i] == 0) continue;
      const auto x = X.middleCols(first, columns[i]);
      auto y = alone.middleCols(first, columns[i]);
      layer.forward_into(x, y, pins[i] == nullptr ? lora::ActiveSet<float>() : pins[i]->set(store.layer(path)));
    }
    EXPECT_EQ(Y, alone) << path;
  }
  expect_pieces(message<lora::ShapeError>([&] { batch.assign(pins, std::vector<Index>{1}); }), {"each of 4 requests, found 1"});
  expect_pieces(message<lora::ValueError>([&] { batch.assign(pins, std::vector<Index>{1, -1, 1, 1}); }), {"request 1", "found -1"});
}

}  // namespace
