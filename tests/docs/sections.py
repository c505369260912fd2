#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""sections.py SOURCE GUIDE: what stands between two `// [name]` lines of a program is a piece of code of the guide."""

import pathlib
import re
import sys
import textwrap

source, guide = (pathlib.Path(path).read_text(encoding="utf-8") for path in sys.argv[1:3])
pieces = re.findall(r"```cpp\n(.*?)```", guide, re.S)
sections = re.findall(r"^ *// \[(\w+)\]\n(.*?)^ *// \[\1\]\n", source, re.S | re.M)
others = [name for name, code in sections if textwrap.dedent(code) not in pieces]
print(f"{len(sections)} sections, not in the guide: {', '.join(others) or 'none'}")
markers = len(re.findall(r"^ *// \[\w+\]$", source, re.M))
sys.exit(1 if others or not sections or markers != 2 * len(sections) else 0)
