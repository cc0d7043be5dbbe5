# SPDX-License-Identifier: BSD-3-Clause
"""method='winograd': the contract of the definition, whatever the data.

16 u (|x| * |w|) on random data and 64 u on hostile data, as for every method of 'auto'.
"""

import functools

import numpy as np
import pytest
from cases import Case, normal, normal_arrays
from contract import check, check_bits, compare, definition
from layouts import LAYOUTS

import fastcorr
from fastcorr import _plan
from fastcorr._algorithms import winograd, winograd_guard
from fastcorr._padding import margins_of

pytestmark = pytest.mark.kernels

# One less, at, and one more than: tiles of 4 and vectors of 2 to 16 of them across; blocks of rows
# and of filters; chunks of 32, of 64 and of 128 channels; 48 tiles, up to which vectors are along
# filters, and 49 and 110, of which these fill vectors badly and well.
EDGES = [
    *(Case((32, h, w), (5, 32, 3, 3), {"padding": 1}) for h, w in [
        (1, 1), (1, 40), (40, 1), (2, 3), (4, 4), (5, 7), (8, 8), (8, 9), (9, 8), (13, 12),
        (12, 31), (6, 32), (3, 33), (5, 63), (5, 64), (4, 65), (7, 130), (24, 32), (28, 25),
        (16, 61), (9, 127), (8, 129),
    ]),
    *(Case((2, c, 9, 14), (f, c, 3, 3)) for c, f in [
        (33, 1), (63, 2), (64, 6), (65, 12), (96, 13), (127, 14), (129, 15), (255, 28), (257, 29),
        (32, 7), (32, 8), (33, 9), (32, 16), (33, 17), (32, 31), (33, 32), (32, 33), (64, 49),
    ]),
    *(Case((c, 27, 30), (f, c, 3, 3)) for c, f in [
        (33, 1), (63, 2), (64, 6), (65, 12), (96, 13), (127, 14), (129, 15), (255, 28),
    ]),
    *(Case((c, 45, 42), (f, c, 3, 3)) for c, f in [
        (33, 1), (63, 2), (65, 12), (96, 13), (127, 14), (129, 15),
    ]),
    *(Case((n, 40, 7, 7), (3, 40, 3, 3), {"padding": 1}) for n in (1, 2, 5)),
    Case((3, 70, 11, 10), (8, 35, 3, 3), {"groups": 2, "padding": "full"}),
    Case((2, 70, 27, 30), (8, 35, 3, 3), {"groups": 2}),
]  # fmt: skip
KERNELS = [(5, 5), (3, 1), (1, 3)]
EDGES_OF_KERNELS = [
    *(Case((33, *size), (5, 33, *kernel), {"padding": "same"}) for kernel in KERNELS for size in [
        (1, 1), (1, 12), (12, 1), (2, 3), (4, 4), (7, 9), (8, 17), (9, 70), (31, 26), (5, 129),
    ]),
    *(Case((2, 70, 15, 30), (33, 70, *kernel)) for kernel in KERNELS),
    *(Case((2, 257, 9, 10), (9, 257, *kernel)) for kernel in KERNELS),
    *(Case((3, 130, 12, 11), (8, 65, *kernel), {"groups": 2, "padding": "full"})
      for kernel in KERNELS),
]  # fmt: skip
by_dtype = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


@functools.cache
def edge_problems(dtype):
    problems = []
    for seed, case in enumerate([*EDGES, *EDGES_OF_KERNELS]):
        x, w = normal_arrays(case, dtype, seed)
        problems.append((case, x, w, definition(x, w, **case.options)))
    return problems


@pytest.mark.edges
@by_dtype
def test_edges_of_tiles_and_blocks(isa, dtype):
    for case, x, w, expected in edge_problems(dtype):
        y = fastcorr.corr2d(x, w, method="winograd", **case.options)
        compare(y, *expected, units=16)


def positive(x, w, rng):
    np.abs(x, out=x), np.abs(w, out=w)


def check_random(dtype, spoil, channels, kernel, paddings):
    rng = np.random.default_rng(channels)
    x, w = normal((channels, 14, 13), dtype, rng), normal((16, channels, *kernel), dtype, rng)
    if spoil:
        spoil(x, w, rng)
    for padding in paddings:
        check(x, w, padding=padding, method="winograd", units=16)


