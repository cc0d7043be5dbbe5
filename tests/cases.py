# SPDX-License-Identifier: BSD-3-Clause
"""Small odd problems, enumerated: where blocked loops go wrong.

A Case holds shapes and options, never data. Tiles of the engine are 6, 14 or 28 output channels by
8 to 64 pixels by 128 to 2048 terms; the lists below stand one less, at, and one more than each.
"""

from dataclasses import dataclass, field

import numpy as np

from fastcorr._padding import PADDING_MODES

MAPPED = sorted(mode for mode in PADDING_MODES if mode != "constant")


@dataclass(frozen=True)
class Case:
    """Shapes of x and w, and the keywords of corr2d."""

    x: tuple
    w: tuple
    options: dict = field(default_factory=dict)

    def __str__(self):
        text = "x".join(map(str, self.x)) + "-" + "x".join(map(str, self.w))
        return "-".join([text, *(f"{k}={v}" for k, v in self.options.items())])


def whole_numbers(shape, dtype, rng, largest=3):
    """Return small integers in any dtype: every partial sum is exact, so equality is the test."""
    dtype = np.dtype(dtype)
    low = 0 if dtype.kind in "ub" else -largest
    values = rng.integers(low, largest, shape, endpoint=True)
    if dtype.kind == "c":
        values = values + 1j * rng.integers(low, largest, shape, endpoint=True)
    return np.asarray(values).astype(dtype)


def normal(shape, dtype, rng):
    """Return random normal numbers, real or complex."""
    dtype = np.dtype(dtype)
    values = rng.standard_normal(shape)
    if dtype.kind == "c":
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(dtype)


def whole_arrays(case, dtype, seed=0):
    """Return x and w of small whole numbers."""
    rng = np.random.default_rng(seed)
    return whole_numbers(case.x, dtype, rng), whole_numbers(case.w, dtype, rng)


def normal_arrays(case, dtype, seed=0):
    """Return x and w of random normal numbers."""
    rng = np.random.default_rng(seed)
    return normal(case.x, dtype, rng), normal(case.w, dtype, rng)


CHANNELS = [*range(1, 31), 41, 42, 43, 55, 56, 57]
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 128, 129]
TERMS = [1, 2, 3, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049]

TILES_M = [Case((5, h, 9), (m, 5, 3, 3)) for m in CHANNELS for h in (3, 7)]
TILES_N = [
    Case((6, oh + 1, ow + 2), (m, 6, 2, 3)) for ow in WIDTHS for oh in (1, 2, 5) for m in (13, 15)
]
TILES_K = [
    *(Case((k, 3, 11), (m, k, 1, 1)) for k in TERMS for m in (6, 15)),
    *(Case((4, 1, k + 4), (4, 4, 1, k)) for k in TERMS if k < 600),
    *(Case((c, 5, 8), (8, c, 3, 3)) for c in (14, 15, 28, 29, 113, 114, 115, 227, 228)),
]

