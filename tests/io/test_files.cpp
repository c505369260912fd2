// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "io/files.hpp"

#include <lora/io/file/folder.hpp>
#include <lora/io/file/output_file.hpp>

#include <csignal>
#include <cstdlib>

namespace io = lora::io;
using test::expect_pieces, test::message;

namespace {

TEST(Printable, KeepsReadableText) {
  EXPECT_EQ(io::printable("model.layers.0.q_proj"), "model.layers.0.q_proj");
  EXPECT_EQ(io::printable("\u00e9\u6f22\U0001f600"), "\u00e9\u6f22\U0001f600");
}

TEST(Printable, EscapesWhatATerminalWouldActOn) {
  EXPECT_EQ(io::printable("a\x1b[31mb\nc\r\t\x7f"), "a\\x1b[31mb\\x0ac\\x0d\\x09\\x7f");
  EXPECT_EQ(io::printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(io::printable("\xc2\x9b"
                          "31m"),
            "\\xc2\\x9b31m")
      << "a control sequence introducer in one character";
  EXPECT_EQ(io::printable("\u202egnp.exe"), "\\xe2\\x80\\xaegnp.exe") << "writing turned around";
  EXPECT_EQ(io::printable("\\x1b"), "\\\\x1b") << "an escape that stands in the file must not look like one of ours";
}

TEST(Printable, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(io::printable("a\xff"
                          "b"),
            "a\\xffb");
  EXPECT_EQ(io::printable("\xc0\x80"), "\\xc0\\x80") << "overlong";
  EXPECT_EQ(io::printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
  EXPECT_EQ(io::printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "beyond U+10FFFF";
  EXPECT_EQ(io::printable("\xe6\xbc"), "\\xe6\\xbc") << "cut";
}

TEST(Printable, ShortensLongText) {
  const std::string out = io::printable(std::string(1'000'000, 'x') + "end");
  EXPECT_LT(out.size(), 260u);
  expect_pieces(out, {"xxx", "1000003 bytes", "end"});
}

TEST(InputFile, ReadsPieces) {
  const test::Folder folder;
  test::write(folder / "f", "0123456789");
  const io::InputFile file(folder / "f");
  EXPECT_EQ(file.size(), 10u);
  std::array<std::byte, 3> part{};
  file.read(7, part);
  EXPECT_EQ(static_cast<char>(part[2]), '9');
  expect_pieces(message([&] { file.read(8, part); }), {"3 bytes at offset 8", "10 bytes"});
  expect_pieces(message([&] { file.read(UINT64_MAX, part); }), {"expected 3 bytes"});
  file.expect_unchanged();
}

TEST(InputFile, RefusesWhatIsNoFile) {
  const test::Folder folder;
  expect_pieces(message([&] { io::InputFile(folder / "none\n"); }), {"none\\x0a", "No such file"});
  expect_pieces(message([&] { io::InputFile{folder.path()}; }), {"expected a regular file"});
#if LORA_TEST_POSIX
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_pieces(message([&] { io::InputFile(folder / "pipe"); }), {"expected a regular file"});
#endif
}

TEST(InputFile, AFileThatShrinksIsAnError) {
  const test::Folder folder;
  test::write(folder / "f", std::string(100'000, 'x'));
  const io::InputFile file(folder / "f");
  std::filesystem::resize_file(folder / "f", 10);
  std::vector<std::byte> all(100'000);
  expect_pieces(message([&] { file.read(0, all); }), {"became shorter", "100000"});
  expect_pieces(message([&] { file.expect_unchanged(); }), {"changed", "found 10"});
}

TEST(InputFile, ReplacingTheFileLeavesTheOldOneReadable) {
  const test::Folder folder;
  test::write(folder / "f", "old");
  const io::InputFile file(folder / "f");
  io::OutputFile out(folder / "f");
  out.write("newer");
  out.commit();
  std::array<std::byte, 3> bytes{};
  file.read(0, bytes);
  EXPECT_EQ(static_cast<char>(bytes[0]), 'o');
  EXPECT_EQ(test::read(folder / "f"), "newer");
}

TEST(Paths, AreUtf8InTexts) {
  const test::Folder folder;
  const std::string name = "\u00e9\u6f22\U0001f600";
  const std::filesystem::path path = folder.path() / io::utf8_path(name);
  io::OutputFile out(path);
  out.commit();
  EXPECT_EQ(io::utf8_text(path.filename()), name);
  EXPECT_EQ(io::files_below(folder.path()), std::vector<std::string>{name});
  std::filesystem::remove(path);
  expect_pieces(message([&] { io::InputFile{path}; }), {name, "cannot open"});
}

TEST(Paths, MayBeLong) {
  const test::Folder folder;
  const std::filesystem::path within = folder.path() / std::string(80, 'a') / std::string(80, 'b');
  std::filesystem::create_directories(within);
  const std::filesystem::path path = within / std::string(150, 'c');
  {
    io::OutputFile out(path);
    out.write("long");
    out.commit();
  }
  EXPECT_EQ(io::InputFile(path).size(), 4u);
  std::error_code error;
  io::detail::remove_file(path, error);
  EXPECT_FALSE(error) << error.message();
}

TEST(OutputFile, AppearsWithTheCommit) {
  const test::Folder folder;
  io::OutputFile out(folder / "f");
  out.write("abc");
  out.write_at(1, std::as_bytes(std::span("X", 1)));
  EXPECT_EQ(out.position(), 3u);
  EXPECT_FALSE(std::filesystem::exists(folder / "f"));
  EXPECT_EQ(out.temporary_path().parent_path(), folder.path());
  out.flush();
  out.commit();
  EXPECT_EQ(test::read(folder / "f"), "aXc");
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_NE(message<lora::StateError>([&] { out.write("d"); }), "");
  EXPECT_NE(message<lora::StateError>([&] { out.commit(); }), "");
}

TEST(OutputFile, WithoutACommitNothingRemainsAndNothingChanges) {
  const test::Folder folder;
  test::write(folder / "f", "old");
  {
    io::OutputFile out(folder / "f");
    out.write("new");
    const io::OutputFile moved = std::move(out);
    EXPECT_EQ(folder.entries(), 2u);
  }
  EXPECT_EQ(test::read(folder / "f"), "old");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(OutputFile, TwoAtOnceDoNotMeet) {
  const test::Folder folder;
  io::OutputFile a(folder / "f"), b(folder / "f");
  a.write("a");
  b.write("b");
  b.commit();
  a.commit();
  EXPECT_EQ(test::read(folder / "f"), "a");
  EXPECT_EQ(folder.entries(), 1u);
}

#if LORA_TEST_POSIX
TEST(OutputFile, Permissions) {
  const test::Folder folder;
  const mode_t before = ::umask(0027);
  {
    io::OutputFile out(folder / "new");
    out.commit();
  }
  ::umask(before);
  const auto mode = [&](const std::string& name) {
    struct stat status {};
    EXPECT_EQ(::stat((folder / name).c_str(), &status), 0);
    return status.st_mode & 07777;
  };
  EXPECT_EQ(mode("new"), 0640u);
  ASSERT_EQ(::chmod((folder / "new").c_str(), 0600), 0);
  io::OutputFile again(folder / "new");
  again.commit();
  EXPECT_EQ(mode("new"), 0600u) << "a replaced file keeps its permissions";
}
#endif

TEST(OutputFile, RefusesTargetsThatCannotBe) {
  const test::Folder folder;
  expect_pieces(message([&] { io::OutputFile(folder / "no" / "f"); }), {"no/f", "cannot create", "No such file"});
  expect_pieces(message([&] { io::OutputFile{folder.path()}; }), {"expected a regular file"});
  EXPECT_NE(message([&] { io::OutputFile(folder.path() / ""); }), "");
#if LORA_TEST_POSIX
  expect_pieces(message([&] { io::OutputFile("/dev/null"); }), {"expected a regular file"});
#endif
  test::write(folder / "f", "old");
  std::filesystem::permissions(folder / "f", std::filesystem::perms(0444));
  expect_pieces(message([&] { io::OutputFile(folder / "f"); }), {"write-protected"});
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(test::read(folder / "f"), "old");
  std::filesystem::permissions(folder / "f", std::filesystem::perms(0666));  // Windows removes no other
}

#if LORA_TEST_POSIX
TEST(OutputFile, ALinkIsReplacedNotFollowed) {
  const test::Folder folder;
  test::write(folder / "blob", "old");
  std::filesystem::create_symlink("blob", folder / "link");
  io::OutputFile out(folder / "link");
  out.write("new");
  out.commit();
  EXPECT_EQ(test::read(folder / "blob"), "old");
  EXPECT_EQ(test::read(folder / "link"), "new");
}

// A limit on the size of files stands in for the disk: writing beyond it fails as on a full one.
[[noreturn]] void write_to_a_full_disk(const test::Folder& folder) {
  ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit {};
  limit.rlim_cur = limit.rlim_max = 1000;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  std::string text;
  {
    io::OutputFile out(folder / "f");
    text = message([&] { out.write(std::string(5000, 'x')); });
  }
  std::exit(text.find("cannot write") != std::string::npos && folder.entries() == 0 ? 0 : 1);
}

TEST(OutputFileDeathTest, AFullDiskIsAnError) {
  const test::Folder folder;
  EXPECT_EXIT(write_to_a_full_disk(folder), testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
