// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "files.hpp"

#include "commands.hpp"

#include <array>
#include <cstdio>

namespace cli {

namespace io = lora::io;

namespace {

bool is_same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  if (fs::equivalent(a, b, error) && !error) return true;
  // Of files that are not there yet the names are compared, as absolute ones.
  const fs::path whole_a = fs::weakly_canonical(fs::absolute(a, error), error);
  return !error && whole_a == fs::weakly_canonical(fs::absolute(b, error), error);
}

}  // namespace

void expect_apart(std::initializer_list<fs::path> inputs, std::initializer_list<fs::path> outputs) {
  for (auto output = outputs.begin(); output != outputs.end(); ++output) {
    if (output->empty()) continue;
    for (const fs::path& input : inputs)
      if (is_same_file(input, *output))
        throw UsageError("the output " + output->string() + " is an input as well; give it another name");
    for (auto other = outputs.begin(); other != output; ++other)
      if (is_same_file(*other, *output))
        throw UsageError("two outputs have the name " + output->string() + "; give one another name");
  }
}

io::RestChecksum copy_tensors(const io::Safetensors& from, io::SafetensorsWriter& to,
                              const std::function<bool(const io::TensorInfo&)>& change) {
  io::RestChecksum rest;
  std::vector<std::byte> buffer;
  for (const io::TensorInfo& tensor : from.tensors()) {
    if (change(tensor)) continue;
    for (std::uint64_t at = 0; at < tensor.bytes(); at += buffer.size()) {
      buffer.resize(
          static_cast<std::size_t>(std::min<std::uint64_t>(io::RestChecksum::piece_bytes, tensor.bytes() - at)));
      from.read(tensor, at, buffer);
      rest.add(buffer);
      to.write_at(tensor.begin + at, buffer);
    }
  }
  return rest;
}

const CLI::Validator not_empty(
    [](const std::string& name) { return name.empty() ? "expected a name, found none" : ""; }, "", "");

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "How many threads to use (default: as many as there are processors)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
}

void use_threads(int threads) {
  if (threads > 0) Eigen::setNbThreads(threads);
}

std::string number_text(double value, int digits) {
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.*g", digits, value);
  return {text.data(), static_cast<std::size_t>(length)};
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::array units{"bytes", "kB", "MB", "GB", "TB"};
  if (bytes < 1000) return lora::detail::text(bytes, bytes == 1 ? " byte" : " bytes");
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < units.size(); ++unit) value /= 1000;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, units[unit]);
  return text.data();
}

std::string percent_text(double part, double whole) {
  return whole > 0 ? number_text(100 * part / whole, 3) + " %" : "-";
}

}  // namespace cli