# Few channels: an output row of a kernel is its own problem.
HEIGHTS = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 15, 17]
ONE_CHANNEL = [
    *(Case((n + k, m + k), (k + 1, k + 1))
      for k in (0, 1, 2, 4) for n in (1, 5, 8) for m in WIDTHS),
    *(Case((oh + kh - 1, 40 + kw - 1), (kh, kw)) for oh in HEIGHTS for kh, kw in ((3, 3), (7, 7))),
    *(Case((kh + 6, kw + 34), (kh, kw)) for kh in HEIGHTS for kw in (1, 2, 3, 7, 16, 17)),
    *(Case((1, n), (1, k)) for n in (1, 2, 17, 200) for k in (1, 2, 17, 200) if k <= n),
    *(Case((n, 1), (k, 1)) for n in (1, 2, 17, 200) for k in (1, 2, 17, 200) if k <= n),
]  # fmt: skip
FEW_CHANNELS = [
    Case((c, 9, 37), (f, c, kh, kw), {"stride": s, "padding": 1})
    for c in (1, 2, 3, 4) for f in (1, 2, 5, 6, 7, 16)
    for kh, kw, s in ((3, 3, 1), (5, 5, 1), (7, 7, 2), (1, 7, 1), (7, 1, 1), (2, 2, 3))
]  # fmt: skip
DEPTHWISE = [
    Case((c, 7, ow + k - 1), (c * m, 1, k, k), {"groups": c, "padding": p, "stride": s})
    for c in (1, 2, 3, 16, 17) for m in (1, 2, 3) for k in (1, 3, 5) for p in (0, 1)
    for s in (1, 2) for ow in (7, 16, 33)
]  # fmt: skip
DEPTHWISE_LAST = [
    Case((7, ow + k - 1, c), (c, 1, k, k),
         {"groups": c, "padding": p, "stride": s, "dilation": d, "channel_axis": -1})
    for c in (7, 8, 16, 17, 33) for k in (1, 3) for p in (0, 2) for s in (1, 2) for d in (1, 2)
    for ow in (3, 8, 21)
]  # fmt: skip
# Margins that are left out: of up to half a kernel, and with others beside them.
MARGINS = [
    Case((h, w, c) if axis else (c, h, w), (c, 1, k, k),
         {"groups": c, "padding": p, "stride": s, "channel_axis": axis})
    for axis in (None, -1) for c, h, w in ((40, 2, 3), (16, 7, 7), (40, 9, 17), (32, 18, 40))
    for k in (3, 4, 5, 7) for s in (1, 2) for p in (k // 2, (k - 1, k // 2), ((0, 1), (1, 0)))
    if h + 1 >= k or p == k // 2 or p == (k - 1, k // 2)
    if w + 1 >= k or p == k // 2 or p == (k - 1, k // 2)
]  # fmt: skip
# Strips: one to nine vectors, edges in the first, in the last and in both, rows that are left out.
STRIPS = [
    Case((2, h, w), (2 * m, 1, kh, kw), {"groups": 2, "padding": p, "dilation": d})
    for kh, kw in ((2, 2), (3, 3), (4, 1), (5, 5), (6, 3), (7, 7), (3, 20)) for m in (1, 2)
    for h, w in ((2, 3), (5, 16), (8, 17), (9, 49), (13, 130))
    for p, d in (("same", 1), ("full", 1), ((kh - 1, 2 * kw), (1, 2)), ((2 * (kh - 1), 0), (2, 1)))
    if w + 2 * kw > (kw - 1) * 2 and (p != ((2 * (kh - 1), 0)) or w >= kw)
]  # fmt: skip
# Strips again, with samples of the image beside it.
STRIPS += [
    Case((h, w), (kh, kw), {"padding": p, "padding_mode": mode, "dilation": d})
    for kh, kw in ((2, 2), (3, 3), (4, 1), (5, 5), (6, 3), (7, 7), (3, 18))
    for i, (h, w) in enumerate(((2, 3), (5, 16), (8, 17), (9, 40), (13, 130)))
    for p, d in (("same", 1), ("full", 1), ((1, 8), (2, 1)))
    for mode in MAPPED[(i + kh) % 2 :: 2]
    if w + 16 >= kw and h + 2 > 2 * (kh - 1)
]  # fmt: skip
GROUPED = [
    Case((n, g * c, 6, 19), (g * f, c, 3, 2), {"groups": g, "padding": ((1, 0), (0, 1))})
    for n in (1, 3) for g in (2, 3, 5) for c in (2, 3, 9) for f in (1, 2, 7, 15)
]  # fmt: skip
ODD = [
    *(Case((2, n, 1), (3, 2, 2, 1), {"stride": s}) for n in (2, 4, 5, 40) for s in (1, 2, 3)),
    *(Case((2, 1, n), (3, 2, 1, 2), {"stride": s}) for n in (2, 4, 5, 40) for s in (1, 2, 3)),
    *(Case((n, 1), (2, 1), {"stride": 2}) for n in (2, 4, 5, 40)),
    *(
        Case((3, 2, 7, 2), (4, 2, 3, 2), {"stride": s, "padding": p})
        for s in (1, 3)
        for p in (0, 1)
    ),
    Case((3, 2, 3), (4, 3, 5, 7), {"padding": "full"}),
    Case((3, 2, 3), (4, 3, 5, 7), {"padding": "same"}),
    Case((2, 3), (5, 7), {"padding": (4, 5)}),
    Case((1, 1), (9, 9), {"padding": 4}),
    Case((2, 11, 13), (3, 2, 2, 3), {"stride": 5}),
    Case((2, 11, 13), (3, 2, 2, 3), {"stride": (20, 1)}),
    Case((2, 11, 13), (3, 2, 3, 3), {"stride": (1, 20), "dilation": (5, 6)}),
    Case((8, 5, 5), (3, 8, 5, 5)),
    Case((8, 1, 1), (3, 8, 1, 1)),
    Case((8, 1, 1), (3, 8, 3, 3), {"padding": 1, "stride": 2}),
    Case((16, 7, 7), (30, 16, 3, 3), {"padding": 1}),
    Case((48, 35, 35), (20, 48, 3, 3), {"padding": 1}),
    Case((96, 17, 17), (29, 96, 3, 3), {"padding": 1, "stride": 2}),
    Case((16, 12, 40), (20, 16, 7, 1)),
    Case((16, 12, 40), (20, 16, 1, 7)),
    *(Case((n, 17, 7, 7), (15, 17, 3, 3), {"padding": 1}) for n in (1, 2, 3, 5, 16)),
    *(Case((n, 4, 5, 3), (4, 4, 1, 1)) for n in (1, 2, 7)),
    *(Case((n, 2, 9, 40), (2, 1, 3, 3), {"groups": 2}) for n in (1, 2, 7)),
]

ALL = [
    *TILES_M, *TILES_N, *TILES_K, *ONE_CHANNEL, *FEW_CHANNELS, *DEPTHWISE, *DEPTHWISE_LAST,
    *MARGINS, *STRIPS, *GROUPED, *ODD,
]  # fmt: skip

# Big enough that work is shared between threads: for the tests of bitwise equality.
PARALLEL = [
    Case((3, 48, 30, 31), (50, 48, 3, 3), {"padding": 1}),
    Case((2, 256, 14, 14), (64, 256, 3, 3), {"padding": 1}),
    Case((2, 64, 28, 28), (96, 64, 1, 1)),
    Case((3, 32, 31, 31), (40, 32, 3, 3), {"stride": 2, "padding": "same"}),
    Case((3, 28, 30, 24), (32, 24, 5, 3), {"channel_axis": -1, "padding": 2}),
    Case((4, 3, 64, 65), (16, 3, 7, 7), {"stride": 2, "padding": 3, "padding_mode": "reflect"}),
    Case((2, 40, 56, 57), (80, 1, 3, 3), {"groups": 40, "padding": 1}),
    Case((2, 80, 56, 57), (80, 1, 5, 5), {"groups": 80, "padding": 2}),
    Case((2, 60, 61, 40), (40, 1, 3, 3), {"groups": 40, "padding": 1, "channel_axis": -1}),
    Case((2, 300, 9, 10), (300, 1, 5, 5), {"groups": 300, "padding": 2, "padding_mode": "wrap"}),
    Case((3, 24, 40, 41), (30, 12, 3, 3), {"groups": 2, "dilation": 2}),
    Case((400, 401), (9, 9)),
    Case((300, 301), (15, 15), {"padding": "same", "padding_mode": "wrap"}),
]
