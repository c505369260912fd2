#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""test_prepare.py DOCS_SITE: what docs/site/prepare.py makes of headers and guides."""

import pathlib
import sys
import unittest

sys.path.insert(0, sys.argv.pop(1))
import prepare


def header(text):
    return "\n".join(prepare.Header(text.split("\n")).run())


class Headers(unittest.TestCase):
    def test_a_comment_holds_for_the_functions_right_below(self):
        self.assertEqual(header("/// Out and in.\nint rows();\nint cols() { return 1; }\nint depth();"),
                         "/// Out and in.\nint rows();\n/** Out and in. */ int cols() { return 1; }\n"
                         "/** Out and in. */ int depth();")

    def test_and_no_further_than_a_blank_line_or_the_next_comment(self):
        text = "/// One.\nint a();\n\nint b();\n/// Three.\nint c();\n"
        self.assertEqual(header(text), text)

    def test_a_function_without_any_comment_stays_without_one(self):
        text = "struct S {\n  int a();\n};\n"
        self.assertEqual(header(text), text)

    def test_nor_does_a_comment_of_a_class_hold_for_its_members(self):
        text = "/// A class.\nstruct S {\n  int a();\n};\n"
        self.assertEqual(header(text), text)

    def test_overrides_refer_to_their_base(self):
        self.assertIn("/** As Base::a() says. */", header("class S final : public lora::Base<T> {\n  int a() override;\n};"))

    def test_copies_and_moves_are_left_out(self):
        self.assertEqual(header("struct S {\n  S(const S&) = default;\n  S& operator=(S&& other) noexcept { return *this; }\n};"),
                         "struct S {\n\n\n};")

    def test_private_classes_are_left_out(self):
        public = " public:\n  struct H {\n  };\n  int c;\n};\nint d;"
        self.assertEqual(header("class S : public T<A> {\n  struct G {\n    int a;\n  };\n" + public),
                         "class S : public T<A> {\n\n\n\n" + public)

    def test_declarators_of_one_line_share_its_comment(self):
        self.assertEqual(header("struct S {\n  int a = 0, b = 1;  ///< both\n};").split("\n")[1],
                         "/** both */ int a = 0; /** both */ int b = 1;")

    def test_indented_lines_of_comments_are_code(self):
        self.assertEqual(header("/// So:\n///\n///     f();\n///     g();\nint f();"),
                         "/// So:\n///\n/// \\code{.cpp}\n///     f();\n///     g();\n/// \\endcode\nint f();")


class Guides(unittest.TestCase):
    path = prepare.ROOT / "docs" / "ENGINE.md"

    def test_links_between_guides_lead_to_pages(self):
        self.assertIn('<a href="guide_files.html#guide_files-what-is-refused">see</a>',
                      prepare.guide(self.path, "# In an engine\n[see](FILES.md#what-is-refused)"))

    def test_headings_have_places(self):
        self.assertIn("## A restart {#guide_engine-a-restart}", prepare.guide(self.path, "# In an engine\n## A restart"))

    def test_what_the_site_does_not_have_is_no_link(self):
        self.assertIn("``the licence``", prepare.guide(self.path, "# In an engine\n[the licence](../LICENSE)"))

    def test_code_may_have_apostrophes_and_begin_what_is_bold(self):
        self.assertIn("writes ``W' = W`` over ``W0``, **and** <b>``ties``, the longest</b>",
                      prepare.guide(self.path, "# In an engine\nwrites `W' = W` over `W0`, **and** **`ties`, the longest**"))

    def test_code_is_left_alone(self):
        self.assertIn("W[i](j)", prepare.guide(self.path, "# In an engine\n```cpp\nW[i](j)\n```"))


if __name__ == "__main__":
    unittest.main()
