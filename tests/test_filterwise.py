# SPDX-License-Identifier: BSD-3-Clause
"""The matrix product with vectors along the output channels, whatever the plan would take."""

import cases
import layouts
import numpy as np
import pytest
from cases import Case
from contract import check, check_bits, check_exact

import fastcorr
from fastcorr import FilterBank, _plan
from fastcorr._algorithms import filterwise
from fastcorr._kernels import dispatch

pytestmark = pytest.mark.kernels


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No other algorithm is there to take a problem."""
    rows = tuple(row for row in _plan.ALGORITHMS if row.name == "filterwise")
    monkeypatch.setattr(_plan, "ALGORITHMS", rows)
    _plan.plan_for.cache_clear()
    yield
    _plan.plan_for.cache_clear()


EDGES = [
    # Rows of outputs and output channels around the blocks of 5 to 28 by 4 to 32.
    *(Case((3, 6, ow + 2), (m, 3, 2, 3))
      for ow in (*range(1, 16), 27, 28, 29, 43) for m in (1, 4, 5, 17)),
    *(Case((3, 3, s * ow + 2), (m, 3, 2, 3), {"stride": (1, s)})
      for ow in (11, 12, 13, 14, 15, 28, 29, 57) for m in (3, 12) for s in (2, 3)),
    *(Case((2, 5, 9), (m, 2, 3, 3), {"padding": 1}) for m in range(1, 70, 3)),
    # Terms around the blocks and chunks of a sum.
    *(Case((k, 3, 7), (6, k, 1, 2)) for k in (63, 64, 65, 255, 256, 257, 639, 640, 641, 1300)),
    Case((130, 7, 6), (20, 130, 5, 5), {"padding": 2}),
    # Rows of taps in the padding: some, most, and for some outputs all of them.
    *(Case((3, 2, n, 7), (9, 2, k, 3), {"padding": (p, 1), "stride": (s, 2), "dilation": (d, 1)})
      for n in (1, 4, 9) for k in (2, 5) for p in (1, 4, 9) for s in (1, 3) for d in (1, 2)
      if (k - 1) * d < n + 2 * p),
    # An odd number of vectors: the last one alone, in chunks and groups, with rows in the padding.
    *(Case((2, c, 9, 17), (m, c // g, 3, 3), {"padding": 1, "groups": g})
      for c in (4, 300) for m in (40, 48, 80, 88) for g in (1, 2)),
    # Many small images, groups, strides and dilations, channels last.
    *(Case((n, 6, 8, 9), (12, 2, 3, 3), {"groups": 3, "padding": 1}) for n in (1, 2, 40)),
    *(Case((2, 11, 13, 6), (10, 3, 3, 2),
           {"groups": 2, "padding": p, "stride": s, "dilation": d, "channel_axis": -1})
      for p in (0, 2) for s in (1, 2, 3) for d in (1, 3)),
    *(Case((2, 5, ow, 12), (m, 12 // g, 1, 1), {"groups": g, "stride": s, "channel_axis": -1})
      for ow in (1, 14, 15, 33) for m in (2, 18, 34) for g in (1, 2) for s in (1, 3)),
]  # fmt: skip


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_edges(isa, dtype):
    for seed, case in enumerate(EDGES):
        check_exact(*cases.whole_arrays(case, dtype, seed), **case.options)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16"])
def test_edges_of_the_other_dtypes(isa, dtype):
    for seed, case in enumerate(EDGES[::7]):
        check_exact(*cases.whole_arrays(case, dtype, seed), **case.options)


@pytest.mark.edges
@pytest.mark.parametrize("mode", ["constant", "reflect", "wrap", "edge"])
@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_layouts(layout, mode):
    for seed, padding in enumerate((0, 2)):
        case = Case((2, 4, 7, 8), (18, 4, 3, 3), {"padding": padding, "padding_mode": mode})
        x, w = cases.whole_arrays(case, "float32", seed)
        bias = np.arange(18, dtype=np.float32)
        y = check_exact(x, w, bias, **case.options)
        place = layouts.LAYOUTS[layout]
        out = place(np.zeros_like(y)) if layout in layouts.OUT_LAYOUTS else None
        got = fastcorr.corr2d(place(x), place(w), place(bias), out=out, **case.options)
        np.testing.assert_array_equal(got, y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_padding_meets_weights_that_are_not_finite(value):
    """Zero times infinity is NaN, also where the kernel's row lies in the padding."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 5, 6)), rng.standard_normal((20, 3, 5, 5))
    w[7, 1, 4, 2] = value
    assert np.isnan(check(x, w, padding=2)[7, -1]).all()
    check(x, w, padding=2, padding_value=3.0)
    check(x, w, padding=2, padding_mode="reflect")


