// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The bytes of the undo record (docs/UNDO-FORMAT.md), written and read by plain loops, without the library's code.

#include "lora/exact/undo_record.hpp"
#include "reference/form.hpp"

#include <cstddef>
#include <cstring>

namespace reference {

using Bytes = std::vector<unsigned char>;

/// Appends an integer, lowest byte first.
template <class Integer>
void put(Bytes& out, Integer value) {
  for (std::size_t i = 0; i < sizeof value; ++i)
    out.push_back(static_cast<unsigned char>(static_cast<std::uint64_t>(value) >> (8 * i)));
}
inline std::uint64_t get(const unsigned char* in, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value |= std::uint64_t{in[i]} << (8 * i);
  return value;
}

inline std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// The checksum of lines of bytes: 64-byte stripes, each line's last one filled up with zeros.
inline std::uint64_t checksum(const std::vector<Bytes>& lines) {
  constexpr std::uint64_t step = 0x9e3779b97f4a7c15u;
  std::uint64_t key[8] = {0x243f6a8885a308d3u, 0x13198a2e03707344u, 0xa4093822299f31d0u, 0x082efa98ec4e6c89u,
                          0x452821e638d01377u, 0xbe5466cf34e90c6cu, 0xc0ac29b7c97c50ddu, 0x3f84d5b5b5470917u};
  std::uint64_t sum[8] = {};
  std::uint64_t bytes = 0;
  for (Bytes line : lines) {
    bytes += line.size();
    line.resize((line.size() + 63) / 64 * 64);
    for (std::size_t stripe = 0; stripe < line.size(); stripe += 64)
      for (std::size_t lane = 0; lane < 8; ++lane) {
        const std::uint64_t x = get(&line[stripe + 8 * lane], 8), neighbour = get(&line[stripe + 8 * (lane ^ 1)], 8);
        const std::uint64_t mixed = x ^ key[lane];
        sum[lane] += (mixed % (std::uint64_t{1} << 32)) * (mixed >> 32) + neighbour;
        key[lane] += step;
      }
  }
  std::uint64_t hash = mix(bytes + step);
  for (const std::uint64_t lane : sum) hash = mix((hash ^ lane) * step + lane);
  return hash;
}
inline std::uint64_t checksum(const Bytes& bytes) { return checksum(std::vector<Bytes>{bytes}); }

template <class Matrix>
Bytes row_major_bytes(const Matrix& matrix) {
  Bytes out;
  for (Index i = 0; i < matrix.rows(); ++i)
    for (Index j = 0; j < matrix.cols(); ++j) put(out, bits(matrix(i, j)));
  return out;
}

template <class C>
std::uint64_t fingerprint(const Set<C>& set) {
  std::uint64_t hash = mix(sizeof(C));
  const auto add = [&](std::initializer_list<std::uint64_t> words) {
    for (const std::uint64_t word : words) hash = mix(hash ^ word) + 0x9e3779b97f4a7c15u;
  };
  // A word of a part's kind: four letters and all ones, which no rank is.
  const auto word = [](const char (&letters)[5]) {
    std::uint64_t out = 0xffffffffu;
    for (int i = 0; i < 4; ++i) out |= static_cast<std::uint64_t>(letters[i]) << (32 + 8 * i);
    return out;
  };
  for (const auto& [update, coefficient] : set.updates()) {
    if (coefficient == 0) continue;
    const Parts<C> own = parts(*update, coefficient);
    const auto c = static_cast<std::uint64_t>(bits(scale<C>(own.scaling, coefficient)));
    if (own.B)
      add({c, static_cast<std::uint64_t>(own.A->rows()), checksum(row_major_bytes(*own.B)),
           checksum(row_major_bytes(*own.A))});
    if (own.dense) add({c, 0x65736e6564ffffffu, checksum(row_major_bytes(*own.dense))});
    if (own.magnitude) add({word("norm"), checksum(row_major_bytes(*own.magnitude))});
    if (own.g) add({word("rows"), checksum(row_major_bytes(*own.g))});
    if (own.h) add({word("cols"), checksum(row_major_bytes(*own.h))});
  }
  return hash;
}

/// Element `position` of line `line`: lines are rows of a row-major matrix, columns of a column-major one.
template <class Matrix>
auto& element(Matrix& matrix, Index line, Index position) {
  return Matrix::IsRowMajor ? matrix(line, position) : matrix(position, line);
}

/// A rectangle in memory order, and the rectangles of at most `lines` x `length` it is cut into, along the line first.
struct Part {
  Index line, position, lines, length;
};
inline std::vector<Part> cut(const Part& whole, Index lines, Index length) {
  std::vector<Part> parts;
  for (Index line = 0; line < whole.lines; line += lines)
    for (Index position = 0; position < whole.length; position += length)
      parts.push_back({whole.line + line, whole.position + position, std::min(lines, whole.lines - line),
                       std::min(length, whole.length - position)});
  return parts;
}

/// The blocks' shape: whole tiles of 8 x 32, at most 1024 long, at most 8192 elements.
inline Index block_length(Index length) { return std::max<Index>(32, std::min<Index>(1024, (length + 31) / 32 * 32)); }
inline Index block_lines(Index length) { return 8192 / block_length(length) / 8 * 8; }

template <class T>
void put_element(Bytes& out, T value) {
  put(out, bits(value));
}

template <class Matrix>
std::vector<Bytes> lines_of_bytes(const Matrix& matrix, const Part& part) {
  std::vector<Bytes> lines(static_cast<std::size_t>(part.lines));
  for (Index i = 0; i < part.lines; ++i)
    for (Index j = 0; j < part.length; ++j)
      put_element(lines[static_cast<std::size_t>(i)], element(matrix, part.line + i, part.position + j));
  return lines;
}

/// What one block needs: the payload, and whether it is W0's own bytes.
struct Payload {
  Bytes bytes;
  bool raw = false;
};

template <class Matrix, class C>
Payload payload(const Matrix& before, const Matrix& after, const Form<C>& form, const Part& block) {
  Bytes summaries, masks, distances, raw;
  for (const Part& tile : cut(block, 8, 32)) {
    unsigned summary = 0;
    for (Index i = 0; i < tile.lines; ++i)
      for (Index half = 0; half < 2; ++half) {
        unsigned mask = 0;
        for (Index lane = 0; lane < 16 && 16 * half + lane < tile.length; ++lane) {
          const Index line = tile.line + i, position = tile.position + 16 * half + lane;
          const auto w0 = element(before, line, position);
          const auto w1 = element(after, line, position);
          bool escape = !is_finite(w0) || !is_finite(w1);
          std::int64_t distance = 0;
          if (!escape) {
            // Finite patterns are too few for this to wrap back to a small number.
            distance = static_cast<std::int64_t>(
                static_cast<std::uint64_t>(ordered(w0)) -
                static_cast<std::uint64_t>(ordered(Matrix::IsRowMajor ? form.candidate(w1, line, position) : form.candidate(w1, position, line))));
            escape = distance < -127 || distance > 127;
          }
          if (escape) put_element(raw, w0);
          if (escape) distance = -128;
          if (distance == 0) continue;
          put(distances, static_cast<std::int8_t>(distance));
          mask |= 1u << lane;
        }
        if (mask == 0) continue;
        put(masks, static_cast<std::uint16_t>(mask));
        summary |= 1u << (2 * i + half);
      }
    put(summaries, static_cast<std::uint16_t>(summary));
  }
  Bytes out;
  put(out, static_cast<std::uint16_t>(masks.size() / 2));
  put(out, static_cast<std::uint16_t>(distances.size()));
  for (const Bytes* stream : {&summaries, &masks, &distances, &raw})
    out.insert(out.end(), stream->begin(), stream->end());

  Bytes elements;
  for (const Bytes& line : lines_of_bytes(before, block)) elements.insert(elements.end(), line.begin(), line.end());
  if (out.size() > elements.size()) return {elements, true};
  return {out, false};
}

template <class T, lora::StorageOrder Order>
struct Merge {
  lora::Matrix<T, Order> weight;
  Bytes record;
};

/// W' and the record of merging `set` into W0.
template <class T, lora::StorageOrder Order>
Merge<T, Order> merge(
    const Eigen::Matrix<T, -1, -1, Order == lora::row_major ? Eigen::RowMajor : Eigen::ColMajor>& before,
    const Set<Compute<T>>& set) {
  const Form<Compute<T>> all = form_for<Compute<T>>(set, before);
  lora::Matrix<T, Order> after = before;
  for (Index i = 0; i < before.rows(); ++i)
    for (Index j = 0; j < before.cols(); ++j) after(i, j) = all.merged(before(i, j), i, j);

  const bool by_rows = Order == lora::row_major;
  const Index lines = by_rows ? before.rows() : before.cols(), length = by_rows ? before.cols() : before.rows();
  const std::vector<Part> blocks = cut({0, 0, lines, length}, block_lines(length), block_length(length));
  Bytes index, payloads;
  for (const Part& block : blocks) {
    const Payload one = payload(before, after, all, block);
    put(index, checksum(lines_of_bytes(after, block)));
    put(index, static_cast<std::uint32_t>(one.bytes.size() + (one.raw ? 0x80000000u : 0u)));
    put(index, static_cast<std::uint32_t>(checksum(one.bytes)));
    payloads.insert(payloads.end(), one.bytes.begin(), one.bytes.end());
  }

  Bytes record;
  for (const char letter : {'l', 'o', 'r', 'a', 'u', 'n', 'd', 'o'})
    record.push_back(static_cast<unsigned char>(letter));
  put(record, std::uint32_t{all.steps.empty() ? 1u : 2u});
  put(record, static_cast<std::uint8_t>(Format<T>::code));
  put(record, static_cast<std::uint8_t>(by_rows ? 0 : 1));
  put(record, static_cast<std::uint16_t>(all.steps.size()));
  put(record, static_cast<std::uint64_t>(before.rows()));
  put(record, static_cast<std::uint64_t>(before.cols()));
  put(record, static_cast<std::uint32_t>(block_lines(length)));
  put(record, static_cast<std::uint32_t>(block_length(length)));
  put(record, fingerprint<Compute<T>>(set));
  put(record, static_cast<std::uint64_t>(blocks.size()));
  put(record, static_cast<std::uint64_t>(payloads.size()));
  record.insert(record.end(), index.begin(), index.end());
  for (const GainStep<Compute<T>>& step : all.steps) {
    put(record, step.axis);
    put(record, std::uint32_t{0});
    for (const Compute<T> value : step.values) put(record, bits(value));
  }
  put(record, checksum(record));
  record.insert(record.end(), payloads.begin(), payloads.end());
  return {after, record};
}

/// W0 out of W' and a sound record's bytes.
template <class T, lora::StorageOrder Order>
lora::Matrix<T, Order> unmerge(lora::Matrix<T, Order> weight, const Set<Compute<T>>& set, const Bytes& record) {
  using C = Compute<T>;
  const bool by_rows = Order == lora::row_major;
  const Index lines = by_rows ? weight.rows() : weight.cols(), length = by_rows ? weight.cols() : weight.rows();
  const std::vector<Part> blocks = cut({0, 0, lines, length}, block_lines(length), block_length(length));
  const unsigned char* entry = record.data() + 64;
  const unsigned char* in = entry + 16 * blocks.size();
  std::vector<GainStep<C>> gains;
  for (std::uint64_t count = get(record.data() + 14, 2); count > 0; --count) {
    GainStep<C> step{static_cast<std::uint32_t>(get(in, 4)), {}};
    in += 8;
    for (Index i = 0; i < (step.axis == 0 ? weight.rows() : weight.cols()); ++i, in += sizeof(C))
      step.values.push_back(std::bit_cast<C>(static_cast<Bits<C>>(get(in, sizeof(C)))));
    gains.push_back(step);
  }
  in += 8;
  const Form<C> all = form<C>(set, weight.rows(), weight.cols(), nullptr, &gains);
  const auto next_element = [](const unsigned char*& from) {
    const auto value = std::bit_cast<T>(static_cast<Bits<T>>(get(from, sizeof(T))));
    from += sizeof(T);
    return value;
  };
  for (const Part& block : blocks) {
    const std::uint64_t size = get(entry + 8, 4);
    entry += 16;
    const unsigned char* next = in + size % 0x80000000u;
    if (size >= 0x80000000u) {
      for (Index i = 0; i < block.lines; ++i)
        for (Index j = 0; j < block.length; ++j) element(weight, block.line + i, block.position + j) = next_element(in);
    } else {
      const std::vector<Part> tiles = cut(block, 8, 32);
      const unsigned char* summaries = in + 4;
      const unsigned char* masks = summaries + 2 * tiles.size();
      const unsigned char* distances = masks + 2 * get(in, 2);
      const unsigned char* raw = distances + get(in + 2, 2);
      for (const Part& tile : tiles) {
        const std::uint64_t summary = get(summaries, 2);
        summaries += 2;
        for (Index i = 0; i < tile.lines; ++i)
          for (Index half = 0; half < 2; ++half) {
            std::uint64_t mask = 0;
            if ((summary >> (2 * i + half)) % 2 == 1) {
              mask = get(masks, 2);
              masks += 2;
            }
            for (Index lane = 0; lane < 16 && 16 * half + lane < tile.length; ++lane) {
              T& w = element(weight, tile.line + i, tile.position + 16 * half + lane);
              const Index line = tile.line + i, position = tile.position + 16 * half + lane;
              const T guess = by_rows ? all.candidate(w, line, position) : all.candidate(w, position, line);
              const int distance = (mask >> lane) % 2 == 1 ? static_cast<std::int8_t>(*distances++) : 0;
              w = distance == -128 ? next_element(raw) : from_ordered<T>(ordered(guess) + distance);
            }
          }
      }
    }
    in = next;
  }
  return weight;
}

}  // namespace reference
