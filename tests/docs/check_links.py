#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""check_links.py SITE: every link between the pages of a folder leads to a file that is there, and to a place in it;
every guide and class is reached from index.html; no guide has marks of Markdown left in its text."""

import html.parser
import pathlib
import re
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    VERBATIM = ("code", "pre", "script", "style")

    def __init__(self, text):
        super().__init__()
        self.links, self.places, self.left, self.code = [], set(), [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name"):
                self.places.add(value)
            elif name in ("href", "src"):
                self.links.append(value)
        self.code += tag in self.VERBATIM or ("class", "fragment") in attributes or (self.code and tag == "div")

    def handle_endtag(self, tag):
        self.code -= bool(self.code) and tag in (*self.VERBATIM, "div")

    def handle_data(self, data):
        if not self.code:
            self.left += re.findall(r".{0,30}(?:`|‘|\*\*).{0,30}", data)


def main():
    site = pathlib.Path(sys.argv[1])
    pages = {path.name: Page(path.read_text(encoding="utf-8")) for path in site.glob("*.html")}
    broken, reached, next_ones = [], set(), ["index.html"]
    for name, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlparse(link)
            if url.scheme in ("http", "https", "javascript", "data", "mailto"):
                continue
            target = urllib.parse.unquote(url.path) or name
            place = urllib.parse.unquote(url.fragment)
            if not (site / target).is_file():
                broken.append(f"{name}: {link}: no such file")
            elif place and target in pages and place not in pages[target].places:
                broken.append(f"{name}: {link}: no such place")
    while next_ones:
        name = next_ones.pop()
        if name in reached or name not in pages:
            continue
        reached.add(name)
        next_ones += [urllib.parse.urlparse(link).path for link in pages[name].links]
    guides = {name for name in pages if name.startswith(("guide_", "class", "struct", "namespacelora"))}
    broken += [f"{name}: no page leads there" for name in sorted(guides - reached)]
    broken += [f"{name}: marks in the text: {text}" for name, page in pages.items() if name.startswith("guide_")
               for text in page.left]
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links, {len(broken)} broken")
    for line in broken:
        print(line)
    return 1 if broken or len(pages) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