by_sign = pytest.mark.parametrize("spoil", [None, positive], ids=["either_sign", "positive"])


@pytest.mark.parametrize("channels", [32, 64, 130, 300])
@by_sign
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_data(dtype, spoil, channels):
    check_random(dtype, spoil, channels, (3, 3), (0, 1, 2))


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@by_sign
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_data_under_other_kernels(dtype, spoil, kernel):
    for channels in (32, 64, 300):
        check_random(dtype, spoil, channels, kernel, (0, "same", "full"))


EDGE = 9  # a column in the middle of a tile, for padding 0 to 2


def constant(x, w, rng):
    x[...], w[...] = 0.1, 0.7


def stars(x, w, rng):
    x[rng.random(x.shape) < 1e-3] *= 1e12


def one_star_positive(x, w, rng):
    positive(x, w, rng)
    x[0, 5, 9, 9] = 1e12


def checkerboard(x, w, rng):
    bright = np.indices(x.shape[2:]).sum(axis=0) % 2 == 0
    x *= np.where(bright, 1e6, 1e-6).astype(x.dtype)


def checkerboard_and_centre(x, w, rng):
    checkerboard(x, w, rng)
    row, column = w.shape[2] // 2, w.shape[3] // 2
    centre = w[:, :, row, column].copy()
    w *= 1e-8
    w[:, :, row, column] = centre


def half_dark(x, w, rng):
    x[..., EDGE:] *= 1e-6


def half_zero(x, w, rng):
    x[..., EDGE:] = 0


def channels_dark_in_turns(x, w, rng):
    """Half of the channels dark at the left, the others at the right, w only for the former."""
    channels = x.shape[1] // 2
    x[:, :channels, :, EDGE:] *= 1e-6
    x[:, channels:, :, :EDGE] *= 1e-6
    w[:, channels:] *= 1e-6


def one_bright_channel(x, w, rng):
    x[:, 0] *= 1e6


def checkerboards_through_channels(x, w, rng):
    """Of x and of w: every other output has large weights on small pixels only, and the reverse."""
    x *= (10.0 ** (6 * (-1.0) ** np.indices(x.shape[1:]).sum(axis=0))).astype(x.dtype)
    w *= (10.0 ** (6 * (-1.0) ** np.indices(w.shape[1:]).sum(axis=0))).astype(w.dtype)


def channels_of_opposite_sizes(x, w, rng):
    sizes = np.exp(4 * rng.standard_normal((x.shape[1], 1, 1))).astype(x.dtype)
    x *= sizes
    w /= sizes


def zeros_against_zeros(x, w, rng):
    """Channel by channel, some outputs find nothing but zeros, and have to be 0."""
    rows, columns = np.indices(x.shape[2:]) % np.array(w.shape[2:])[:, None, None]
    support = rng.random(w.shape[1:]) < 0.3
    x[:, ~support[:, rows, columns]] = 0
    w[:, support] = 0


def one_large_weight(x, w, rng):
    w[:, 0, 0, 0] = 1e6


def every_magnitude(x, w, rng):
    x *= (10.0 ** rng.uniform(-9, 9, x.shape)).astype(x.dtype)
    w *= (10.0 ** rng.uniform(-9, 9, w.shape)).astype(w.dtype)


def mostly_zeros(x, w, rng):
    x[rng.random(x.shape) < 0.9] = 0
    w[rng.random(w.shape) < 0.7] = 0


def rectified_and_unequal(x, w, rng):
    np.maximum(x, 0, out=x)
    x *= np.exp(0.7 * rng.standard_normal((x.shape[1], 1, 1))).astype(x.dtype)
    w[...] = rng.laplace(size=w.shape)


def heavy_tails(x, w, rng):
    x[...] = np.exp(2 * x)


def near_underflow(x, w, rng):
    x *= np.finfo(x.dtype).tiny * 8


def weights_near_underflow(x, w, rng):
    w *= np.finfo(x.dtype).tiny * 2**30


def near_overflow(x, w, rng):
    x *= np.finfo(x.dtype).max / 1e5


def weights_near_overflow(x, w, rng):
    w *= np.finfo(x.dtype).max / 1e5


def smooth(x, w, rng):
    x[...] = 1 + np.cumsum(x, axis=-1) / 100


