# SPDX-License-Identifier: BSD-3-Clause
"""method='fft': every option beside the definition, the contract of 'auto', memory, determinism.

Small problems never take transforms by themselves; the fixture `fft_first` makes 'auto' prefer
them, with all its certificates and repairs.
"""

import numpy as np
import pytest
from cases import ALL, Case, normal, normal_arrays, whole_arrays
from contract import check, check_bits, compare, definition, roundoff

import fastcorr
from fastcorr import _plan
from fastcorr._algorithms import (
    certificate,
    fft,
    fft_blocks_cuts,
    fft_grid,
    fft_large_cuts,
    fft_tiles_cuts,
)

OPTIONS = [
    Case((40, 50), (13, 9)),
    Case((40, 50), (13, 9), {"padding": "full"}),
    Case((40, 50), (13, 8), {"padding": ((3, 0), (11, 40)), "padding_value": -2}),
    Case((9, 7), (23, 31), {"padding": "same"}),
    Case((9, 7), (23, 31), {"padding": "same", "padding_mode": "wrap"}),
    Case((3, 2, 9, 17), (4, 1, 5, 6), {"padding": 30, "padding_mode": "wrap", "groups": 2}),
    Case((20, 21), (20, 21), {"padding": "full", "padding_mode": "wrap"}),
    # taps that meet in one place of the period, without being more than it has
    Case((20, 15), (12, 9), {"padding": "same", "padding_mode": "wrap", "dilation": (2, 3)}),
    Case((40, 50), (13, 9), {"padding": "full", "padding_mode": "reflect"}),
    Case((6, 5), (13, 9), {"padding": "full", "padding_mode": "symmetric"}),
    Case((40, 50), (13, 9), {"padding": 20, "padding_mode": "edge", "stride": (2, 3)}),
    Case((40, 50), (13, 9), {"padding": "same", "stride": (5, 1)}),
    Case((2, 40, 50), (3, 2, 5, 4), {"padding": "same", "stride": (7, 9)}),
    Case((40, 50), (7, 5), {"padding": "full", "dilation": (3, 4)}),
    Case((40, 50), (7, 5), {"padding": "same", "dilation": (2, 6), "stride": (4, 3)}),
    Case((2, 6, 19, 23), (8, 3, 7, 5), {"groups": 2, "padding": 3}),
    Case((2, 19, 23, 6), (8, 3, 7, 5), {"groups": 2, "padding": 3, "channel_axis": -1}),
    # the channels of x come last, and y has none
    Case((19, 23, 3), (3, 7, 5), {"padding": 3, "channel_axis": -1}),
    Case((40, 41, 1), (1, 30, 31), {"padding": "full", "channel_axis": -1}),
    Case((5, 1, 300), (2, 5, 1, 200)),
    Case((300, 1), (200, 1), {"padding": "same"}),
    Case((1, 1), (1, 1)),
    Case((4, 0), (3, 3), {"padding": 2}),
    Case((0, 2, 9, 9), (3, 2, 4, 4)),
]
FLOATS = [np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128]
by_option = pytest.mark.parametrize("case", OPTIONS, ids=str)
pytestmark = pytest.mark.kernels
main_dtypes = pytest.mark.parametrize("dtype", ["f", "D"])
by_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.__name__)


@pytest.fixture(params=["fft", "fft_tiles", "fft_large", "fft_blocks"])
def fft_first(monkeypatch, request):
    """Let 'auto', and a forced 'fft', prefer one of the algorithms where that serves at all."""
    rows = [
        row._replace(seconds=lambda *_: 0.0) if row.name == request.param else row
        for row in _plan.ALGORITHMS
    ]
    monkeypatch.setattr(_plan, "ALGORITHMS", tuple(rows))
    monkeypatch.setattr(_plan, "DIRECT_SECONDS", -1.0)
    _plan.plan_for.cache_clear()
    yield request.param
    _plan.plan_for.cache_clear()


