#!/usr/bin/env python3
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""An undo record read by somebody else: docs/UNDO-FORMAT.md in plain Python, with exact rational arithmetic.

    read_record.py DIR...        each a directory as described in tests/data/records/README.md

Decodes the records, recomputes delta from the factors, and gets W0 back out of W', in both storage orders.
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
        """a * b + c of finite patterns, rounded once; NaN and infinity when c is not finite."""
        if not self.finite(c):
            return c
        negative = bool((a ^ b) & self.sign) and bool(c & self.sign)
        return self.round(self.value(a) * self.value(b) + self.value(c), negative)

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


class Update:
    """One update of factors.bin: rank, scaling, weight, B and A as patterns of the compute type."""

    def __init__(self, data, offset, rows, cols, compute):
        self.rank, self.scaling, self.weight = struct.unpack_from("<Idd", data, offset)
        offset += 20
        size = compute.bits // 8
        self.b_bytes = data[offset:offset + rows * self.rank * size]
        offset += len(self.b_bytes)
        self.a_bytes = data[offset:offset + self.rank * cols * size]
        self.end = offset + len(self.a_bytes)
        self.b, self.a = patterns(self.b_bytes, size), patterns(self.a_bytes, size)
        product = struct.unpack("<Q", struct.pack("<d", self.scaling * self.weight))[0]
        self.c = compute.round(DOUBLE.value(product), bool(product & DOUBLE.sign))


def read_updates(data, rows, cols, compute):
    updates, offset = [], 0
    while offset < len(data):
        updates.append(Update(data, offset, rows, cols, compute))
        offset = updates[-1].end
    return [update for update in updates if update.weight != 0]


def fingerprint(updates, compute):
    state = mix(compute.bits // 8)
    for update in updates:
        for word in (update.c, update.rank, checksum([update.b_bytes]), checksum([update.a_bytes])):
            state = mix(state ^ word) + STEP & U64
    return state


def deltas(updates, rows, cols, compute):
    out = [0] * (rows * cols)
    for update in updates:
        for i in range(rows):
            for k in range(update.rank):
                b = compute.fma(update.c, update.b[i * update.rank + k], compute.sign)
                for j in range(cols):
                    out[i * cols + j] = compute.fma(b, update.a[k * cols + j], out[i * cols + j])
    return out


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


def undo(record, merged, updates):
    """W0's bytes, row-major, out of a record and W' in the same form."""
    magic, version, code, order, zero, rows, cols, block_lines, block_length, print_, count, payload_bytes = \
        struct.unpack_from("<8sIBBHQQIIQQQ", record)
    require(magic == b"loraundo" and version == 1 and zero == 0, "not a record of version 1")
    index_end = 64 + 16 * count
    require(struct.unpack_from("<Q", record, index_end)[0] == checksum([record[:index_end]]), "index checksum")
    require(len(record) == index_end + 8 + payload_bytes, "size")
    storage, compute = TYPES[code], compute_type(code)
    require(print_ == fingerprint(updates, compute), "fingerprint")
    size = storage.bits // 8
    lines, length = (rows, cols) if order == 0 else (cols, rows)

    def place(line, position):
        return line * cols + position if order == 0 else position * cols + line

    w, delta = patterns(merged, size), deltas(updates, rows, cols, compute)
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
                    out[at] = storage.unordered(storage.ordered(candidate(w[at], delta[at], storage, compute)) + mark)
    require(offset == len(record), "payloads")
    return b"".join(pattern.to_bytes(size, "little") for pattern in out)


def candidate(w, delta, storage, compute):
    """round(W' - delta): the difference to the compute type, that to the storage type."""
    require(storage.finite(w) and compute.finite(delta), "an element that is not finite is not marked")
    zero = bool(w & storage.sign) and not delta & compute.sign
    difference = compute.round(storage.value(w) - compute.value(delta), zero)
    if storage is compute or not compute.finite(difference):
        return difference if storage is compute else storage.infinity | (difference & compute.sign and storage.sign)
    return storage.round(compute.value(difference), bool(difference & compute.sign))


def main(directories):
    require(directories, "usage: read_record.py DIR...")
    for name in directories:
        folder = pathlib.Path(name)
        w0, merged = (folder / "w0.bin").read_bytes(), (folder / "merged.bin").read_bytes()
        for order in ("row_major", "column_major"):
            record = (folder / f"{order}.undo").read_bytes()
            code, rows, cols = record[12], *struct.unpack_from("<QQ", record, 16)
            updates = read_updates((folder / "factors.bin").read_bytes(), rows, cols, compute_type(code))
            require(undo(record, merged, updates) == w0, f"{folder.name}, {order}: W0 did not come back")
            print(f"{folder.name}, {order}: {rows} x {cols}, {len(record)} bytes: W0 is back")


if __name__ == "__main__":
    main(sys.argv[1:])
