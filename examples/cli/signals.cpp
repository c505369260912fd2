// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

#include "signals.hpp"

#include <csignal>
#include <initializer_list>

#if defined(_WIN32)
#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#else
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace cli {
namespace {

volatile std::sig_atomic_t noted = 0;

}  // namespace

int noted_signal() { return noted; }

#if defined(_WIN32)

void note_signals() {
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int number) { noted = number; });
}

void prepare_process() {
  // UTF-8 and the sequences that clear a line for consoles; the same bytes as elsewhere for files and pipes.
  SetConsoleOutputCP(CP_UTF8);
  const HANDLE console = GetStdHandle(STD_ERROR_HANDLE);
  if (DWORD mode = 0; GetConsoleMode(console, &mode) != 0)
    SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
  for (const int stream : {1, 2}) _setmode(stream, _O_BINARY);
}

bool is_terminal() { return _isatty(2) != 0; }

std::vector<std::string> arguments(int, char**) {
  int count = 0;
  wchar_t** const all = CommandLineToArgvW(GetCommandLineW(), &count);
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    const std::wstring_view wide = all[i];
    const int length = static_cast<int>(wide.size());
    std::string text(static_cast<std::size_t>(
                         WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, nullptr, 0, nullptr, nullptr)),
                     '\0');
    WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, text.data(), static_cast<int>(text.size()), nullptr, nullptr);
    out.push_back(std::move(text));
  }
  LocalFree(all);
  return out;
}

#else

void note_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { noted = signal; };
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction before {};
    // One that is ignored (nohup, a shell's background job) stays ignored.
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
}

void prepare_process() {
  for (int stream = 0; stream < 3; ++stream)
    if (fcntl(stream, F_GETFD) == -1 && open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY) != stream) _exit(1);
  // Every shard is a file to read and one to write.
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

bool is_terminal() { return ::isatty(STDERR_FILENO) == 1; }

std::vector<std::string> arguments(int argc, char** argv) { return {argv, argv + argc}; }

#endif

}  // namespace cli