@pytest.fixture
def small_tiles(monkeypatch):
    """Let an image of a few hundred pixels have several tiles, and a tile several steps."""
    monkeypatch.setattr(fft_grid, "TILES_BYTES", 2**14)
    monkeypatch.setattr(fft_grid, "BOUND_FACTOR", np.inf)
    monkeypatch.setattr(fft_tiles_cuts, "SIZES", (16, 32))
    fft_tiles_cuts.grid_of.cache_clear()
    monkeypatch.setattr(fft_large_cuts, "PLANES_BYTES", 2**15)
    monkeypatch.setattr(fft_large_cuts, "BOUND_FACTOR", np.inf)
    fft_large_cuts._grid.cache_clear()
    monkeypatch.setattr(fft_blocks_cuts, "SIZES", (32,))
    monkeypatch.setattr(fft_blocks_cuts, "SPECTRA_BYTES", 2**15)
    forget_blocks()
    monkeypatch.setattr(fft, "STEP", 2**9)
    monkeypatch.setattr(fft, "SHARED_POINTS", 1)
    fft_grid._grid.cache_clear()
    _plan.plan_for.cache_clear()
    yield
    fft_tiles_cuts.grid_of.cache_clear()
    forget_blocks()
    fft_large_cuts._grid.cache_clear()
    fft_grid._grid.cache_clear()
    _plan.plan_for.cache_clear()


def forget_blocks():
    fft_blocks_cuts.grid_of.cache_clear()
    fft_blocks_cuts.grid_of_size.cache_clear()


def check_norm(x, w, bias=None, **options):
    """Assert the bound of a forced 'fft', over the whole call: no output is certified."""
    y = fastcorr.corr2d(x, w, bias, method="fft", **options)
    exact, magnitude, dtype = definition(x, w, bias, **options)
    assert (y.dtype, y.shape) == (dtype, exact.shape)
    allowed = 16 * roundoff(dtype) * magnitude.max(initial=0)
    assert np.abs(y - exact).max(initial=0) <= allowed


@by_dtype
@by_option
def test_every_option(fft_first, case, dtype):
    x, w = normal_arrays(case, dtype)
    check_norm(x, w, **case.options)
    bias = np.arange(1, 1 + case.w[0] if len(case.w) == 4 else 2).astype(dtype)
    check_norm(x, w, bias * (1 - 2j) if np.dtype(dtype).kind == "c" else bias, **case.options)


@pytest.mark.edges
@main_dtypes
@by_option
def test_tile_edges(fft_first, small_tiles, case, dtype):
    check_norm(*normal_arrays(case, dtype), **case.options)


def test_the_small_tiles_are_several(small_tiles):
    grid = fft_grid.grid_of(
        fastcorr.explain(*normal_arrays(OPTIONS[0], "d"), method="fft").problem, True
    )
    assert grid.rows.count * grid.columns.count > 1


@main_dtypes
@by_option
def test_auto_keeps_the_contract(fft_first, case, dtype):
    check(*normal_arrays(case, dtype), **case.options)


@pytest.mark.parametrize("case", ALL[::40], ids=str)
def test_shapes_of_every_kind(fft_first, case):
    for dtype in ("f", "D"):
        check_norm(*whole_arrays(case, dtype), **case.options)


@pytest.mark.edges
@pytest.mark.parametrize("kinds", ["dF", "Fd", "fd", "df", "hd", "dB", "eg"])
def test_mixed_dtypes(fft_first, kinds):
    rng = np.random.default_rng(0)
    x, w = (
        rng.integers(0, 9, shape).astype(kind) + (1j if kind == "F" else 0)
        for kind, shape in zip(kinds, ((30, 31), (7, 8)), strict=True)
    )
    x, w = x.astype(kinds[0]), w.astype(kinds[1])
    bias = np.array([0.5 + (1j if "F" in kinds else 0)])
    check_norm(x, w, bias, padding=3, padding_value=2)


def test_integers_are_refused():
    x, w = np.ones((40, 40), np.int16), np.ones((9, 9), np.int16)
    with pytest.raises(ValueError, match=r"method = 'fft' .*integers.*'direct'"):
        fastcorr.corr2d(x, w, method="fft")


