# SPDX-License-Identifier: BSD-3-Clause
"""Kernels of low rank as pairs of passes: exact on whole numbers, the contract on all others."""

import numpy as np
import pytest
from cases import Case, normal, whole_numbers
from contract import check, check_bits, check_exact, compare, definition

import fastcorr

pytestmark = pytest.mark.kernels

SIZES = [(1, 1), (2, 70), (4, 8), (5, 33), (33, 65), (40, 16), (70, 139)]
EDGES = [
    *(Case((oh + kh - 1, ow + kw - 1), (kh, kw))
      for kh, kw in ((2, 2), (3, 5), (7, 4), (8, 17), (17, 31)) for oh, ow in SIZES),
    Case((140, 9), (135, 5)),
    Case((9, 310), (4, 280)),
    Case((3, 400), (3, 2), {"padding": 1}),
    *(Case((h, 9), (3, 4)) for h in (73, 74, 75, 76, 77, 150)),  # the ring begins again
]  # fmt: skip
OPTIONS = [
    *(Case((40, 50), (k, 5), {"padding": padding, "padding_mode": mode})
      for k in (4, 12) for padding in ("same", "full", ((0, 3), (60, 1)))
      for mode in ("constant", "reflect", "symmetric", "edge", "wrap")),
    *(Case((60, 90), k, {name: step})
      for k in ((2, 3), (5, 4), (9, 12))
      for name, step in (("stride", 2), ("stride", (1, 3)), ("dilation", (3, 1)),
                         ("dilation", (2, 3)))),
    Case((60, 90), (9, 4), {"stride": (5, 2)}),
    Case((140, 20), (135, 5), {"stride": (3, 1)}),
    Case((250, 9), (3, 4), {"stride": 2}),
    Case((190, 9), (3, 4), {"dilation": (3, 1)}),
    Case((60, 90), (9, 4), {"stride": (1, 2), "dilation": (8, 2), "padding": 7}),
]  # fmt: skip
CHANNELS = [
    Case((3, 40, 50), (3, 1, 5, 4), {"groups": 3, "padding": "same"}),
    Case((40, 50, 3), (3, 1, 5, 4), {"groups": 3, "channel_axis": -1, "padding": 2}),
    Case((3, 40, 50), (3, 7, 7)),
    Case((2, 4, 40, 50), (4, 2, 4, 9), {"groups": 2}),
    Case((2, 40, 50, 2), (6, 1, 9, 4), {"groups": 2, "channel_axis": -1, "stride": (1, 2)}),
    Case((3, 3, 20, 30), (4, 3, 5, 6), {"stride": 2, "padding": "same"}),
]


def whole(case, dtype, rank=1, seed=0):
    """Return x and w of small whole numbers, each kernel of w a sum of products of vectors."""
    rng = np.random.default_rng(seed)
    *lead, kh, kw = case.w
    wide = np.int64
    w = sum(
        whole_numbers((*lead, kh, 1), wide, rng, 1) * whole_numbers((*lead, 1, kw), wide, rng, 2)
        for _ in range(rank)
    )
    if np.dtype(dtype).kind == "u":
        w = np.abs(w)
    return whole_numbers(case.x, dtype, rng), w.astype(np.zeros(0, dtype).real.dtype)


def bell(kh, kw, dtype):
    y, x = np.linspace(-2, 2, kh)[:, None], np.linspace(-2, 2.5, kw)
    return np.exp(-(x * x + y * y)).astype(dtype)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("group", [EDGES, OPTIONS, CHANNELS], ids=["edges", "options", "channels"])
def test_every_edge_of_the_tiles(isa, group, dtype):
    for seed, case in enumerate(group):
        check_exact(*whole(case, dtype, seed=seed), method="separable", **case.options)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "complex64", "complex128"])
def test_other_dtypes(isa, dtype):
    for seed, case in enumerate([*EDGES, *OPTIONS, *CHANNELS][::4]):
        x, w = whole(case, dtype, seed=seed)
        bias = whole_numbers(case.w[0], dtype, np.random.default_rng(seed)) if w.ndim == 4 else None
        check_exact(x, w, bias, method="separable", **case.options)


def test_mixed_dtypes():
    x, w = whole(EDGES[17], "uint8")
    for x_dtype, w_dtype in (("uint8", "float32"), ("uint16", "float64"), ("float32", "int8")):
        check_exact(x.astype(x_dtype), w.astype(w_dtype), method="separable")
    check_exact(x.astype("float32"), w.astype("int8"), np.float32(0.5), method="separable")


