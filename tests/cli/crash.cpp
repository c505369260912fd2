// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// A library to be preloaded (LD_PRELOAD) that sees what a program does to its files: writes, syncs, renames, removals.
// LORA_CRASH_AT=N ends the program with SIGKILL at the Nth of them, a write after half of its bytes;
// LORA_CRASH_LOG=FILE writes all of them down, as lines of text in front of the bytes that were written.
// LORA_CRASH_WAIT=N stops the program (SIGSTOP) there instead, LORA_CRASH_ERROR=N lets every write from the Nth call on
// whose file ends in LORA_CRASH_FILE fail: the disk is full.

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

namespace {

long number_of(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? -1 : std::atol(value);
}

template <class Function>
Function next(Function, const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

std::string path_of(int file) {
  char path[4096];
  const ssize_t size = readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), path, sizeof(path));
  return std::string(path, size < 0 ? 0 : static_cast<std::size_t>(size));
}

std::mutex mutex;
long events = 0;

void put(int log, const void* data, std::size_t size) {
  if (write(log, data, size) != static_cast<ssize_t>(size)) std::abort();
}

// Counts and writes down an event, and says whether it is the last.
bool see(const std::string& kind, const std::string& path, const std::string& other, const void* data, std::size_t size,
         long offset) {
  static const long end = number_of("LORA_CRASH_AT"), wait = number_of("LORA_CRASH_WAIT");
  static const char* const log_path = std::getenv("LORA_CRASH_LOG");
  static const int log = log_path == nullptr ? -1 : open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  ++events;
  if (log >= 0) {
    const std::string line =
        kind + "\t" + path + "\t" + other + "\t" + std::to_string(offset) + "\t" + std::to_string(size) + "\n";
    put(log, line.data(), line.size());
    put(log, data, size);
  }
  if (events == wait) raise(SIGSTOP);
  return events == end;
}

ssize_t write_at(int file, const void* data, std::size_t size, off_t offset) {
  static const auto real = next(&pwrite, "pwrite");
  static const long error = number_of("LORA_CRASH_ERROR");
  static const char* const ending = std::getenv("LORA_CRASH_FILE");
  const std::lock_guard lock(mutex);
  const std::string path = path_of(file);
  if (see("write", path, "", data, size, static_cast<long>(offset))) {
    if (size > 1) real(file, data, size / 2, offset);
    raise(SIGKILL);
  }
  if (error >= 0 && events >= error && ending != nullptr && path.ends_with(ending)) {
    errno = ENOSPC;
    return -1;
  }
  return real(file, data, size, offset);
}

}  // namespace

extern "C" {

ssize_t pwrite(int file, const void* data, size_t size, off_t offset) { return write_at(file, data, size, offset); }
ssize_t pwrite64(int file, const void* data, size_t size, off_t offset) { return write_at(file, data, size, offset); }

int fsync(int file) {
  static const auto real = next(&fsync, "fsync");
  const std::lock_guard lock(mutex);
  if (see("sync", path_of(file), "", nullptr, 0, 0)) raise(SIGKILL);
  return real(file);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = next(&rename, "rename");
  const std::lock_guard lock(mutex);
  if (see("rename", from, to, nullptr, 0, 0)) raise(SIGKILL);
  return real(from, to);
}

int unlink(const char* path) noexcept {
  static const auto real = next(&unlink, "unlink");
  const std::lock_guard lock(mutex);
  if (see("remove", path, "", nullptr, 0, 0)) raise(SIGKILL);
  return real(path);
}

int remove(const char* path) noexcept { return unlink(path); }
}