HOSTILE = [
    constant, stars, one_star_positive, checkerboard, checkerboard_and_centre, half_dark, half_zero,
    channels_dark_in_turns, one_bright_channel, checkerboards_through_channels,
    channels_of_opposite_sizes, zeros_against_zeros, one_large_weight, every_magnitude,
    mostly_zeros, rectified_and_unequal, heavy_tails, near_overflow, weights_near_overflow, smooth,
]  # fmt: skip


def hostile_problem(spoil, dtype="float32", channels=64, kernel=(3, 3)):
    rng = np.random.default_rng(7)
    x, w = normal((1, channels, 13, 22), dtype, rng), normal((5, channels, *kernel), dtype, rng)
    spoil(x, w, rng)
    return x, w


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hostile_data(dtype, spoil):
    for padding in (0, 1):
        check(*hostile_problem(spoil, dtype), padding=padding, method="winograd", units=64)
    check(*hostile_problem(spoil, dtype, 150), padding=2, method="winograd", units=64)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
def test_hostile_data_under_other_kernels(spoil, kernel):
    problem = hostile_problem(spoil, kernel=kernel)
    for padding in (0, "same"):
        check(*problem, padding=padding, method="winograd", units=64)


@pytest.mark.parametrize(
    "spoil", [near_underflow, weights_near_underflow], ids=lambda f: f.__name__
)
def test_near_underflow_as_the_definition(spoil):
    """There u (|x| * |w|) itself is below the smallest number."""
    x, w = hostile_problem(spoil)
    y = fastcorr.corr2d(x, w, padding=1, method="winograd")
    exact, magnitude, _ = definition(x, w, padding=1)
    tiny = np.finfo(np.float32).smallest_subnormal
    assert (np.abs(y - exact) <= 16 * 2.0**-24 * magnitude + 64 * tiny).all()


@pytest.fixture
def no_guard(monkeypatch):
    """Plans made without the guard's bounds; forgotten afterwards."""
    if fastcorr.show_config("dicts")["isa"]["active"] == "generic":
        pytest.skip("tiles of 2 x 2 under 3 x 3 stand more, and there are no others")
    monkeypatch.setattr(winograd_guard, "ERROR", 1e-30)
    monkeypatch.setattr(winograd_guard, "GREATEST_SQUARED_ROOT", 1e-30)
    monkeypatch.setattr(winograd_guard, "MIN_SHARE", 0.0)
    _plan.plan_for.cache_clear()
    yield
    _plan.plan_for.cache_clear()


NEEDS_GUARD = [
    stars, checkerboard_and_centre, half_dark, channels_dark_in_turns,
    checkerboards_through_channels, zeros_against_zeros,
]  # fmt: skip


@pytest.mark.parametrize("spoil", NEEDS_GUARD, ids=lambda f: f.__name__)
def test_the_data_are_hostile_enough(no_guard, spoil):
    with pytest.raises(AssertionError):
        check(*hostile_problem(spoil), padding=1, method="winograd", units=64)


# In tiles of 2 x 2 what only one column of outputs sees does not reach the other.
@pytest.mark.parametrize(
    "spoil",
    [f for f in NEEDS_GUARD if f not in (half_dark, channels_dark_in_turns)],
    ids=lambda f: f.__name__,
)
def test_the_data_are_hostile_enough_under_5x5(no_guard, spoil):
    problem = hostile_problem(spoil, kernel=(5, 5))
    with pytest.raises(AssertionError):
        check(*problem, padding=2, method="winograd", units=64)