@pytest.mark.edges
def test_layouts():
    rng = np.random.default_rng(0)
    x, w = whole_numbers((40, 60), "float32", rng), np.outer([1, 2, 1, 0], [1, 0, -1]).astype("f4")
    big = np.zeros((80, 180), "float32")
    big[::2, ::3] = x
    expected = fastcorr.corr2d(x, w, method="separable")
    swapped = np.frombuffer(b"\0" + x.tobytes(), "u1")[1:].view("f4").reshape(x.shape)
    for view in (big[::2, ::3], x[::-1, ::-1][::-1, ::-1], np.asfortranarray(x), swapped):
        check_bits(fastcorr.corr2d(view, w, method="separable"), expected)
    constant = np.broadcast_to(np.float32(3), (40, 60))
    check_exact(constant, w, method="separable")
    check_exact(x, np.asfortranarray(w)[::-1, ::-1], method="separable")
    for out in (np.empty((37, 116), "f4")[:, ::2], np.empty((58, 37), "f4").T):
        assert fastcorr.corr2d(x, w, method="separable", out=out) is out
        np.testing.assert_array_equal(out, expected)


PARALLEL = [
    Case((400, 401), (9, 9)),
    Case((300, 1200), (31, 15), {"padding": "same", "padding_mode": "wrap"}),
    Case((3, 3, 120, 121), (3, 1, 7, 9), {"groups": 3, "padding": 3}),
    Case((130, 260, 4), (4, 1, 6, 5), {"groups": 4, "channel_axis": -1, "stride": (2, 1)}),
]


