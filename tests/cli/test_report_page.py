# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The page of lora report --html: its structure, and under --full what a real browser makes of it."""

import html.parser
import json
import math
import os
import re
import struct
import unittest

from browser import Browser
from support import Tensors, ToolTest, gaussian, save_adapter, tensor

HOSTILE = "<script>alert(1)</script>&\"'<b>"
MODULES = ["model.layers.0.q", "model.layers.0.<img src=x onerror=alert(2)>", "model.layers.1.q"]
VOID = {"meta", "link", "br", "wbr", "img", "rect", "path"}


class Outline(html.parser.HTMLParser):
    """Checks that tags close each other, and collects what tests ask for."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text, self.title = [], [], "", ""
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID or (self.open and "svg" in self.open and tag in ("rect", "path") and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["title"] and "svg" not in self.open:
            self.title += data
        if "style" not in self.open:
            self.text += data

    def all(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]


class PageTest(ToolTest):
    """A base, adapters, and the page about them."""

    def setUp(self):
        super().setUp()
        base = Tensors()
        for i, module in enumerate(MODULES):
            base[f"{module}.weight"] = tensor("F32", gaussian(i, 9, 8))
        base.save(self.folder / "base.safetensors")

    def adapter(self, name, seed, sign=1, modules=None):
        """The same factors for the same seed, B with a sign; a bit of noise makes it its own."""
        factors = {}
        for i, module in enumerate(modules or MODULES):
            b = [[sign * x + 0.3 * y for x, y in zip(p, q)] for p, q in zip(gaussian(seed + i + 50, 9, 2), gaussian(hash_of(name) + i, 9, 2))]
            factors[module] = (tensor("F32", gaussian(seed + i, 2, 8)), tensor("F32", b))
        return save_adapter(self.folder / name, factors)

    def page(self, *names, extra=(), **options):
        arguments = [piece for name in names for piece in ("--adapter", self.folder / name)]
        self.run_tool("report", "--base", "base.safetensors", *arguments, "--html", "page.html", *extra, **options)
        return (self.folder / "page.html").read_text(encoding="utf-8")

    def three(self):
        self.adapter("one", 1)
        self.adapter("two", 1, sign=-1)
        self.adapter("three", 200, modules=MODULES[:2])
        return "one", "two", "three"


class Page(PageTest):
    def test_structure(self):
        outline = Outline(self.page(*self.three()))
        self.assertEqual(outline.all("html"), [{"lang": "en"}])
        self.assertEqual(outline.title, "Adapter report: one, two, three")
        self.assertTrue(any(meta.get("name") == "viewport" for meta in outline.all("meta")))
        self.assertEqual(outline.all("script"), [])
        identities = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
        self.assertEqual(len(identities), len(set(identities)))
        for link in outline.all("a"):
            self.assertIn(link["href"].removeprefix("#"), identities)
        for section in outline.all("section"):
            self.assertIn(section["aria-labelledby"], identities)
        for svg in outline.all("svg"):
            if svg.get("role") == "img":
                for identity in svg["aria-labelledby"].split():
                    self.assertIn(identity, identities)
            else:
                self.assertEqual(svg["aria-hidden"], "true")
        for region in outline.all("div"):
            if region.get("class") == "scroll":
                self.assertTrue(region["aria-label"])
                self.assertEqual((region["tabindex"], region["role"]), ("0", "region"))
        self.assertEqual(len(outline.all("table")), len(outline.all("caption")))
        self.assertGreaterEqual(len(outline.all("details")), 2)

    def test_it_loads_nothing(self):
        page = self.page(*self.three())
        self.assertIn("default-src 'none'", page)
        self.assertEqual(re.findall(r"https?://|url\(|@import|//", page), [])
        outline = Outline(page)
        for tag, attributes in outline.tags:
            self.assertNotIn("src", attributes)
            self.assertFalse([name for name in attributes if name.startswith("on")])
            if tag != "a" and "href" in attributes:
                self.assertEqual((tag, attributes["href"]), ("link", "data:,"))

    def test_the_sentence_and_the_numbers(self):
        names = self.three()
        page = self.page(*names, extra=["--json"])
        report = json.loads(self.printed)
        text = re.sub(r"\s+", " ", Outline(page).text)
        self.assertIn("one and two pull against each other: their sum cancels, strongly.", text)
        [pair] = [pair for pair in report["pairs"] if pair["adapters"] == ["one", "two"]]
        self.assertEqual(pair["layers"], 3)
        self.assertLess(pair["cosine"], -0.5)
        self.assertIn(f"{pair['cosine']:.3f}".replace("-", "−"), text)
        product = squares_one = squares_two = 0
        for layer in report["layers"]:
            [found] = [other for other in layer["pairs"] if other["adapters"] == ["one", "two"]]
            product += found["inner_product"]
            squares_one += layer["updates"][0]["norm"] ** 2
            squares_two += layer["updates"][1]["norm"] ** 2
        self.assertAlmostEqual(pair["cosine"], product / (squares_one * squares_two) ** 0.5, delta=1e-12)
        self.assertRegex(text, r"(Up to \d+|No two) of these by plain sum, if they are to keep 80 % of what they do alone on average")
        # Of adapters against each other little is left, and the page says so first.
        lead = re.search(r'<p class="lead">(.*?)</p>', page)[1]
        self.assertRegex(lead, "^No two of these by plain sum, if they are to keep 80 % of what they do alone on average \\(in the sum of all 3 the weakest, .*(one|two).*, keeps \\d %\\); use ")
        for kept in report["forecast"]["retained"]:
            self.assertIn(f"{kept['adapter']}{kept['crosstalk']:.2f}", text.replace(" ", ""))
        [other] = [pair for pair in report["pairs"] if pair["adapters"] == ["two", "three"]]
        self.assertEqual(other["layers"], 2)

    def test_one_adapter_and_adapters_apart(self):
        self.adapter("one", 1, modules=MODULES[:1])
        self.adapter("two", 1, modules=MODULES[1:])
        alone = Outline(self.page("one"))
        self.assertIn("one changes the weights by", alone.text)
        self.assertNotIn("pairs", [section["id"] for section in alone.all("section")])
        self.assertIn("different layers", Outline(self.page("one", "two")).text)

    def test_hostile_names_stay_names(self):
        hostile = HOSTILE.replace("/", "")
        self.adapter(hostile, 1)
        self.adapter("plain", 1)
        page = self.page(hostile, "plain")
        outline = Outline(page)
        self.assertEqual(outline.all("script") + outline.all("img") + outline.all("b")[6:], [])
        self.assertEqual(outline.title, f"Adapter report: {hostile}, plain")
        self.assertIn("<img src=x onerror=alert(2)>", outline.text)

    def test_it_replaces_only_what_it_may(self):
        names = self.three()
        self.page(*names)
        before = (self.folder / "page.html").read_bytes()
        self.assertEqual(self.page(*names).encode(), before)
        self.expect_error(2, ["is an input"], "report", "--base", "base.safetensors", "--adapter", "one", "--html", "base.safetensors")
        inputs = Tensors()
        inputs["model.layers.0.q"] = tensor("F32", gaussian(5, 4, 8))
        inputs.save(self.folder / "inputs.safetensors")
        self.expect_error(2, ["is an input"], "report", "--base", "base.safetensors", "--adapter", "one", "--inputs", "inputs.safetensors",
                          "--html", "inputs.safetensors")
        self.expect_error(1, ["nowhere"], "report", "--base", "base.safetensors", "--adapter", "one", "--html", "nowhere/page.html")

    def test_more_adapters_than_the_curve_has_points(self):
        names = [f"a{i}" for i in range(131)]
        for i, name in enumerate(names):
            self.adapter(name, 1000 + 3 * i, modules=MODULES[:1])
        page = self.page(*names)
        [point] = re.findall(r'<circle cx="([\d.]+)"', page)
        self.assertLessEqual(float(point), 52 + 560)
        numbers = re.search(r'class="line" d="([^"]+)"', page)[1]
        self.assertTrue(numbers.endswith(f"L{point} {re.search('<circle cx=.{5,9} cy=.([0-9.]+)', page)[1]}"))

    def test_inputs_of_others(self):
        names = self.three()
        inputs = Tensors()
        x = gaussian(5, 4, 8)
        inputs["model.layers.0.q"] = tensor("F32", x)
        inputs[f"{MODULES[1]}.weight"] = tensor("BF16", [list(column) for column in zip(*x)])  # in x n
        inputs.save(self.folder / "inputs.safetensors")
        page = self.page(*names, extra=["--inputs", "inputs.safetensors", "--json"])
        first, second, third = json.loads(self.printed)["layers"]
        self.assertNotIn("output_change", third)
        self.assertEqual(len(second["output_change"]), 3)
        outputs = []
        for name in names:
            factors = Tensors(self.folder / name / "adapter_model.safetensors")
            a, b = (factors.fractions(f"base_model.model.model.layers.0.q.lora_{piece}.weight") for piece in "AB")
            h = [[sum(float(p) * q for p, q in zip(row, sample)) for sample in x] for row in a]
            y = [[4 * sum(float(row[k]) * h[k][n] for k in range(2)) for n in range(4)] for row in b]
            outputs.append(sum(value * value for row in y for value in row) ** 0.5)
        for i in range(3):
            for j in range(3):
                self.assertAlmostEqual(first["output_change"][i][j], outputs[i] / outputs[j], delta=1e-5 * outputs[i] / outputs[j])
        self.assertIn("inputs", [section["id"] for section in Outline(page).all("section")])
        two = ["--inputs", "inputs.safetensors", "--inputs", "inputs.safetensors"]
        arguments = ["report", "--base", "base.safetensors", *(piece for name in names for piece in ("--adapter", name))]
        self.expect_error(2, ["one for each of 3 adapters, found 2"], *arguments, *two)
        inputs["model.layers.0.q"] = tensor("F32", gaussian(5, 4, 7))
        inputs.save(self.folder / "inputs.safetensors")
        self.expect_error(1, ["expected n x 8 or 8 x n", "[4, 7]"], *arguments, "--inputs", "inputs.safetensors")
        inputs["model.layers.0.q"] = tensor("F32", x)
        inputs.save(self.folder / "inputs.safetensors")
        other = Tensors()
        other["another"] = tensor("F32", x)
        other.save(self.folder / "other.safetensors")
        three = [piece for file in ("inputs", "other", "inputs") for piece in ("--inputs", f"{file}.safetensors")]
        self.expect_error(1, ["other.safetensors: expected inputs of an adapted module"], *arguments, *three)
        content = bytearray(inputs["model.layers.0.q"][2])
        content[4 * 10:4 * 11] = struct.pack("<f", math.inf)
        other["model.layers.0.q"] = ("F32", [4, 8], bytes(content))
        other.save(self.folder / "other.safetensors")
        self.expect_error(1, ["other.safetensors: tensor 'model.layers.0.q': expected finite numbers, found infinity at (1, 2)"], *arguments, *three)
        other.pop("model.layers.0.q")
        other.save(self.folder / "other.safetensors")
        self.expect_error(1, ["expected inputs of an adapted module"], *arguments, "--inputs", "other.safetensors")


def hash_of(name):
    return sum(name.encode()) * 7


def luminance_script():
    return """(() => {
      const rgb = text => text.match(/[\\d.]+/g).map(Number);
      const light = c => { const f = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
                           return 0.2126 * f(c[0]) + 0.7152 * f(c[1]) + 0.0722 * f(c[2]); };
      const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
      const behind = node => { for (; node; node = node.parentElement) { const c = rgb(getComputedStyle(node).backgroundColor);
                                 if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
      let worst = [99, ''];
      const see = (value, node) => { if (value < worst[0]) worst = [value, node.outerHTML.slice(0, 120)]; };
      for (const node of document.querySelectorAll('p,a,h1,h2,h3,li,td,th,dt,dd,small,caption,figcaption,summary,code'))
        if (node.textContent.trim()) see(ratio(rgb(getComputedStyle(node).color), behind(node)), node);
      for (const node of document.querySelectorAll('svg text')) {
        const box = node.previousElementSibling, fill = box && box.tagName === 'rect' ? rgb(getComputedStyle(box).fill) : [0, 0, 0, 0];
        see(ratio(rgb(getComputedStyle(node).fill), fill.length < 4 || fill[3] === 1 ? fill : behind(node)), node);
      }
      return worst;
    })()"""


if os.environ.get("LORA_TEST_FULL"):  # only there is a browser

    class InABrowser(PageTest):
        def test_in_a_browser(self):
            names = list(self.three())
            for i in range(4):
                self.adapter(f"a-rather-long-name-of-an-adapter-{i}", 300 + i)
                names.append(f"a-rather-long-name-of-an-adapter-{i}")
            self.page(*names)
            address = (self.folder / "page.html").as_uri()
            with Browser() as browser:
                for width, height in ((1280, 900), (375, 720), (320, 568)):
                    for scheme in ("light", "dark"):
                        with self.subTest(width=width, scheme=scheme):
                            browser.show(address, width, height, scheme)
                            self.assertEqual(browser.problems, [])
                            self.assertEqual(browser.requests, [address])
                            self.assertEqual(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), True)
                            ratio, node = browser.evaluate(luminance_script())
                            self.assertGreaterEqual(ratio, 4.5, node)
                            picture = browser.screenshot(os.environ.get("LORA_SCREENSHOTS") and f"{os.environ['LORA_SCREENSHOTS']}/{width}-{scheme}.png")
                            self.assertGreater(len(picture), 10000)
                self.keyboard(browser, address)

        def keyboard(self, browser, address):
            browser.show(address, 375, 720, "light")
            wanted = browser.evaluate("document.querySelectorAll('a[href],summary,.scroll').length")
            hidden = browser.evaluate("[...document.querySelectorAll('details:not([open]) .scroll')].length")
            seen, first = [], None
            for _ in range(wanted + 5):
                browser.press("Tab")
                one = browser.evaluate("(() => { const e = document.activeElement; return [[...document.querySelectorAll('*')].indexOf(e), e.tagName, "
                                       "getComputedStyle(e).outlineStyle, e.textContent.slice(0, 30)]; })()")
                if one[1] == "BODY" or one[0] == first:
                    break
                first = first if first is not None else one[0]
                self.assertNotEqual(one[2], "none", one)
                seen.append(one)
            self.assertEqual(seen[0][3], "To the report")
            self.assertEqual(len(seen), wanted - hidden, seen)
            browser.evaluate("document.querySelector('summary').focus()")
            browser.press("Enter")
            self.assertEqual(browser.evaluate("document.querySelector('details').open"), True)


if __name__ == "__main__":
    unittest.main()
