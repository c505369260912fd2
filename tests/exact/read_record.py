#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""An undo record read by somebody else: docs/UNDO-FORMAT.md in plain Python, with exact rational arithmetic.

    read_record.py DIR...        each a directory as described in tests/data/records/README.md

Decodes the records, recomputes delta from the updates and the record's gains, and gets W0 back out of W', in both storage orders.
"""
import pathlib
import struct
import sys
from fractions import Fraction

STEP = 0x9E3779B97F4A7C15
KEYS = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89,
        0x452821E638D01377, 0xBE5466CF34E90C6C, 0xC0AC29B7C97C50DD, 0x3F84D5B5B5470917)
U64 = (1 << 64) - 1


class Binary:
    """A binary floating point format: patterns to exact numbers and back, to nearest even."""

    def __init__(self, bits, fraction_bits):
        self.bits, self.fraction = bits, fraction_bits
        exponent_bits = bits - 1 - fraction_bits
        self.bias = (1 << (exponent_bits - 1)) - 1
        self.infinity = ((1 << exponent_bits) - 1) << fraction_bits
        self.sign = 1 << (bits - 1)
        self.quiet_nan = self.infinity | 1 << (fraction_bits - 1)

    def finite(self, pattern):
        return pattern & self.infinity != self.infinity

    def nan(self, pattern):
        return pattern & (self.sign - 1) > self.infinity

    def value(self, pattern):
        exponent = (pattern & self.infinity) >> self.fraction
        fraction = pattern & ((1 << self.fraction) - 1)
        if exponent:
            fraction |= 1 << self.fraction
        power = max(exponent, 1) - self.bias - self.fraction
        number = Fraction(fraction) * (Fraction(2) ** power)
        return -number if pattern & self.sign else number

    def round(self, number, negative_zero=False):
        sign = self.sign if number < 0 or (number == 0 and negative_zero) else 0
        number = abs(number)
        if number == 0:
            return sign
        power = number.numerator.bit_length() - number.denominator.bit_length()
        while Fraction(2) ** power > number:
            power -= 1
        while Fraction(2) ** (power + 1) <= number:
            power += 1
        power = max(power, 1 - self.bias) - self.fraction  # of the last place
        scaled = number / Fraction(2) ** power
        kept, rest = divmod(scaled.numerator, scaled.denominator)
        if 2 * rest > scaled.denominator or (2 * rest == scaled.denominator and kept & 1):
            kept += 1
        # A mantissa that overflows carries into the exponent.
        if kept >> self.fraction == 0:
            return sign | kept
        pattern = ((power + self.fraction + self.bias - 1) << self.fraction) + kept
        return sign | min(pattern, self.infinity)

    def fma(self, a, b, c):
        """a * b + c of finite patterns, rounded once; some pattern that is not finite when one of them is not."""
        if not (self.finite(a) and self.finite(b) and self.finite(c)):
            return self.quiet_nan
        negative = bool((a ^ b) & self.sign) and bool(c & self.sign)
        return self.round(self.value(a) * self.value(b) + self.value(c), negative)

    def times(self, a, b):
        return self.fma(a, b, self.sign)  # -0 keeps the sign of a product that is 0

    def divided(self, a, b):
        """a / b, rounded; a may be infinite."""
        sign = (a ^ b) & self.sign
        if not self.finite(a):
            return a & ~self.sign | sign
        return self.round(self.value(a) / self.value(b), bool(sign))

    def ordered(self, pattern):
        signed = pattern - (1 << self.bits) if pattern & self.sign else pattern
        return signed ^ (self.sign - 1) if signed < 0 else signed

    def unordered(self, number):
        return (number ^ (self.sign - 1) if number < 0 else number) & ((1 << self.bits) - 1)


TYPES = {1: Binary(16, 10), 2: Binary(16, 7), 3: Binary(32, 23), 4: Binary(64, 52)}
FLOAT, DOUBLE = TYPES[3], TYPES[4]


def compute_type(code):
    return DOUBLE if code == 4 else FLOAT


def require(condition, what):
    if not condition:
        raise SystemExit(f"read_record: {what}")


def patterns(data, size):
    return [int.from_bytes(data[i:i + size], "little") for i in range(0, len(data), size)]


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & U64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & U64
    return x ^ x >> 31


def checksum(lines):
    sums, stripe = [0] * 8, 0
    for line in lines:
        for begin in range(0, len(line), 64):
            words = struct.unpack("<8Q", line[begin:begin + 64].ljust(64, b"\0"))
            for lane in range(8):
                keyed = words[lane] ^ (KEYS[lane] + stripe * STEP & U64)
                sums[lane] = sums[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32) + words[lane ^ 1] & U64
            stripe += 1
    result = mix(sum(map(len, lines)) + STEP & U64)
    for lane in sums:
        result = mix((result ^ lane) * STEP + lane & U64)
    return result


class Numbers:
    """Fields out of a file, one after the other."""

    def __init__(self, data, compute):
        self.data, self.at, self.compute = data, 0, compute

    def left(self):
        return len(self.data) - self.at

    def fields(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def matrix(self, count):
        """`count` patterns of the compute type, and their bytes."""
        size = self.compute.bits // 8
        data = self.data[self.at:self.at + count * size]
        require(len(data) == count * size, "a file of steps ends too early")
        self.at += len(data)
        return patterns(data, size), data


def scale(scaling, coefficient, compute):
    """The product in double, in the compute type."""
    product = struct.unpack("<Q", struct.pack("<d", scaling * coefficient))[0]
    return compute.round(DOUBLE.value(product), bool(product & DOUBLE.sign))


class Factors:
    def __init__(self, numbers, rows, cols):
        self.rank, self.scaling, self.coefficient = numbers.fields("<Idd")
        self.b, self.b_bytes = numbers.matrix(rows * self.rank)
        self.a, self.a_bytes = numbers.matrix(self.rank * cols)
        self.c = scale(self.scaling, self.coefficient, numbers.compute)

    def words(self):
        return self.c, self.rank, checksum([self.b_bytes]), checksum([self.a_bytes])


class Dense:
    def __init__(self, numbers, rows, cols):
        self.coefficient, = numbers.fields("<d")
        self.m, self.m_bytes = numbers.matrix(rows * cols)
        self.c = scale(1.0, self.coefficient, numbers.compute)

    def words(self):
        return self.c, 0x65736E6564FFFFFF, checksum([self.m_bytes])


class Gains:
    """Gains that are given, or (of a magnitude) come from W0."""

    def __init__(self, numbers, size, axis, word, given):
        self.values, self.data = numbers.matrix(size)
        self.axis, self.word, self.given = axis, word, given

    def words(self):
        return self.word, checksum([self.data])


def read_steps(folder, rows, cols, compute):
    """The steps of the form, from factors.bin (updates of factors alone) or steps.bin."""
    steps = []
    if not (folder / "steps.bin").exists():
        numbers = Numbers((folder / "factors.bin").read_bytes(), compute)
        while numbers.left():
            steps.append(Factors(numbers, rows, cols))
        return [step for step in steps if step.coefficient != 0]
    numbers = Numbers((folder / "steps.bin").read_bytes(), compute)
    while numbers.left():
        kind, = numbers.fields("<I")
        steps.append({1: lambda: Factors(numbers, rows, cols),
                      2: lambda: Dense(numbers, rows, cols),
                      3: lambda: Gains(numbers, rows, 0, 0x73776F72FFFFFFFF, True),
                      4: lambda: Gains(numbers, cols, 1, 0x736C6F63FFFFFFFF, True),
                      5: lambda: Gains(numbers, rows, 0, 0x6D726F6EFFFFFFFF, False)}[kind]())
    return steps


def fingerprint(steps, compute):
    state = mix(compute.bits // 8)
    for step in steps:
        for word in step.words():
            state = mix(state ^ word) + STEP & U64
    return state


class Form:
    """g, h and delta of a set for one weight; gains as the record has them."""

    def __init__(self, steps, recorded, rows, cols, compute):
        self.g, self.h = [None] * rows, [None] * cols
        left = [[] for _ in range(rows)]  # rows of B
        right, dense = [], None           # rows of A; D
        recorded = iter(recorded)
        for step in steps:
            if isinstance(step, Factors):
                for i in range(rows):
                    left[i] += [compute.times(step.c, b) for b in step.b[i * step.rank:(i + 1) * step.rank]]
                right += [step.a[k * cols:(k + 1) * cols] for k in range(step.rank)]
            elif isinstance(step, Dense):
                if dense is None:
                    dense = [compute.times(step.c, m) for m in step.m]
                else:
                    dense = [compute.fma(step.c, m, d) for m, d in zip(step.m, dense)]
            else:
                axis, values = next(recorded)
                require(axis == step.axis, "axis of gains")
                require(not step.given or values == step.values, "the record has other gains than were given")
                gains = (self.g, self.h)[axis]
                gains[:] = values if gains[:1] == [None] else [compute.times(v, g) for v, g in zip(values, gains)]
                if axis == 0:
                    left = [[compute.times(v, b) for b in row] for v, row in zip(values, left)]
                else:
                    right = [[compute.times(v, a) for v, a in zip(values, row)] for row in right]
                if dense is not None:
                    dense = [compute.times(values[at // cols if axis == 0 else at % cols], d)
                             for at, d in enumerate(dense)]
        require(next(recorded, None) is None, "gains are left over")
        self.delta = dense or [0] * (rows * cols)
        for i in range(rows):
            for k, b in enumerate(left[i]):
                for j in range(cols):
                    self.delta[i * cols + j] = compute.fma(b, right[k][j], self.delta[i * cols + j])


def blocks(lines, length):
    block_length = min(max(-(-length // 32) * 32, 32), 1024)
    block_lines = 8192 // block_length // 8 * 8
    for line in range(0, lines, block_lines):
        for position in range(0, length, block_length):
            yield line, position, min(block_lines, lines - line), min(block_length, length - position)


def elements_in_order(lines, length):
    """(line, position) of each element of a block in the order of tiles, groups and lanes, with its tile and group."""
    tile = 0
    for top in range(0, lines, 8):
        for left in range(0, length, 32):
            for group in range(16):
                for lane in range(16):
                    line, position = top + group // 2, left + group % 2 * 16 + lane
                    yield tile, group, lane, (line, position) if line < lines and position < length else None
            tile += 1


def read_marks(payload, lines, length, size):
    """The marked elements of a block's payload: {(line, position): distance, or bytes of W0}."""
    masks_count, distances_count = struct.unpack_from("<HH", payload)
    tiles = -(-lines // 8) * -(-length // 32)
    summaries = struct.unpack_from(f"<{tiles}H", payload, 4)
    at = 4 + 2 * tiles
    masks = iter(struct.unpack_from(f"<{masks_count}H", payload, at))
    at += 2 * masks_count
    distances = iter(struct.unpack_from(f"<{distances_count}b", payload, at))
    raw = at + distances_count
    marks, mask = {}, 0
    for tile, group, lane, place in elements_in_order(lines, length):
        if lane == 0:
            mask = next(masks) if summaries[tile] >> group & 1 else 0
        if mask >> lane & 1:
            require(place is not None, "a marked lane outside of the weight")
            marks[place] = next(distances)
            if marks[place] == -128:
                marks[place] = payload[raw:raw + size]
                raw += size
    require(next(masks, None) is None and next(distances, None) is None, "masks or distances are left over")
    require(raw == len(payload), "bytes are left over in a block")
    return marks


def read_gains(record, at, count, rows, cols, compute):
    """The gain vectors, as (axis, patterns), and where they end."""
    gains = []
    for _ in range(count):
        axis, zero = struct.unpack_from("<II", record, at)
        require(axis <= 1 and zero == 0, "header of gains")
        size = (cols if axis else rows) * compute.bits // 8
        values = patterns(record[at + 8:at + 8 + size], compute.bits // 8)
        require(all(value == compute.quiet_nan for value in values if compute.nan(value)), "a NaN that is not canonical")
        gains.append((axis, values))
        at += 8 + size
    return gains, at


def undo(record, merged, steps):
    """W0's bytes, row-major, out of a record and W' in the same form."""
    magic, version, code, order, gains_count, rows, cols, block_lines, block_length, print_, count, payload_bytes = \
        struct.unpack_from("<8sIBBHQQIIQQQ", record)
    require(magic == b"loraundo" and version == (2 if gains_count else 1), "not a record of version 1 or 2")
    gains, index_end = read_gains(record, 64 + 16 * count, gains_count, rows, cols, compute_type(code))
    require(struct.unpack_from("<Q", record, index_end)[0] == checksum([record[:index_end]]), "index checksum")
    require(len(record) == index_end + 8 + payload_bytes, "size")
    storage, compute = TYPES[code], compute_type(code)
    require(print_ == fingerprint(steps, compute), "fingerprint")
    size = storage.bits // 8
    lines, length = (rows, cols) if order == 0 else (cols, rows)

    def place(line, position):
        return line * cols + position if order == 0 else position * cols + line

    w, form = patterns(merged, size), Form(steps, gains, rows, cols, compute)
    out = [None] * (rows * cols)
    offset = index_end + 8
    grid = list(blocks(lines, length))
    require(len(grid) == count, "number of blocks")
    for number, (top, left, block_height, block_width) in enumerate(grid):
        merged_sum, size_field, payload_sum = struct.unpack_from("<QII", record, 64 + 16 * number)
        payload = record[offset:offset + (size_field & 0x7FFFFFFF)]
        offset += len(payload)
        require(payload_sum == checksum([payload]) & 0xFFFFFFFF, f"payload checksum of block {number}")
        own = [b"".join(w[place(top + i, left + j)].to_bytes(size, "little") for j in range(block_width))
               for i in range(block_height)]
        require(merged_sum == checksum(own), f"checksum of W' in block {number}")
        raw = size_field >> 31 == 1
        marks = {} if raw else read_marks(payload, block_height, block_width, size)
        elements = iter(patterns(payload, size)) if raw else None
        for i in range(block_height):
            for j in range(block_width):
                at = place(top + i, left + j)
                mark = marks.get((i, j), 0)
                if raw:
                    out[at] = next(elements)
                elif isinstance(mark, bytes):
                    out[at] = int.from_bytes(mark, "little")
                else:
                    guess = candidate(w[at], form.delta[at], form.g[at // cols], form.h[at % cols], storage, compute)
                    out[at] = storage.unordered(storage.ordered(guess) + mark)
    require(offset == len(record), "payloads")
    return b"".join(pattern.to_bytes(size, "little") for pattern in out)


def candidate(w, delta, g, h, storage, compute):
    """round((W' - delta) / g / h): each step to the compute type, the last to the storage type."""
    require(storage.finite(w) and compute.finite(delta), "an element that is not finite is not marked")
    zero = bool(w & storage.sign) and not delta & compute.sign
    number = compute.round(storage.value(w) - compute.value(delta), zero)
    for gain in (g, h):
        if gain is not None and gain & ~compute.sign:  # 0 divides as 1
            require(compute.finite(gain), "an element with a gain that is not finite is not marked")
            number = compute.divided(number, gain)
    if storage is compute or not compute.finite(number):
        return number if storage is compute else storage.infinity | (number & compute.sign and storage.sign)
    return storage.round(compute.value(number), bool(number & compute.sign))


def main(directories):
    require(directories, "usage: read_record.py DIR...")
    for name in directories:
        folder = pathlib.Path(name)
        w0, merged = (folder / "w0.bin").read_bytes(), (folder / "merged.bin").read_bytes()
        for order in ("row_major", "column_major"):
            record = (folder / f"{order}.undo").read_bytes()
            code, rows, cols = record[12], *struct.unpack_from("<QQ", record, 16)
            steps = read_steps(folder, rows, cols, compute_type(code))
            require(undo(record, merged, steps) == w0, f"{folder.name}, {order}: W0 did not come back")
            print(f"{folder.name}, {order}: {rows} x {cols}, {len(record)} bytes: W0 is back")


if __name__ == "__main__":
    main(sys.argv[1:])
