# SPDX-License-Identifier: BSD-3-Clause
"""Run the tile cases on arrays that end, then start, at a page without access."""

import ctypes
import json
import mmap
import sys

import cases
import numpy as np

import fastcorr

PAGE = mmap.PAGESIZE
# Channels, height, width; kernels and their size: several channels within a vector of the end.
SMALL = [
    cases.Case((c, h, w), (f, c, kh, kw))
    for c, h, w in [(1, 1, 8), (2, 2, 2), (3, 2, 5), (8, 1, 1), (40, 1, 3), (33, 3, 3), (5, 4, 9)]
    for f in (1, 20)
    for kh in range(1, min(h, 3) + 1)
    for kw in range(1, min(w, 3) + 1)
] + [
    cases.Case((c, h, w), (f, c // groups, 1, 1), {"groups": groups})
    for c, h, w in [(8, 1, 1), (12, 2, 2)]
    for groups in (2, 4)
    for f in (groups, 5 * groups)
]
LONG_ROWS = [
    cases.Case((c, 1, w), (20, c, 1, k)) for c, w in [(700, 300), (640, 81)] for k in (1, 3)
]
# x, w and options; for the gradients: many tiles of 3 x 3, few, channels last, strides, depthwise.
GRADIENTS = [
    cases.Case((c, h, w), (f, c // groups, k, k), {"padding": padding, "groups": groups, **more})
    for c, f, h, w, k, padding, groups, more in [
        (64, 64, 46, 46, 3, 0, 1, {}),
        (128, 64, 31, 33, 3, 1, 1, {}),
        (128, 72, 13, 14, 3, 1, 1, {}),
        (32, 48, 33, 35, 3, 1, 1, {}),
        (17, 19, 41, 30, 3, 1, 1, {}),
        (8, 8, 7, 5, 3, 1, 1, {}),
        (3, 5, 9, 17, 5, 2, 1, {}),
        (6, 16, 14, 14, 5, 0, 1, {}),
        (24, 40, 7, 7, 1, 0, 1, {}),
        (500, 700, 3, 3, 1, 0, 1, {}),
        (24, 40, 15, 9, 1, 0, 1, {"stride": 2}),
        (8, 12, 17, 19, 3, 1, 1, {"stride": 2}),
        (8, 12, 16, 16, 2, 0, 1, {"stride": 2}),
        (33, 33, 12, 11, 3, 1, 33, {}),
        (16, 32, 13, 9, 3, 0, 4, {}),
        (5, 5, 20, 31, 5, 2, 5, {"stride": 2}),
    ]
]
libc = ctypes.CDLL(None, use_errno=True)


def guarded(a, where, maps):
    """Return a copy of a whose last (or first) byte touches a forbidden page."""
    n_pages = -(-a.nbytes // PAGE)
    memory = mmap.mmap(-1, (n_pages + 2) * PAGE)
    whole = np.frombuffer(memory, np.uint8)
    for page in (0, n_pages + 1):
        address = ctypes.c_void_p(whole.ctypes.data + page * PAGE)
        if libc.mprotect(address, ctypes.c_size_t(PAGE), 0):
            sys.exit(f"mprotect: {ctypes.get_errno()}")
    first = PAGE if where == "start" else (n_pages + 1) * PAGE - a.nbytes
    view = whole[first : first + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    maps.append(memory)  # unmapped only at exit
    return view


def forward(case, dtype, seed):
    """Return arrays, options and their result, computed where nothing is forbidden."""
    x, w = cases.whole_arrays(case, dtype, seed)
    return (x, w), case.options, fastcorr.corr2d(x, w, **case.options)


def backward(case, dtype, seed, axis):
    """Return the same of the gradients."""
    x, w = cases.whole_arrays(case, dtype, seed)
    if axis:
        x = np.ascontiguousarray(np.moveaxis(x, 0, -1))
    options = {**case.options, "channel_axis": axis}
    dy = np.ones_like(fastcorr.corr2d(x, w, **options))
    return (dy, x, w), options, fastcorr.corr2d_backward(dy, x, w, **options)


def main():
    dtypes = "float32", "float64", "int8", "int32", "float16", "complex64"
    problems = [(case, dtypes[i % 6]) for i, case in enumerate(cases.ALL[::5])]
    problems += [(case, dtype) for case in cases.STRIPS[::3] for dtype in dtypes[:2]]
    problems += [(case, dtype) for case in cases.MARGINS[::2] for dtype in dtypes[:2]]
    problems += [(case, dtype) for case in SMALL + LONG_ROWS for dtype in dtypes[:2]]
    calls = [forward(case, dtype, seed) for seed, (case, dtype) in enumerate(problems)]
    calls_of_gradients = [
        backward(case, dtype, seed, axis)
        for seed, case in enumerate(GRADIENTS)
        for dtype in dtypes[:2]
        for axis in (None, -1)
    ]
    maps = []
    for where in ("end", "start"):
        print(where, file=sys.stderr, flush=True)  # the last one told is where it was killed
        for arrays, options, expected in calls:
            out = guarded(np.zeros_like(expected), where, maps)
            fastcorr.corr2d(*(guarded(a, where, maps) for a in arrays), out=out, **options)
            np.testing.assert_array_equal(out, expected, str(options))
        for arrays, options, expected in calls_of_gradients:
            got = fastcorr.corr2d_backward(*(guarded(a, where, maps) for a in arrays), **options)
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b, str(options))
    print(json.dumps("untouched"))


main()
