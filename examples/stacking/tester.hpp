// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// How many answers of which tasks are right, with the weights as they are or with each row's own adapter.

#include "tasks.hpp"

#include <atomic>
#include <future>
#include <map>
#include <vector>

namespace stacking {

using lora::Index;
using minilm::Activations, minilm::Encoder, minilm::Sentence, minilm::Task;

/// Calls run(i) for i from 0 to count - 1 on so many threads.
template <class Run>
void in_parallel(std::size_t count, int threads, const Run& run) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) run(i);
  };
  std::vector<std::future<void>> others;
  for (int i = 1; i < threads; ++i) others.push_back(std::async(std::launch::async, work));
  work();
  for (std::future<void>& other : others) other.get();
}

/// The sentences are in two parts, by their tokens: a sentence that several tasks have is in one part for all of them.
/// On the first coefficients are chosen, on the second accuracy is measured.
enum class Part { held_out, test };

inline Part part_of(const Sentence& sentence) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const std::int32_t id : sentence)
    for (int shift = 0; shift < 32; shift += 8)
      hash = (hash ^ (static_cast<std::uint32_t>(id) >> shift & 0xff)) * 0x100000001b3;
  return hash % 4 == 0 ? Part::held_out : Part::test;
}

/// Of one task.
struct Count {
  int right[2] = {}, rows[2] = {};  // by part

  int right_of(Part part) const { return right[static_cast<int>(part)]; }
  int rows_of(Part part) const { return rows[static_cast<int>(part)]; }
  double accuracy(Part part) const { return static_cast<double>(right_of(part)) / rows_of(part); }
  bool operator==(const Count&) const = default;
};

class Tester {
 public:
  Tester(const Encoder& encoder, const std::vector<Task>& tasks, int threads)
      : encoder_(encoder), tasks_(tasks), threads_(threads) {}

  /// With the weights as they are: each sentence is encoded once for all tasks that have it.
  std::vector<Count> count(std::span<const std::size_t> chosen) const {
    std::map<Sentence, Index> places;
    std::vector<Sentence> sentences;
    for (const std::size_t t : chosen)
      for (const Sentence& sentence : tasks_[t].sentences)
        if (places.try_emplace(sentence, std::ssize(sentences)).second) sentences.push_back(sentence);
    const Activations vectors = encode(sentences, [](std::size_t, std::size_t) { return Encoder::Routed(); });
    std::vector<Count> out;
    for (const std::size_t t : chosen) {
      Count& own = out.emplace_back();
      for (std::size_t row = 0; row < tasks_[t].sentences.size(); ++row)
        add(own, tasks_[t], row, vectors.col(places.at(tasks_[t].sentences[row])));
    }
    return out;
  }

  /// With each row's own adapter, in mixed batches of all tasks: sets(path) has a module's active sets, in the order of
  /// `chosen`.
  template <class Sets>
  std::vector<Count> count_routed(std::span<const std::size_t> chosen, const Sets& sets) const {
    std::vector<Sentence> sentences;
    std::vector<std::pair<std::size_t, std::size_t>> rows;  // the place of the task in `chosen`, and its row
    for (std::size_t row = 0; row < tasks_.front().sentences.size(); ++row)
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        sentences.push_back(tasks_[chosen[i]].sentences[row]);
        rows.emplace_back(i, row);
      }
    const Activations vectors = encode(sentences, [&](std::size_t begin, std::size_t end) {
      std::vector<Index> routes;
      for (std::size_t s = begin; s < end; ++s)
        routes.insert(routes.end(), sentences[s].size(), static_cast<Index>(rows[s].first));
      return [&sets, routes = lora::Routes(routes)](const std::string& path) {
        return lora::RoutedSets<float>(routes, sets(path));
      };
    });
    std::vector<Count> out(chosen.size());
    for (std::size_t s = 0; s < rows.size(); ++s)
      add(out[rows[s].first], tasks_[chosen[rows[s].first]], rows[s].second, vectors.col(static_cast<Index>(s)));
    return out;
  }

 private:
  static constexpr std::size_t batch_tokens = 384;

  template <class Vector>
  static void add(Count& own, const Task& task, std::size_t row, const Vector& vector) {
    const auto part = static_cast<std::size_t>(part_of(task.sentences[row]));
    ++own.rows[part];
    own.right[part] += task.is_right(row, vector) ? 1 : 0;
  }

  /// One vector per sentence; routed(begin, end) says how these sentences are encoded.
  template <class Routed>
  Activations encode(const std::vector<Sentence>& sentences, const Routed& routed) const {
    std::vector<std::size_t> begins{0};
    for (std::size_t s = 0, tokens = 0; s < sentences.size(); ++s) {
      tokens += sentences[s].size();
      if (tokens >= batch_tokens || s + 1 == sentences.size()) {
        begins.push_back(s + 1);
        tokens = 0;
      }
    }
    std::vector<Activations> vectors(begins.size() - 1);
    in_parallel(vectors.size(), threads_, [&](std::size_t i) {
      const std::size_t begin = begins[i], end = begins[i + 1];
      vectors[i] = encoder_.encode(std::span(sentences).subspan(begin, end - begin), routed(begin, end));
    });
    Activations all(vectors.empty() ? 0 : vectors.front().rows(), std::ssize(sentences));
    for (std::size_t i = 0; i < vectors.size(); ++i)
      all.middleCols(static_cast<Index>(begins[i]), vectors[i].cols()) = vectors[i];
    return all;
  }

  const Encoder& encoder_;
  const std::vector<Task>& tasks_;
  int threads_;
};

}  // namespace stacking
