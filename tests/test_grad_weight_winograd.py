# SPDX-License-Identifier: BSD-3-Clause
"""The weight gradient by Winograd's algorithm: the contract of the definition, whatever the data.

16 u (|x| * |dy|) on random data and 64 u on hostile data, NaN and Inf in their places.
"""

import numpy as np
import pytest
import reference
from contract import check_bits
from layouts import LAYOUTS

import fastcorr
from fastcorr._algorithms import grad_weight, grad_weight_winograd
from fastcorr._kernels.dispatch import active_isa
from fastcorr._padding import margins_of
from fastcorr._plan import compute_bytes, plan_for
from fastcorr._problem import problem_key

pytestmark = pytest.mark.kernels


def problem_of(x, F, groups=1, padding=1, mode="constant", method="auto"):
    w = np.empty((F, x.shape[1] // groups, 3, 3), x.dtype)
    key = problem_key(x, w, None, 1, padding, 1, groups, mode, None, method)
    return plan_for(*key).problem


def algorithm_of(problem):
    direct = grad_weight.GradWeight(problem, *margins_of(problem))
    return grad_weight_winograd.GradWeightWinograd(problem, *margins_of(problem), direct)


def arrays(x_shape, F, dtype="float32", seed=0, **options):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(x_shape).astype(dtype)
    problem = problem_of(x, F, **options)
    return problem, x, rng.standard_normal(problem.y_shape).astype(dtype), rng


def gradient(problem, x, dy, workers=2, padding_value=0):
    """Return dw, and how many of its pairs of channels were summed by the definition."""
    algorithm = algorithm_of(problem)
    dw = np.full(problem.w_shape, np.nan, problem.dtype)
    algorithm.run(dy, x, dw, compute_bytes(problem, padding_value), workers)
    return dw, algorithm.n_again


def definition(problem, x, dy, **options):
    """Return dw and the sums of absolute values."""
    options |= {
        "groups": problem.groups, "padding": problem.padding, "padding_mode": problem.padding_mode,
        "needs": "w",
    }  # fmt: skip
    w = np.zeros(problem.w_shape, x.dtype)
    with np.errstate(all="ignore"):
        exact = reference.gradients(dy, x, w, **options)[1]
        return exact, reference.gradient_magnitudes(dy, x, w, **options)[1]


def check(problem, x, dy, units=16, **options):
    """Assert the contract; return how many pairs were summed by the definition."""
    dw, n_again = gradient(problem, x, dy, **options)
    options.pop("workers", None)
    exact, magnitude = definition(problem, x, dy, **options)
    with np.errstate(all="ignore"):
        expected = exact.astype(x.dtype)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(dw[~finite], expected[~finite])
    error = np.abs(dw[finite] - exact[finite])
    unit = magnitude[finite] * np.finfo(x.dtype).eps / 2
    assert not error[unit == 0].any(), "a sum of zeros is not zero"
    worst = (error[unit > 0] / unit[unit > 0]).max(initial=0)
    assert worst <= units, f"{worst:.3g} u (|x| * |dy|), the contract allows {units}"
    return n_again


def served(n_again):
    """Whether Winograd's algorithm was not given up; without fused products it never starts."""
    return n_again == 0 or active_isa() == "generic"


SHAPES = [
    ((1, 40, 56, 56), 32, {}),
    ((2, 64, 28, 28), 48, {}),
    ((1, 32, 13, 22), 37, {"padding": 0}),
    ((5, 40, 9, 14), 33, {"padding": ((2, 1), (0, 3))}),
    ((2, 80, 17, 70), 96, {"groups": 2}),
    ((8, 33, 5, 5), 32, {"padding": 2}),
    ((9, 50, 3, 1), 35, {}),
    ((1, 32, 30, 150), 64, {"mode": "reflect"}),
    ((1, 40, 30, 30), 64, {"mode": "wrap", "padding": 3}),
    ((200, 32, 4, 8), 32, {}),
]


@pytest.mark.edges
@pytest.mark.parametrize(("x_shape", "F", "options"), SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_data(isa, x_shape, F, options, dtype):
    problem, x, dy, _ = arrays(x_shape, F, dtype, **options)
    check(problem, x, dy)
    check(problem, np.abs(x), np.abs(dy))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rectified_data_are_served(dtype):
    for shape in ((1, 64, 56, 56), (4, 64, 28, 28)):
        problem, x, dy, _ = arrays(shape, 48, dtype)
        assert served(check(problem, x, dy))
        rectified = np.maximum(x, 0)
        rectified[:, 5] = 0
        dy[:, 7] = 0
        assert served(check(problem, rectified, dy))
        n_again = check(problem, rectified, np.where(dy > 0, dy, 0) * np.float32(1e-9))
        assert n_again < 48 * 64 / 50 or active_isa() == "generic"


def constant(x, dy, rng):
    x[...], dy[...] = 0.1, 0.7


def stars(x, dy, rng):
    x[rng.random(x.shape) < 1e-3] *= 1e12


def stars_of_dy(x, dy, rng):
    dy[rng.random(dy.shape) < 1e-3] *= 1e12


def one_star(x, dy, rng):
    x[0, 3, 11, 12] = 1e12


def one_star_of_each_channel(x, dy, rng):
    x[-1, np.arange(x.shape[1]), rng.integers(x.shape[2], size=x.shape[1]), 5] = 1e10


def one_star_positive(x, dy, rng):
    np.abs(x, out=x), np.abs(dy, out=dy)
    dy[0, 2, 7, 7] = 1e12


def checkerboards(x, dy, rng, size=1e6):
    for a, phase in ((x, 0), (dy, 1)):
        bright = np.indices(a.shape[2:]).sum(axis=0) % 2 == phase
        a *= np.where(bright, size, 1 / size).astype(a.dtype)


def faint_checkerboards(x, dy, rng):
    checkerboards(x, dy, rng, 1e3)


def checkerboards_without_signs(x, dy, rng):
    checkerboards(x, dy, rng)
    np.abs(x, out=x), np.abs(dy, out=dy)


def checkerboards_through_channels(x, dy, rng):
    for a in (x, dy):
        a *= (10.0 ** (6 * (-1.0) ** np.indices(a.shape[1:]).sum(axis=0))).astype(a.dtype)


def stripes_against_stripes(x, dy, rng):
    x[..., np.arange(x.shape[3]) % 4 != 0] = 0
    dy[..., np.arange(dy.shape[3]) % 4 != 1] = 0


def halves_that_do_not_meet(x, dy, rng):
    x[..., x.shape[3] // 2 - 1 :] = 0
    dy[..., : dy.shape[3] // 2 + 1] = 0


def half_dark(x, dy, rng):
    x[..., x.shape[3] // 2 :] *= 1e-6
    dy[..., : dy.shape[3] // 2] *= 1e-6


def channels_of_all_sizes(x, dy, rng):
    x *= np.exp(4 * rng.standard_normal((x.shape[1], 1, 1))).astype(x.dtype)
    dy *= np.exp(4 * rng.standard_normal((dy.shape[1], 1, 1))).astype(x.dtype)


def images_of_all_sizes(x, dy, rng):
    x *= 10.0 ** rng.uniform(-6, 6, (len(x), 1, 1, 1)).astype(x.dtype)
    dy *= 10.0 ** rng.uniform(-6, 6, (len(x), 1, 1, 1)).astype(x.dtype)


def every_magnitude(x, dy, rng):
    for a in (x, dy):
        a *= (10.0 ** rng.uniform(-9, 9, a.shape)).astype(a.dtype)


def mostly_zeros(x, dy, rng):
    x[rng.random(x.shape) < 0.95] = 0
    dy[rng.random(dy.shape) < 0.95] = 0


def few_pixels(x, dy, rng):
    x[rng.random(x.shape) < 0.999] = 0


def heavy_tails(x, dy, rng):
    x[...] = np.exp(2 * x)
    dy *= np.exp(3 * rng.standard_normal(dy.shape)).astype(dy.dtype)


def tiles_that_repeat(x, dy, rng):
    for a in (x, dy):
        rows, columns = np.indices(a.shape[2:]) % 4
        a[...] = a[:1, :, rows, columns]


def smooth(x, dy, rng):
    x[...] = 1 + np.cumsum(x, axis=-1) / 100
    dy[...] = 1 + np.cumsum(dy, axis=-2) / 100


def small(x, dy, rng):
    x *= 1e-8
    dy *= 1e-7


def near_overflow(x, dy, rng):
    x *= np.finfo(x.dtype).max / 1e5


def one_dark_channel(x, dy, rng):
    x[:, 4] *= 1e-12 if x.dtype == np.float32 else 1e-100
    dy[:, 6] *= 1e-10 if x.dtype == np.float32 else 1e-90
    x[:, 4, ::2] *= 1e-6


HOSTILE = [
    constant, stars, stars_of_dy, one_star, one_star_of_each_channel, one_star_positive,
    checkerboards, faint_checkerboards, checkerboards_without_signs, checkerboards_through_channels,
    stripes_against_stripes, halves_that_do_not_meet, half_dark, channels_of_all_sizes,
    images_of_all_sizes, every_magnitude, mostly_zeros, few_pixels, heavy_tails, tiles_that_repeat,
    smooth, small, near_overflow, one_dark_channel,
]  # fmt: skip


def hostile_arrays(spoil, dtype, shape=(3, 48, 30, 30)):
    problem, x, dy, rng = arrays(shape, 40, dtype, 7)
    spoil(x, dy, rng)
    return problem, x, dy


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hostile_data(dtype, spoil):
    for shape in ((3, 48, 30, 30), (1, 33, 60, 62), (8, 32, 12, 13)):
        check(*hostile_arrays(spoil, dtype, shape), units=64)


# Not `checkerboards`: what bounds their sums of absolute values is all rounding error. Where that
# is negative, all are summed by the definition without any guard.
NEEDS_GUARD = [
    stars, stars_of_dy, one_star, one_star_of_each_channel, faint_checkerboards, half_dark,
    every_magnitude,
]  # fmt: skip


@pytest.mark.parametrize("spoil", NEEDS_GUARD, ids=lambda f: f.__name__)
def test_the_data_are_hostile_enough(spoil, monkeypatch):
    if active_isa() == "generic":
        pytest.skip("without fused products the definition serves all")
    monkeypatch.setattr(grad_weight_winograd, "MOST_IN_SAMPLE", 2.0)
    monkeypatch.setattr(grad_weight_winograd, "MOST_SUMMED_AGAIN", 2.0)
    monkeypatch.setattr(grad_weight_winograd, "DRIFT", 0.0)
    problem, x, dy = hostile_arrays(spoil, "float32")

    def check_all():
        for error in (1e-3, 1e-6, 1e-9, 1e-12):  # limits close to overflow are none
            monkeypatch.setattr(grad_weight_winograd, "ERROR", error)
            check(problem, x, dy, units=64)

    with pytest.raises(AssertionError, match="the contract allows"):
        check_all()


def test_few_bad_channels_leave_the_rest_to_winograd():
    if active_isa() == "generic":
        pytest.skip("without fused products the definition serves all")
    for spoil in (one_star, one_star_positive):
        assert 0 < check(*hostile_arrays(spoil, "float32"), units=64) <= 48


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_and_inf(isa, dtype, value):
    for shape in ((3, 48, 30, 30), (1, 32, 21, 18)):
        for where in ((0, 0, 0, 0), (0, 13, 7, 8), (-1, -1, -1, -1)):
            problem, x, dy, _ = arrays(shape, 40, dtype)
            x[where] = value
            check(problem, x, dy)
            problem, x, dy, _ = arrays(shape, 40, dtype)
            dy[where] = value
            check(problem, x, dy)


@pytest.mark.edges
@pytest.mark.parametrize("value", [0.5, 1e30, np.nan, np.inf])
def test_padding_value(value):
    problem, x, dy, _ = arrays((2, 33, 18, 19), 34, padding=((0, 3), (5, 1)))
    check(problem, x, dy, units=64, padding_value=value)


@pytest.mark.edges
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "byte_swapped"])
def test_layouts(layout):
    problem, x, dy, _ = arrays((2, 72, 14, 18), 80, groups=2)
    dw, _ = gradient(problem, x, dy)
    other, _ = gradient(problem, LAYOUTS[layout](x), LAYOUTS[layout](dy))
    check_bits(other, dw)
    last = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, dy))
    other, _ = gradient(problem, *(np.moveaxis(a, -1, 1) for a in last))
    check_bits(other, dw)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_for_any_number_of_workers(isa, dtype):
    for shape, F in (((4, 72, 30, 31), 90), ((1, 130, 56, 56), 40), ((2, 64, 70, 190), 33)):
        problem, x, dy, _ = arrays(shape, F, dtype)
        x[0, 1, 2, 3], dy[-1, 3, 2, 1] = 1e12, np.nan
        one, n_again = gradient(problem, x, dy, workers=1)
        assert n_again > 0
        for workers in (2, 3, 7, 64):
            check_bits(gradient(problem, x, dy, workers=workers)[0], one)


def test_memory_of_many_channels():
    x = np.broadcast_to(np.float32(1), (64, 1024, 40, 40))
    problem = problem_of(x, 1000)
    assert grad_weight_winograd.unsupported(problem, x.dtype) is None
    for workers in (1, 2, 16):
        cut = algorithm_of(problem).cut(workers)
        assert cut.scratch_bytes + cut.shared_bytes / workers <= 8 << 20


def test_who_is_served():
    def refusal(F=64, dy_dtype="float32", dtype="float32", shape=(1, 64, 28, 28), **options):
        problem = problem_of(np.empty(shape, dtype), F, **options)
        return grad_weight_winograd.unsupported(problem, np.dtype(dy_dtype))

    assert refusal() is None
    assert "32 channels" in refusal(F=31)
    assert "32 channels" in refusal(groups=4)
    assert "float32 and float64" in refusal(dy_dtype="float64")
    assert "float32 and float64" in refusal(dtype="float16", dy_dtype="float16")
    assert "32 tiles" in refusal(shape=(1, 64, 20, 20))
    assert "definition" in refusal(method="direct")


def test_auto_takes_it_where_it_pays():
    if active_isa() == "generic":
        pytest.skip("without fused products the definition serves all")

    def is_taken(channels, size, n=1, dtype="float32"):
        problem = problem_of(np.empty((n, channels, size, size), dtype), channels)
        direct = grad_weight.GradWeight(problem, *margins_of(problem))
        return grad_weight_winograd.is_better(problem, problem.dtype, direct)

    assert is_taken(64, 56)
    assert is_taken(128, 28, 16, "float64")
    assert not is_taken(512, 7)
    assert not is_taken(32, 8)


def test_the_public_functions_take_it():
    problem, x, dy, _ = arrays((1, 64, 56, 56), 64)
    dw, _ = gradient(problem, x, dy)
    check_bits(fastcorr.corr2d_grad_weight(dy, x, 3, padding=1), dw)
    direct = np.empty_like(dw)
    grad_weight.GradWeight(problem, *margins_of(problem)).run(dy, x, direct, bytes(8), 2)
    check_bits(fastcorr.corr2d_grad_weight(dy, x, 3, padding=1, method="direct"), direct)