@pytest.mark.edges
def test_out_and_views(fft_first):
    rng = np.random.default_rng(0)
    x, w = rng.random((60, 70))[::-2, ::-1], rng.random((9, 22))[:, ::2]
    expected = fastcorr.corr2d(x, w, method="fft", padding="same")
    out = np.zeros((60, 70))[::-2]
    assert fastcorr.corr2d(x, w, method="fft", padding="same", out=out) is out
    np.testing.assert_array_equal(out, expected)
    fastcorr.corr2d(x, w, method="fft", padding="same", out=x)
    np.testing.assert_array_equal(x, expected)


# The contract of 'auto' on what transforms are bad at

SHAPES = [Case((90, 100), (31, 31)), Case((2, 3, 40, 60), (2, 3, 15, 15), {"padding": "full"})]


def zeros_beside_signal(x, w, rng):
    x[..., 20:, :] = 0


def sparse(x, w, rng):
    x *= rng.random(x.shape) < 1e-3


def sky(x, w, rng):
    x[...] = 100 + 10 * x
    x.reshape(-1)[x.size // 2] = 1e12


def star_in_the_dark(x, w, rng):
    x *= 1e-6
    x.reshape(-1)[x.size // 2] = 1e9


def tiny_beside_huge(x, w, rng):
    x[..., : x.shape[-1] // 2] *= 1e-15
    x[..., x.shape[-1] // 2 :] *= 1e15


def checkerboards(x, w, rng):
    for a in (x, w):
        even = np.indices(a.shape[-2:]).sum(axis=0) % 2
        a *= even if a is x else 1 - even


def sparse_kernel(x, w, rng):
    w *= rng.random(w.shape) < 0.02


def vanishing(x, w, rng):
    x *= 1e-30
    x *= x


def ramp(x, w, rng):
    x[...] = np.geomspace(1, 1e-9, x.shape[-1])


def constant(x, w, rng):
    x[...], w[...] = 0.1, 0.7


HOSTILE = [
    zeros_beside_signal, sparse, sky, star_in_the_dark, tiny_beside_huge, checkerboards,
    sparse_kernel, vanishing, ramp, constant,
]  # fmt: skip


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_hostile_data(fft_first, case, dtype, spoil):
    rng = np.random.default_rng(1)
    x, w = normal_arrays(case, dtype)
    spoil(x, w, rng)
    check(x, w, units=64, **case.options)


@pytest.mark.skipif(
    np.finfo(np.longdouble).eps == np.finfo(np.float64).eps, reason="no longer float here"
)
@pytest.mark.parametrize("dtype", ["d", "D"])
@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
def test_doubles_as_long_doubles(monkeypatch, dtype, spoil):
    """Where most outputs see little of the kernel; here, however little is to be repaired."""
    monkeypatch.setattr(fft_grid, "repair_seconds", lambda problem: 1e9)
    fft_grid.work_dtype.cache_clear()
    case = Case((2, 3, 21, 22), (2, 3, 15, 15), {"padding": "full"})
    x, w = normal_arrays(case, dtype)
    spoil(x, w, np.random.default_rng(0))
    problem = fastcorr.explain(x, w, method="fft", padding="full").problem
    assert np.finfo(fft_grid.work_dtype(problem)).eps < np.finfo(np.float64).eps
    margins = (None, None), (None, None)
    y = np.empty(problem.y_shape, problem.dtype)
    fft.Fft(problem, *margins).run(x, w, None, y, bytes(32), 2)
    fft_grid.work_dtype.cache_clear()
    compare(y, *definition(x, w, padding="full"), units=64)


@pytest.mark.parametrize("size", [(27, 32), (40, 81), (45, 50), (60, 125), (96, 2), (300, 1)])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_transforms_of_every_factor(fft_first, size, dtype):
    """Around a padding that is the image, transforms are as long as it."""
    x, w = normal_arrays(Case(size, size), dtype)
    check(x, w, padding="same", padding_mode="wrap")


def test_most_outputs_of_large_kernels_are_certified(monkeypatch):
    """A quarter of the kernel on the image is enough, as it is in the corners of 'same'."""
    repaired = []
    compute = certificate.compute_boxes

    def counted(*arguments):
        repaired.extend((box[1] - box[0]) * (box[3] - box[2]) for box in arguments[5])
        compute(*arguments)

    monkeypatch.setattr(certificate, "compute_boxes", counted)
    rng = np.random.default_rng(0)
    for k in (63, 127):
        x, w = rng.standard_normal((200, 200)), rng.standard_normal((k, k))
        assert fastcorr.explain(x, w, padding="same").method == "fft"
        fastcorr.corr2d(x, w, padding="same")
        assert sum(repaired) <= 1024


@pytest.mark.parametrize("few", [0, 10**9])
def test_two_ways_to_confirm(monkeypatch, fft_first, few):
    """Few outputs one by one, many by |x| * |w| of all."""
    monkeypatch.setattr(certificate, "FEW_TO_SUM", few)
    x, w = normal_arrays(Case((90, 80), (60, 70)), "f")
    x[:30] *= 1e-6
    x[40, 40] = 1e8
    check(x, w, padding="full", method="fft", units=64)


def test_a_forced_fft_is_what_auto_gives(fft_first):
    for dtype in "d" if fft_first == "fft_blocks" else "fd":
        x, w = normal_arrays(SHAPES[0], dtype)
        star_in_the_dark(x, w, None)
        y = fastcorr.corr2d(x, w, method="fft")
        assert fastcorr.explain(x, w).method == "fft"
        check_bits(y, fastcorr.corr2d(x, w))
        compare(y, *definition(x, w), units=64)


@pytest.mark.edges
@by_option
def test_a_bank_keeps_spectra(fft_first, case):
    for dtype in ("f", "d"):
        x, w = normal_arrays(case, dtype)
        bank = fastcorr.FilterBank(w, method="fft", **case.options)
        for _ in range(2):
            check_bits(bank(x), fastcorr.corr2d(x, w, method="fft", **case.options))


@pytest.mark.parametrize("method", ["auto", "fft"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_nan_and_inf_stand_where_the_definition_puts_them(fft_first, method, dtype):
    def check_places(x, w, **options):
        y = fastcorr.corr2d(x, w, method=method, **options)
        expected = definition(x, w, **options)
        if method == "auto":
            compare(y, *expected, units=64)
        else:
            np.testing.assert_array_equal(np.isfinite(y), np.isfinite(expected[0]))
            np.testing.assert_array_equal(np.isnan(y), np.isnan(expected[0]))

    for case in (OPTIONS[1], OPTIONS[4], OPTIONS[9], OPTIONS[13], OPTIONS[14]):
        x, w = whole_arrays(case, dtype)
        for value in (np.nan, np.inf, -np.inf):
            spoiled = x.copy()
            spoiled.reshape(-1)[[1, x.size // 2]] = value
            check_places(spoiled, w, **case.options)
        spoiled.reshape(-1)[[3, x.size // 3]] = np.nan, np.inf
        check_places(spoiled, w, **case.options)
        spoiled = w.copy()
        spoiled.reshape(-1)[w.size // 2] = np.inf
        check_places(x, spoiled, **case.options)
    x, w = whole_arrays(OPTIONS[0], dtype)
    check_places(x, w, padding=3, padding_value=np.nan)


def test_a_finite_number_near_the_largest(fft_first):
    x, w = normal_arrays(Case((50, 60), (20, 20)), "d")
    x[3, 4] = 1e300
    check(x, w, units=64)
    check(x, w * 1e-200, units=64)


def test_explain_tells_of_the_kernel_that_is_refused(fft_first):
    x, w = normal_arrays(OPTIONS[0], "d")
    assert fastcorr.explain(x, w).method == "fft"
    assert "transforms of" in fastcorr.explain(x, w).reason
    w[0, 0] = np.nan
    assert fastcorr.explain(x, w).method == "direct"


# Determinism and memory


@pytest.mark.parametrize("method", ["auto", "fft"])
@pytest.mark.parametrize("case", OPTIONS[10:16], ids=str)
def test_any_number_of_workers(fft_first, small_tiles, method, case):
    x, w = normal_arrays(case, "d")
    x.reshape(-1)[: x.size // 3] *= 1e-9  # some outputs are repaired
    alone = fastcorr.corr2d(x, w, method=method, workers=1, **case.options)
    for workers in (2, 5):
        check_bits(fastcorr.corr2d(x, w, method=method, workers=workers, **case.options), alone)


@pytest.mark.parametrize("method", ["auto", "fft"])
def test_an_image_alone_and_in_a_batch(fft_first, small_tiles, method):
    rng = np.random.default_rng(0)
    x, w = normal((3, 2, 40, 50), "f", rng), normal((2, 2, 9, 9), "f", rng)
    x[1, :, :20], x[2, 1, 7, 7] = 0, np.inf
    y = fastcorr.corr2d(x, w, padding="same", method=method)
    for i in range(3):
        check_bits(fastcorr.corr2d(x[i], w, padding="same", method=method, workers=1), y[i])


def test_channels_alone_and_in_a_batch_of_blocks(fft_first, small_tiles):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 2, 70, 60)), rng.standard_normal((2, 1, 40, 50))
    x[0, 0, :30] *= 1e-9
    x[1, 1, 7, 7], x[2, 1] = np.inf, 0
    bias = np.array([1.0, -1e-7])
    y = fastcorr.corr2d(x, w, bias, padding="full", groups=2, method="fft")
    compare(y, *definition(x, w, bias, padding="full", groups=2), units=64)
    for i in range(3):
        alone = fastcorr.corr2d(x[i], w, bias, padding="full", groups=2, method="fft")
        check_bits(alone, y[i])


@pytest.mark.edges
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("options", [
    {"padding": "full"}, {"padding": "same", "padding_mode": "wrap"},
    {"padding": ((0, 90), (10, 0)), "padding_value": 3}, {},
], ids=str)  # fmt: skip
def test_blocks_of_every_size(monkeypatch, fft_first, size, options):
    monkeypatch.setattr(fft_blocks_cuts, "SIZES", (size,))
    forget_blocks()
    for case in Case((150, 97), (70, 33)), Case((40, 140), (65, 64)), Case((65, 64), (64, 1)):
        if options or case.x[0] > case.w[0]:
            x, w = normal_arrays(case, "d")
            x[20:, 30:] *= 1e-7
            check(x, w, units=64, method="fft", **options)
    forget_blocks()


@pytest.mark.parametrize("mode", ["full", "same"])
def test_kernels_of_very_many_terms(mode):
    """An output that sees the share s of the kernel keeps 64 u (|x| * |w|) / s."""
    rng = np.random.default_rng(5)
    n = 330
    x, w = rng.standard_normal((2, n, n))
    y = fastcorr.corr2d(x, w, padding=mode)
    assert fastcorr.explain(x, w, padding=mode).method == "fft"
    before = (n - 1) if mode == "full" else (n - 1) // 2
    places = rng.integers(0, len(y), (60, 2)).tolist()
    for row, column in [(0, 0), (0, len(y) - 1), (1, len(y) // 2), *places]:
        rows, columns = (
            slice(max(before - first, 0), min(n + before - first, n)) for first in (row, column)
        )
        seen = (
            slice(max(first - before, 0), max(first - before, 0) + part.stop - part.start)
            for first, part in ((row, rows), (column, columns))
        )
        terms = x[tuple(seen)].astype("g") * w[rows, columns]
        share = terms.size / w.size
        error = abs(float(y[row, column] - terms.sum()))
        assert error <= 64 * 2.0**-53 * float(abs(terms).sum()) / share, (row, column)


def test_threads_are_shared_with_other_calls(monkeypatch):
    """A call beside others that use all threads gets one, as with every method."""
    used = []
    monkeypatch.setattr(
        fft.Fft, "_run", lambda self, x, w, bias, y, fill, workers: used.append(workers)
    )
    x, w = np.ones((200, 200), complex), np.ones((41, 41))
    others = fft.parallel.enter(3)
    try:
        fastcorr.corr2d(x, w, method="fft", workers=3)
    finally:
        fft.parallel.leave(others)
    fastcorr.corr2d(x, w, method="fft", workers=3)
    assert used == [1, 3]