@pytest.mark.parametrize("kernel", [(3, 3), *KERNELS], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_at_every_place_of_a_tile(value, kernel):
    rng = np.random.default_rng(1)
    x, w = normal((36, 48, 11, 13), "float32", rng), normal((3, 48, *kernel), "float32", rng)
    w[1, 7] = 0  # 0 * Inf is NaN
    for i, image in enumerate(x):
        image[7, 3 + i // 6, 4 + i % 6] = value
    check(x, w, padding="same", method="winograd")


def test_nan_and_inf_in_small_images_and_in_the_kernel():
    rng = np.random.default_rng(1)
    x, w = normal((4, 32, 7, 6), "float64", rng), normal((3, 32, 3, 3), "float64", rng)
    x[0, 0, 0, 0], x[1, 31, 6, 5], x[2, 3, 3, 2] = np.nan, np.inf, -np.inf
    check(x, w, padding=1, method="winograd")
    for value in (np.nan, np.inf):
        spoiled = w.copy()
        spoiled[2, 5, 1, 1] = value
        check(x[3:], spoiled, padding=1, method="winograd")


@pytest.mark.parametrize("value", [0.5, 1e30, np.nan, np.inf])
def test_padding_value(value):
    x, w = normal_arrays(Case((33, 10, 14), (4, 33, 3, 3)), "float32")
    check(x, w, padding=((0, 3), (5, 1)), padding_value=value, method="winograd", units=64)


@pytest.mark.edges
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_padding_modes(mode):
    x, w = normal_arrays(Case((2, 34, 6, 9), (5, 34, 3, 3)), "float32")
    for padding in (1, ((0, 7), (11, 0)), 20, "same", "full"):
        check(x, w, padding=padding, padding_mode=mode, method="winograd")
    for kernel in KERNELS:
        w = normal((5, 34, *kernel), "float32", np.random.default_rng(0))
        check(x, w, padding=((3, 7), (11, 0)), padding_mode=mode, method="winograd")


@pytest.mark.edges
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    x, w = normal_arrays(Case((2, 64, 9, 18), (6, 32, 3, 3)), "float32")
    options = {"groups": 2, "padding": 1, "method": "winograd"}
    check(LAYOUTS[layout](x), LAYOUTS[layout](w), **options)
    bias = normal((6,), "float32", np.random.default_rng(3))
    check(np.moveaxis(LAYOUTS[layout](x), 1, -1), w, bias, channel_axis=-1, **options)


@pytest.mark.parametrize(
    "types", [("uint8", "float32"), ("float16", "float32"), ("float32", "float64")]
)
def test_mixed_dtypes(types):
    rng = np.random.default_rng(0)
    x = (10 * np.abs(normal((32, 12, 13), "float64", rng))).astype(types[0])
    y = check(x, normal((7, 32, 3, 3), types[1], rng), padding=1, method="winograd", units=64)
    assert y.dtype == np.result_type(*types)


def test_out_and_bias():
    x, w = normal_arrays(Case((3, 32, 10, 11), (13, 32, 3, 3)), "float32")
    bias = np.arange(13, dtype=np.float32)
    expected = fastcorr.corr2d(x, w, bias, padding=1, method="winograd")
    wide = np.full((3, 13, 10, 22), np.nan, np.float32)
    y = fastcorr.corr2d(x, w, bias, padding=1, method="winograd", out=wide[..., ::2])
    check_bits(np.ascontiguousarray(y), expected)
    assert np.isnan(wide[..., 1::2]).all()
    compare(expected, *definition(x, w, bias, padding=1))


INVARIANT = [
    Case((3, 48, 30, 31), (50, 48, 3, 3), {"padding": 1}),
    Case((3, 256, 14, 14), (64, 256, 3, 3), {"padding": 1}),
    Case((4, 160, 7, 7), (70, 160, 3, 3), {"padding": 1}),
    Case((2, 66, 20, 37), (24, 33, 3, 3), {"groups": 2}),
    Case((2, 20, 37, 40), (24, 40, 3, 3), {"channel_axis": -1, "padding": 1}),
    Case((3, 48, 30, 31), (50, 48, 5, 5), {"padding": 2}),
    Case((3, 40, 9, 13), (70, 40, 5, 5), {"padding": 2}),
    Case((3, 48, 30, 31), (50, 48, 1, 3)),
    Case((3, 48, 9, 13), (70, 48, 3, 1), {"padding": (1, 0)}),
    Case((2, 64, 45, 42), (64, 64, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_share_the_vectors_that_are_left(isa, dtype, monkeypatch):
    """Where their number is none of the threads': cuts that the cost model may not choose here."""
    case = Case((64, 76, 28), (64, 64, 3, 3), {"padding": 1})  # 133 tiles
    x, w = normal_arrays(case, dtype)
    x[4, -1, -2] = 1e12  # a tile by definition
    options = {"method": "winograd", **case.options}
    y = fastcorr.corr2d(x, w, workers=1, **options)
    problem = fastcorr.explain(x, w, **options).problem
    all_candidates = winograd.candidates

    def candidates(*args):
        found = [*all_candidates(*args)]
        return [c for c in found if c.rest > 0] or found

    monkeypatch.setattr(winograd, "candidates", candidates)
    runner = winograd.Winograd(problem, *margins_of(problem))
    out = np.empty_like(y)
    for workers in (2, 3):
        runner.run(x, w, None, out, bytes(8), workers)
        check_bits(out, y)
    assert not all("0 vectors in ranges" in repr(runner.cut(workers)) for workers in (2, 3))


@pytest.mark.parametrize("case", INVARIANT, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bitwise_for_any_workers_and_in_a_batch(isa, dtype, case):
    x, w = normal_arrays(case, dtype)
    x[0, 1, 2, 3], x[-1, 3, 2, 1], x[-1, 4, -1, -2] = 1e12, np.nan, 1e12  # tiles by definition
    options = {"method": "winograd", **case.options}
    y = fastcorr.corr2d(x, w, workers=1, **options)
    for workers in (2, 3, 7):
        check_bits(fastcorr.corr2d(x, w, workers=workers, **options), y)
    for i in range(len(x)):
        check_bits(fastcorr.corr2d(x[i], w, workers=2, **options), y[i])
    check_bits(fastcorr.corr2d(x[::-1], w, workers=2, **options), y[::-1])


@pytest.mark.parametrize("case", INVARIANT, ids=str)
def test_prepared_weights_give_the_same_bits(case):
    x, w = normal_arrays(case, "float32")
    plan = fastcorr.explain(x, w, method="winograd", **case.options)
    runner = plan._runner
    y = np.empty(plan.problem.y_shape, np.float32)
    prepared = runner.transform_weights(w, 2)
    runner.run(x, w, None, y, bytes(8), 2, prepared)
    check_bits(y, fastcorr.corr2d(x, w, method="winograd", **case.options))
    bank = fastcorr.FilterBank(w, method="winograd", **case.options)
    check_bits(bank(x), y)


def test_workspace_of_a_large_image():
    x = np.broadcast_to(np.float32(1), (4, 512, 3000, 3000))
    w = np.broadcast_to(np.float32(1), (2048, 512, 3, 3))
    with fastcorr.set_workers(2):
        assert fastcorr.explain(x, w, method="winograd").workspace <= 64 << 20


REFUSED = [
    ("3 x 3, 5 x 5", (32, 9, 9), (4, 32, 3, 5), {}, "float32"),
    ("1 x 3 only, not 1 x 1", (32, 9, 9), (4, 32, 1, 1), {}, "float32"),
    ("stride 1", (32, 9, 9), (4, 32, 3, 3), {"stride": (1, 2)}, "float32"),
    ("dilation 1", (32, 9, 9), (4, 32, 3, 3), {"dilation": 2}, "float32"),
    ("32 channels", (62, 9, 9), (4, 31, 3, 3), {"groups": 2}, "float32"),
    ("float16, float32 and float64", (32, 9, 9), (4, 32, 3, 3), {}, "complex64"),
    ("float16, float32 and float64", (32, 9, 9), (4, 32, 3, 3), {}, "int32"),
    ("float16, float32 and float64", (32, 9, 9), (4, 32, 3, 3), {}, "longdouble"),
]


@pytest.mark.parametrize(("why", "x_shape", "w_shape", "options", "dtype"), REFUSED)
def test_refusals_say_why(why, x_shape, w_shape, options, dtype):
    x, w = np.ones(x_shape, dtype), np.ones(w_shape, dtype)
    with pytest.raises(ValueError, match=why):
        fastcorr.corr2d(x, w, method="winograd", **options)
    fastcorr.corr2d(x, w, **options)


def test_empty_batch():
    y = fastcorr.corr2d(np.ones((0, 32, 9, 9)), np.ones((4, 32, 3, 3)), method="winograd")
    assert y.shape == (0, 4, 7, 7)


def test_auto_takes_it_where_it_pays():
    def method(channels, size, dtype="float32", kernel=3):
        x = np.broadcast_to(np.array(1, dtype), (channels, size, size))
        w = np.broadcast_to(np.array(1, dtype), (channels, channels, kernel, kernel))
        return fastcorr.explain(x, w, padding=kernel // 2).method

    assert method(64, 56) == method(128, 112) == method(128, 28, "float64") == "winograd"
    assert method(64, 56, kernel=5) == method(128, 28, kernel=5) == "winograd"
    assert method(64, 56, kernel=2) == method(64, 4) == method(512, 7) == "direct"