@pytest.mark.parametrize("case", PARALLEL, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_workers(isa, case, dtype):
    x = normal(case.x, dtype, np.random.default_rng(0))
    w = np.broadcast_to(bell(*case.w[-2:], dtype), case.w)
    one = fastcorr.corr2d(x, w, method="separable", workers=1, **case.options)
    for workers in (2, 3, 7):
        check_bits(fastcorr.corr2d(x, w, method="separable", workers=workers, **case.options), one)


def test_an_image_alone_and_in_a_batch():
    x = normal((3, 2, 50, 90), "float32", np.random.default_rng(0))
    x[1, 0, 20, 30] = np.nan
    for w in (bell(9, 7, "float32"), 1 + bell(9, 7, "float32")):
        w = np.stack([w, w, w, w]).reshape(2, 2, 9, 7)
        y = fastcorr.corr2d(x, w, method="separable")
        for n in range(3):
            check_bits(fastcorr.corr2d(x[n], w, method="separable"), y[n])


def uniform(shape, dtype, rng):
    return rng.random(shape).astype(dtype)


def constant(shape, dtype, rng):
    return np.full(shape, 0.1, dtype)


def bright_star(shape, dtype, rng):
    x = 0.5 + rng.random(shape)
    x[shape[0] // 2, shape[1] // 2] = 1e12
    return x.astype(dtype)


def tiny_beside_huge(shape, dtype, rng):
    x = rng.standard_normal(shape)
    x[:, : shape[1] // 2] *= 1e-15
    x[:, shape[1] // 2 :] *= 1e15
    return x.astype(dtype)


def every_magnitude(shape, dtype, rng):
    return (rng.standard_normal(shape) * 10.0 ** rng.uniform(-9, 9, shape)).astype(dtype)


def one_pixel(shape, dtype, rng):
    """The result is the kernel itself: every error of the factors shows."""
    x = np.zeros(shape)
    x[shape[0] // 2, shape[1] // 2] = 1 / 3
    return x.astype(dtype)


FAMILIES = [(normal, 16), (uniform, 16), (one_pixel, 16)] + [
    (f, 64) for f in (constant, bright_star, tiny_beside_huge, every_magnitude)
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f[0].__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_accuracy_contract(family, dtype):
    distribution, units = family
    rng = np.random.default_rng(1)
    for k in (5, 15, 25):
        x = distribution((40, 45), dtype, rng)
        for w in (bell(k, k, dtype), np.full((k, k), 0.7, dtype), 1 + bell(k, k, dtype)):
            check(x, w, units=units, padding=2, method="separable")
    case = Case((3, 20, 31), (3, 9, 10))
    x = np.stack([distribution(case.x[1:], dtype, rng) for _ in range(3)])
    check(x, np.stack([bell(9, 10, dtype)] * 3), units=units, method="separable")


@pytest.mark.parametrize("distribution", [normal, uniform])
@pytest.mark.parametrize("shape", [((210, 230), (200, 200)), ((6, 1040), (3, 1000))])
def test_long_sums(distribution, shape):
    x = distribution(shape[0], "float32", np.random.default_rng(0))
    check(x, bell(*shape[1], "float32"), method="separable")


KERNELS = [
    np.outer([1, 2, 1], [1, 0, -1]),
    np.outer([0, -1, 2, 3], [1, 2]),
    np.zeros((3, 3)),
    1 + bell(5, 5, "float64"),
    np.outer([1, 2, 0, 1], [-1, 0, 1, 1]),
]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_inf_stand_where_the_definition_puts_them(isa, value, dtype):
    rng = np.random.default_rng(0)
    for w in KERNELS:
        w = w.astype(np.zeros(0, dtype).real.dtype)
        x = normal((12, 40), dtype, rng)
        for places in ([0], [200, 203], [100, 479], [240, 280, 281]):
            spoiled = x.copy()
            spoiled.reshape(-1)[places] = value
            spoiled.reshape(-1)[places[-1]] *= -1
            for options in ({"padding": 1}, {"padding": 2, "padding_mode": "wrap"}):
                check(spoiled, w, method="separable", **options)
        check(x, w, method="separable", padding=1, padding_value=value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_numbers(dtype):
    largest = np.finfo(dtype).max
    rng = np.random.default_rng(0)
    for w in (KERNELS[0], KERNELS[2], np.full((9, 9), 1 / 81), bell(9, 9, dtype) / 100):
        w = w.astype(dtype)
        x = np.full((20, 40), largest, dtype)
        check(x, w, method="separable")
        check(-x, w, method="separable")
        check((x * rng.uniform(-0.1, 0.1, x.shape)).astype(dtype), w, method="separable")


def test_auto_takes_it_where_it_pays():
    x = normal((300, 301), "float32", np.random.default_rng(0))
    w = bell(21, 21, "float32")
    plan = fastcorr.explain(x, w)
    assert plan.method == "separable"
    assert "rank 1" in plan.reason
    check_bits(fastcorr.corr2d(x, w), fastcorr.corr2d(x, w, method="separable"))
    assert fastcorr.explain(x, normal((21, 21), "float32", np.random.default_rng(1))).method != (
        "separable"
    )
    assert fastcorr.explain(x[:9, :9], w[:3, :3]).method == "direct"


def test_what_auto_takes_is_right():
    rng = np.random.default_rng(0)
    x = normal((150, 160), "float32", rng)
    x[70, 80] = np.inf
    spoiled = bell(15, 15, "float32")
    spoiled[3, 4] = np.nan
    for w in (bell(15, 15, "float32"), normal((15, 15), "float32", rng), spoiled):
        for image in (x, x.astype("complex64")):
            compare(fastcorr.corr2d(image, w), *definition(image, w))


@pytest.mark.parametrize(
    ("x", "w", "options", "why"),
    [
        ((9, 9), np.ones((1, 5)), {}, "one dimension"),
        ((9, 9), np.eye(3), {}, "rank"),
        ((9, 9), np.full((3, 3), np.nan), {}, "not finite"),
        ((9, 9), np.ones((3, 3), complex), {}, "real"),
        ((9, 9), np.ones((3, 3), np.longdouble), {}, "no kernels"),
        ((20, 9), np.ones((3, 3)), {"stride": 4}, "stride"),
        ((20, 9), np.ones((3, 3)), {"stride": 2, "dilation": 2}, "stride"),
        ((40, 40), np.ones((3, 3)), {"dilation": 9}, "dilation"),
        ((2000, 9), np.ones((1025, 3)), {}, "1024"),
        ((8, 9, 9), np.ones((8, 8, 3, 3)), {}, "channels"),
    ],
    ids=lambda value: str(value) if isinstance(value, (str, dict)) else "",
)
def test_refusals_say_why(x, w, options, why):
    with pytest.raises(ValueError, match=rf"method = 'separable'.*{why}"):
        fastcorr.corr2d(np.ones(x), w, method="separable", **options)


def test_the_working_memory():
    for size, kernel in (((4096, 4096), (63, 63)), ((9000, 64), (1000, 3)), ((64, 9000), (3, 999))):
        for dtype in ("float32", "float64"):
            x, w = np.broadcast_to(np.ones(1, dtype), size), np.ones(kernel, dtype)
            plan = fastcorr.explain(x, w, method="separable")
            assert plan.workspace <= 2 * 2**20 * fastcorr.get_workers()
