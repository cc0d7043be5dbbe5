# SPDX-License-Identifier: BSD-3-Clause
"""The edges of every block of every kernel, on every instruction set of this CPU.

Whole numbers: a missed, doubled or misplaced element is an inequality, however small.
"""

import functools
import sys

import cases
import numpy as np
import pytest
import reference
from contract import check_bits, check_exact
from fastcorr._algorithms.gemm import Gemm

import fastcorr
from fastcorr._padding import margins_of

pytestmark = pytest.mark.kernels

GROUPS = {
    "m": cases.TILES_M,
    "n": cases.TILES_N,
    "k": cases.TILES_K,
    "one_channel": cases.ONE_CHANNEL,
    "few_channels": cases.FEW_CHANNELS,
    "depthwise": cases.DEPTHWISE,
    "depthwise_last": cases.DEPTHWISE_LAST,
    "margins": cases.MARGINS,
    "strips": cases.STRIPS,
    "grouped": cases.GROUPED,
    "odd": cases.ODD,
}


@functools.cache
def problems(group, dtype):
    """Return [(case, x, w, y)], y by the definition: once for all instruction sets."""
    arrays = [(c, *cases.whole_arrays(c, dtype, seed)) for seed, c in enumerate(GROUPS[group])]
    return [(c, x, w, reference.correlate(x, w, **c.options).astype(dtype)) for c, x, w in arrays]


@pytest.mark.edges
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_tile_edges(isa, group, dtype):
    for case, x, w, y in problems(group, dtype):
        np.testing.assert_array_equal(
            fastcorr.corr2d(x, w, method="direct", **case.options), y, str(case)
        )


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "complex64", "longdouble"])
def test_tile_edges_of_the_other_dtypes(isa, dtype):
    for seed, case in enumerate(cases.ALL[seed_of(dtype) :: 7]):
        x, w = cases.whole_arrays(case, dtype, seed)
        check_exact(x, w, **case.options)