def test_accuracy():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x, w = rng.random((300, 7, 8)).astype(dtype), rng.random((17, 300, 5, 5)).astype(dtype)
        check(x, w, padding=2)
        check(x - dtype(0.5), w - dtype(0.5), padding=2)
        check(np.ones_like(x), w, padding=2, units=64)


@pytest.mark.parametrize("case", cases.PARALLEL, ids=str)
def test_bits_do_not_depend_on_workers_or_the_batch(case):
    x, w = cases.normal_arrays(case, np.float32)
    y = fastcorr.corr2d(x, w, workers=1, **case.options)
    for workers in (2, 3, 7):
        check_bits(fastcorr.corr2d(x, w, workers=workers, **case.options), y)
    if x.ndim == 4:
        check_bits(fastcorr.corr2d(x[1:2], w, **case.options), y[1:2])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "float16"])
def test_weights_turned_for_a_tile_or_a_call_or_a_bank(isa, dtype, monkeypatch):
    """The same numbers in the same order, so the same bits."""
    several_tiles = [
        *EDGES[::5],
        Case((2, 24, 40, 30), (40, 24, 3, 3), {"padding": 1}),
        Case((9, 30, 40, 6), (44, 3, 3, 3), {"padding": 1, "groups": 2, "channel_axis": -1}),
        Case((3, 100, 33, 31), (50, 100, 5, 3), {"padding": (2, 1), "stride": (1, 2)}),
    ]
    for seed, case in enumerate(several_tiles):
        x, w = cases.normal_arrays(case, np.float32, seed)
        x, w = (5 * x).astype(dtype), (5 * w).astype(dtype)
        if w.dtype.kind == "f":  # no other group, chunk or block is to notice
            w[-1, -1, -1, -1] = np.inf
        for kernels in (w, np.asfortranarray(w)):
            got = [FilterBank(kernels, **case.options)(x)]
            for shared_bytes in (0, 1 << 30):
                monkeypatch.setattr(filterwise, "SHARED_BYTES", shared_bytes)
                _plan.plan_for.cache_clear()
                got += [fastcorr.corr2d(x, kernels, workers=n, **case.options) for n in (1, 3)]
            for y in got[1:]:
                check_bits(y, got[0])


@pytest.mark.every_isa
def test_a_bank_for_several_images_and_instruction_sets():
    """Weights turned for one image and instruction set serve all, or are turned again."""
    rng = np.random.default_rng(0)
    w = rng.integers(-4, 5, (40, 3, 5, 5)).astype(np.float32)
    w[3, 1, 0, 0] = np.inf
    bank = FilterBank(w, padding=2)
    best = dispatch.active_isa()
    try:
        for isa in (best, *dispatch.available_isas(), best):
            dispatch.set_isa(isa)
            for shape in ((3, 9, 8), (3, 30, 41), (2, 3, 9, 8), (3, 2, 2)):
                x = rng.integers(-4, 5, shape).astype(np.float32)
                check_bits(bank(x), fastcorr.corr2d(x, w, padding=2))
    finally:
        dispatch.set_isa(best)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels_alone_and_beside_others(isa, dtype):
    """Whatever block they are in."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 9, 17)).astype(dtype)
    w = rng.standard_normal((88, 150, 3, 3)).astype(dtype)
    for n in (48, 80, 88):
        y = fastcorr.corr2d(x, w[:n], padding=1)
        for first in range(0, n, 8):
            check_bits(fastcorr.corr2d(x, w[first : first + 8], padding=1), y[first : first + 8])


def test_an_infinity_changes_no_channels_of_other_blocks(isa):
    """Rows of taps in the padding are left out for finite weights, block by block."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150, 9, 17), np.float32)
    w = rng.standard_normal((256, 150, 3, 3), np.float32)
    y = fastcorr.corr2d(x, w, padding=1, workers=1)
    w[100, 0, 0, 0] = np.inf
    others = np.r_[:96, 128:256]
    for workers in (1, 2, 3, 7, 16):
        got = fastcorr.corr2d(x, w, padding=1, workers=workers)
        check_bits(got[others], y[others])