@pytest.mark.edges
@pytest.mark.parametrize(
    ("n", "channels", "size", "groups"), [(1, 660, 14, 1), (16, 64, 5, 1), (3, 660, 9, 2)]
)
def test_panels_of_rows_that_follow_each_other(isa, n, channels, size, groups):
    """Of an x without padding they are packed as it lies, of a view with gaps from a window."""
    rng = np.random.default_rng(size)
    wide = rng.integers(-3, 4, (2 * n, channels, size, size + 1)).astype(np.float32)
    w = rng.integers(-3, 4, (256, channels // groups, 1, 1)).astype(np.float32)
    for x in (wide[::2, :, :, :size], np.ascontiguousarray(wide[:, :, :, :size])[::2]):
        y = reference.correlate(x, w, groups=groups).astype(np.float32)
        for workers in (1, 2):
            np.testing.assert_array_equal(
                fastcorr.corr2d(x, w, groups=groups, method="direct", workers=workers), y
            )


@pytest.mark.edges
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize(
    ("size", "taps", "channels", "padding"),
    [(7, (3, 3), 40, 1), (9, (5, 1), 33, 0), (17, (2, 4), 21, 1), (14, (7, 1), 130, 3)],
)
def test_strips_of_rows(isa, size, taps, channels, padding, stride, dilation):
    """Of images whose rows fill no vector, and of 1 pixel more than fill vectors."""
    rng = np.random.default_rng(size)
    x = rng.integers(-3, 4, (channels, size + dilation[0] * (taps[0] - 1), size)).astype(np.float32)
    w = rng.integers(-3, 4, (50, channels, *taps)).astype(np.float32)
    problem = fastcorr.explain(x, w, padding=padding, stride=stride, dilation=dilation).problem
    y = reference.correlate(x, w, padding=padding, stride=stride, dilation=dilation)
    out = np.empty(y.shape, np.float32)
    for workers in (1, 2, 5):
        Gemm(problem, *margins_of(problem)).run(x, w, None, out, bytes(16), workers)
        np.testing.assert_array_equal(out, y)


@pytest.mark.edges
@pytest.mark.parametrize("size", [7, 9, 15, 17])
def test_a_last_pixel_of_its_own(isa, size):
    """Its sums are rounded alike, whether a panel's kernel computes them or another."""
    rng = np.random.default_rng(size)
    x = rng.standard_normal((3, 300, size, size), np.float32)
    w = rng.standard_normal((75, 300, 3, 3), np.float32)
    outs = []
    for images in (x[1:2], x):
        problem = fastcorr.explain(images, w, padding=1).problem
        for workers in (1, 2, 3, 4, 16):
            outs.append(np.empty(problem.y_shape, np.float32))
            gemm = Gemm(problem, *margins_of(problem))
            gemm.run(images, w, None, outs[-1], bytes(16), workers)
            check_bits(outs[-1][len(images) // 2], outs[0][0])


def test_the_cases_reach_every_algorithm():
    plans = [fastcorr.explain(*cases.whole_arrays(c, "float32"), **c.options) for c in cases.ALL]
    assert {"depthwise", "gemm", "stencil"} <= {plan.algorithm for plan in plans}
    case = cases.TILES_M[0]
    assert fastcorr.explain(*cases.whole_arrays(case, "longdouble")).algorithm == "generic"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect through ctypes")
def test_no_access_beyond_the_arrays(isa, child):
    """Arrays end, then start at a page that must not be touched: the child would be killed."""
    environ = {"FASTCORR_ISA": isa, "OMP_WAIT_POLICY": "passive"}  # else slow on busy cores
    assert child("guard_pages", timeout=240, **environ) == "untouched"


def seed_of(dtype):
    """Return where this dtype starts in the list, so that together they meet most cases."""
    return np.dtype(dtype).num % 7


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int64])
@pytest.mark.parametrize("n_kernels", [9, 10, 64])
def test_rows_of_w_a_multiple_of_4096_bytes_apart(n_kernels, dtype):
    """They meet in one set of a cache, so their blocks are cut smaller."""
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (1024, 3, 5)).astype(dtype)
    w = rng.integers(-4, 5, (n_kernels, 1024, 1, 1)).astype(dtype)
    expected = np.einsum("chw,fc->fhw", x.astype(np.int64), w[..., 0, 0].astype(np.int64))
    np.testing.assert_array_equal(fastcorr.corr2d(x, w), expected.astype(dtype))


@pytest.mark.edges
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("width", [150, 280, 420, 600])
def test_pieces_of_a_kernel_of_unequal_height(isa, width, dilation):
    """Of 9 x 20 taps in pieces of 5 and 4 rows: blocks of 6 and 4 rows, in chunks of a tile."""
    rng = np.random.default_rng(0)
    options = {"dilation": (dilation, 1)}
    for dtype in (np.float32, np.float64):
        x = rng.integers(-4, 5, (2, 70, width)).astype(dtype)
        w = rng.integers(-4, 5, (2, 9, 20)).astype(dtype)
        assert fastcorr.explain(x, w, method="direct", **options).algorithm == "stencil"
        check_exact(x, w, method="direct", workers=1, **options)


@pytest.mark.edges
@pytest.mark.parametrize("taps", [3, 5])
def test_rows_beside_the_image_meet_weights_and_padding(isa, taps):
    """Strips leave rows of the padding out, unless these would not be zeros in the sum."""
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (32, 20, 30)).astype(np.float32)
    w = rng.integers(-4, 5, (32, 1, taps, taps)).astype(np.float32)
    options = {"groups": 32, "padding": taps // 2}
    for value in (np.nan, np.inf, -np.inf):
        bad = w.copy()
        bad[7, 0, 0, 1] = bad[9, 0, -1, 0] = value
        y = fastcorr.corr2d(x, bad, method="direct", **options)
        np.testing.assert_array_equal(y, reference.correlate(x, bad, **options))
    y = fastcorr.corr2d(x, w, method="direct", padding_value=3, **options)
    np.testing.assert_array_equal(y, reference.correlate(x, w, padding_value=3, **options))
