# SPDX-License-Identifier: BSD-3-Clause
"""The gradients are those of the definition, and adjoints of the operator.

Whole numbers wherever a comparison can be an equality; accuracy in units of u (sum |dy| |x|).
"""

import itertools
import sys
import tracemalloc
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import reference
from cases import PARALLEL, Case, normal, normal_arrays, whole_numbers
from contract import check_bits, compare
from hypothesis import given, settings
from layouts import LAYOUTS, OUT_LAYOUTS
from test_fuzz import missing, problems

import fastcorr
from fastcorr import Corr2DGrads, corr2d_backward, corr2d_grad_input, corr2d_grad_weight

pytestmark = pytest.mark.kernels

MODES = ["constant", "reflect", "symmetric", "edge", "wrap"]
# Few channels, many channels, depthwise, groups.
PATHS = [
    Case((8, 9), (2, 3)),
    Case((3, 8, 9), (3, 3, 2)),
    Case((2, 5, 8, 9), (7, 5, 3, 2)),
    Case((4, 8, 9), (8, 1, 3, 3), {"groups": 4}),
    Case((6, 8, 9), (4, 3, 2, 3), {"groups": 2}),
]
by_path = pytest.mark.parametrize("path", PATHS, ids=str)
WIDE_DEPTHWISE = Case((8, 8, 9), (8, 1, 3, 3), {"groups": 8})
FLOATS = ["float32", "float64", "complex64", "complex128", "float16", "longdouble"]


def with_dy(case, dtype, make=whole_numbers, seed=0, **options):
    """Return dy, x and w of the case."""
    rng = np.random.default_rng(seed)
    x, w = make(case.x, dtype, rng), make(case.w, dtype, rng)
    shape = fastcorr.explain(x, w, **options).problem.y_shape
    return make(shape, dtype, rng), x, w


def check_exact(dy, x, w, **options):
    """All three gradients by both ways, on whole numbers: equal to the definition."""
    grads = corr2d_backward(dy, x, w, **options)
    assert type(grads) is Corr2DGrads
    dtypes = np.result_type(dy, w), np.result_type(dy, x), dy.dtype
    options = {k: v for k, v in options.items() if k != "workers"}
    expected = reference.gradients(dy, x, w, **options)
    for name, got, want, dtype in zip("xwb", grads, expected, dtypes, strict=True):
        assert (type(got), got.dtype, got.shape) == (np.ndarray, dtype, want.shape), name
        np.testing.assert_array_equal(got, want.astype(dtype), err_msg=f"d{name} {options}")
    check_bits(corr2d_grad_input(dy, w, x.shape, **options), grads.x)
    check_bits(corr2d_grad_weight(dy, x, w.shape[-2:], **options), grads.w)
    return grads


@pytest.mark.edges
@by_path
@pytest.mark.parametrize("stride", [1, 2, 3, (1, 4), (5, 2), 9], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, (3, 1), (2, 4)], ids=str)
def test_stride_with_dilation_with_padding(path, stride, dilation):
    for padding in (0, 2, ((1, 0), (0, 3)), (0, 5), "same", "same_lower", "full"):
        options = {"stride": stride, "dilation": dilation, "padding": padding, **path.options}
        if missing(Case(path.x, path.w, options), 0) or missing(Case(path.x, path.w, options), 1):
            continue
        check_exact(*with_dy(path, np.float32, **options), **options)


@pytest.mark.edges
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("path", PATHS[1:4], ids=str)
def test_padding_modes_of_any_width(path, mode, n):
    widths = sorted({0, 1, n - 1, 2 * n - 1, 3 * n + 2})
    for i, (before, after) in enumerate(itertools.product(widths, repeat=2)):
        if before + after + n < 3:
            continue
        options = {"padding_mode": mode, "stride": 1 + i % 2, **path.options}
        for tall in (True, False):
            size, widths_yx = (n, 4), ((before, after), (2, 5))
            if not tall:
                size, widths_yx = size[::-1], widths_yx[::-1]
            case, options["padding"] = Case((*path.x[:-2], *size), path.w), widths_yx
            check_exact(*with_dy(case, np.float64, **options), **options)


@pytest.mark.edges
@pytest.mark.parametrize("mode", MODES)
def test_strips_of_padding_that_do_not_fit_in_scratch_at_once(mode, monkeypatch):
    """Cut into single rows and images, and the same numbers."""
    options = {"padding": ((7, 9), (6, 8)), "padding_mode": mode}
    dy, x, w = with_dy(Case((3, 2, 5, 6), (4, 2, 3, 3)), np.float64, **options)
    for strip_bytes in (1, 1000, 2000, 5000):
        monkeypatch.setattr("fastcorr._adjoint.STRIP_BYTES", strip_bytes)
        fastcorr._gradients._gradients_for.cache_clear()
        check_exact(dy, x, w, **options)
    fastcorr._gradients._gradients_for.cache_clear()


def test_padding_value_takes_part_in_the_weight_gradient():
    for path in PATHS:
        options = {"padding": 2, "padding_value": 3, **path.options}
        check_exact(*with_dy(path, np.float32, **options), **options)
    options = {"padding": 2, "padding_value": 1 - 2j}
    check_exact(*with_dy(PATHS[2], np.complex64, **options), **options)


@pytest.mark.edges
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", ["constant", "symmetric", "edge"])
@by_path
def test_dtypes(path, mode, dtype):
    options = {"padding": (2, 1), "stride": (1, 2), "padding_mode": mode, **path.options}
    check_exact(*with_dy(path, dtype, **options), **options)


@pytest.mark.parametrize("path", [PATHS[2], WIDE_DEPTHWISE], ids=str)
def test_dtypes_are_promoted_for_each_gradient(path):
    arrays = with_dy(path, np.float32, **path.options)
    expected = reference.gradients(*arrays, **path.options)
    for types in itertools.product("efdgFD", repeat=3):
        dy, x, w = (a.astype(t) for a, t in zip(arrays, types, strict=True))
        grads = corr2d_backward(dy, x, w, **path.options)
        assert grads.x.dtype == np.result_type(dy, w)
        assert grads.w.dtype == np.result_type(dy, x)
        assert grads.b.dtype == dy.dtype
        for name, got, want in zip("xwb", grads, expected, strict=True):
            np.testing.assert_array_equal(got, want.astype(np.float32), f"d{name} {types}")


@by_path
def test_a_stride_has_no_limit(path):
    for mode in ("constant", "reflect"):
        options = {"padding": 2, "padding_mode": mode, **path.options}
        for stride in itertools.product((2, sys.maxsize - 1, sys.maxsize), repeat=2):
            usual = tuple(min(s, 100) for s in stride)
            arrays = with_dy(path, np.float32, stride=usual, **options)
            expected = corr2d_backward(*arrays, stride=usual, **options)
            grads = corr2d_backward(*arrays, stride=stride, **options)
            for got, want in zip(grads, expected, strict=True):
                np.testing.assert_array_equal(got, want)


def test_the_dtype_of_w_does_not_change_the_weight_gradient():
    options = {"groups": 16}
    for size in range(20, 60, 2):
        case = Case((16, size, size), (16, 1, 3, 3))
        dy, x, w = with_dy(case, np.float32, normal, **options)
        dw = corr2d_backward(dy, x, w, **options).w
        for dtype in ("float64", "complex128", "longdouble"):
            check_bits(corr2d_backward(dy, x, w.astype(dtype), **options).w, dw)


def test_complex_gradients_follow_pytorch():
    """dw = corr(conj(x), dy), dx = dy times conj(w)."""
    grads = corr2d_backward([[2j]], [[1 + 1j]], [[3 - 1j]])
    assert grads.w == 2j * (1 - 1j)
    assert grads.x == 2j * (3 + 1j)
    assert grads.b == 2j


@pytest.mark.edges
@pytest.mark.parametrize(
    ("x", "w"),
    [((6, 7, 4), (4, 2, 3)), ((6, 7, 4), (9, 4, 2, 3)), ((3, 6, 7, 4), (9, 4, 2, 3)),
     ((3, 6, 7, 4), (8, 2, 2, 3)), ((3, 6, 7, 4), (8, 1, 2, 3))],
)  # fmt: skip
@pytest.mark.parametrize("options", [
    {}, {"stride": (2, 1), "padding": (1, 2)}, {"dilation": 2, "padding": 1},
    {"padding": 4, "padding_mode": "reflect"},
])  # fmt: skip
def test_channels_last(x, w, options):
    options = {"channel_axis": -1, "groups": x[-1] // w[-3], **options}
    dy, x, w = with_dy(Case(x, w), np.float32, **options)
    dx, dw, _ = check_exact(dy, x, w, **options)
    del options["channel_axis"]
    dy = np.moveaxis(dy, -1, -3) if w.ndim == 4 else dy
    first = corr2d_backward(dy, np.moveaxis(x, -1, -3), w, **options)
    np.testing.assert_array_equal(dx, np.moveaxis(first.x, -3, -1))
    np.testing.assert_array_equal(dw, first.w)


@by_path
def test_finite_differences(path):
    """The slope of <dy, y> along every element; a quadratic has no error but rounding."""
    options = {"padding": ((1, 2), (0, 3)), "padding_mode": "reflect", "stride": 2, **path.options}
    path = Case((*path.x[:-2], 4, 5), path.w)
    dy, x, w = with_dy(path, np.float64, normal, **options)
    grads = corr2d_backward(dy, x, w, **options)
    for array, grad in ((x, grads.x), (w, grads.w)):
        for i in np.ndindex(array.shape):
            y = []
            for step in (0.5, -0.5):
                array[i] += step
                y.append(fastcorr.corr2d(x, w, **options))
                array[i] -= step
            np.testing.assert_allclose((dy * (y[0] - y[1])).sum(), grad[i], rtol=1e-9, atol=1e-9)


@pytest.mark.edges
@given(
    case=problems(),
    dtype=st.sampled_from("fffddgFDe"),
    layouts=st.tuples(*[st.sampled_from(list(LAYOUTS))] * 3),
    out_layouts=st.tuples(*[st.sampled_from(OUT_LAYOUTS)] * 2),
    workers=st.sampled_from([1, 2, None]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=100)
def test_adjoint_identity(case, dtype, layouts, out_layouts, workers, seed):
    """<dy, corr(x, w)> = <dx, x> = <dw, w>, exactly: whole numbers in long double."""
    if missing(case, 0) or missing(case, 1):
        return
    options = {**case.options, "workers": workers}
    dy, x, w = with_dy(case, dtype, lambda *args: whole_numbers(*args, largest=1), seed, **options)
    wide = np.result_type(dtype, np.longdouble)
    y = fastcorr.corr2d(x.astype(wide), w.astype(wide), **options)
    product = np.vdot(dy.astype(wide), y)
    dy, x, w = (LAYOUTS[name](a) for name, a in zip(layouts, (dy, x, w), strict=True))
    dx, dw, db = corr2d_backward(dy, x, w, **options)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    if dtype != "e" or max(np.abs(dx).max(initial=0), np.abs(dw).max(initial=0)) < 2048:
        assert np.vdot(dx.astype(wide), x.astype(wide)) == product
        assert np.vdot(dw.astype(wide), w.astype(wide)) == product
    assert db.astype(wide).sum() == dy.astype(wide).sum()
    out = LAYOUTS[out_layouts[0]](np.zeros_like(dx))
    assert corr2d_grad_input(dy, w, x.shape, out=out, **options) is out
    np.testing.assert_array_equal(out, dx)
    out = LAYOUTS[out_layouts[1]](np.zeros_like(dw))
    assert corr2d_grad_weight(dy, x, w.shape[-2:], out=out, **options) is out
    np.testing.assert_array_equal(out, dw)


# ---- PyTorch -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_pytorch(torch, dtype):
    for stride, dilation, padding, groups in itertools.product(
        (1, (3, 2)), (1, (1, 3)), (0, (2, 3)), (1, 2, 4)
    ):
        options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
        dy, x, w = with_dy(Case((2, 4, 9, 10), (8, 4 // groups, 3, 2)), dtype, **options)
        leaves = [torch.tensor(a, requires_grad=True) for a in (x, w)]
        torch.nn.functional.conv2d(*leaves, **options).backward(torch.tensor(dy))
        grads = corr2d_backward(dy, x, w, **options)
        np.testing.assert_array_equal(grads.x, leaves[0].grad.numpy())
        np.testing.assert_array_equal(grads.w, leaves[1].grad.numpy())


# ---- memory of every kind ----------------------------------------------------------------------


@pytest.mark.edges
@pytest.mark.parametrize("layout", LAYOUTS)
@by_path
def test_layouts(path, layout):
    options = {"padding": 2, "stride": (1, 2), "padding_mode": "symmetric", **path.options}
    arrays = with_dy(path, np.float32, **options)
    plain = corr2d_backward(*arrays, **options)
    got = corr2d_backward(*map(LAYOUTS[layout], arrays), **options)
    for a, b in zip(got, plain, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.edges
@pytest.mark.parametrize("layout", OUT_LAYOUTS)
@by_path
def test_out_of_any_layout(path, layout):
    for mode in ("constant", "wrap"):
        options = {"padding": 2, "stride": (1, 2), "padding_mode": mode, **path.options}
        dy, x, w = with_dy(path, np.float32, **options)
        grads = corr2d_backward(dy, x, w, **options)
        out = LAYOUTS[layout](np.full_like(grads.x, np.nan))
        assert corr2d_grad_input(dy, w, x.shape, out=out, **options) is out
        np.testing.assert_array_equal(out, grads.x)
        out = LAYOUTS[layout](np.full_like(grads.w, np.nan))
        assert corr2d_grad_weight(dy, x, w.shape[-2:], out=out, **options) is out
        np.testing.assert_array_equal(out, grads.w)


@pytest.mark.edges
def test_out_over_an_input():
    rng = np.random.default_rng(0)
    memory = whole_numbers((9, 9), np.float32, rng)
    dy, w = memory[1:, 1:], whole_numbers((2, 2), np.float32, rng)
    expected = corr2d_grad_input(dy.copy(), w, (9, 9))
    assert corr2d_grad_input(dy, w, (9, 9), out=memory) is memory
    np.testing.assert_array_equal(memory, expected)
    expected = corr2d_grad_weight(dy.copy(), memory.copy(), 2)
    out = memory[4:6, 4:6]
    np.testing.assert_array_equal(corr2d_grad_weight(dy, memory, 2, out=out), expected)


def test_little_memory_beyond_the_result():
    """Wide margins are folded in strips: no padded copy of x."""
    options = {"padding": 90, "padding_mode": "reflect"}
    dy, x, w = with_dy(Case((4, 16, 100, 100), (16, 16, 3, 3)), np.float32, **options)
    out = corr2d_grad_input(dy, w, x.shape, **options)
    tracemalloc.start()
    corr2d_grad_input(dy, w, x.shape, out=out, workers=1, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    assert 4 * 16 * 280 * 280 * 4 > 16 * 2**20  # what a padded copy would take


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.edges
def test_no_images():
    dy, x, w = np.zeros((0, 7, 4, 6), "f"), np.zeros((0, 5, 6, 7), "f"), np.ones((7, 5, 3, 2), "f")
    for mode in MODES:
        options = {"padding_mode": mode, "padding": 1}
        dy = np.zeros((0, 7, 6, 8), "f")
        dx, dw, db = corr2d_backward(dy, x, w, **options)
        assert (dx.shape, dx.dtype) == (x.shape, np.float32)
        np.testing.assert_array_equal(dw, np.zeros(w.shape))
        np.testing.assert_array_equal(db, np.zeros(7))


@pytest.mark.edges
def test_no_pixels():
    x, w = np.zeros((5, 0, 7), "f"), np.ones((4, 5, 1, 2), "f")
    dx, dw, db = corr2d_backward(np.zeros((4, 0, 6), "f"), x, w)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dw, np.zeros(w.shape))
    np.testing.assert_array_equal(db, np.zeros(4))
    options = {"padding": 2, "padding_value": 3}  # an empty image in constant padding
    dy = np.ones((4, 4, 10), "f")
    dx, dw, db = corr2d_backward(dy, x, w, **options)
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dw, np.full(w.shape, 120))
    np.testing.assert_array_equal(db, np.full(4, 40))


def test_rows_and_columns_that_no_output_sees_are_zero():
    grads = corr2d_backward(np.ones((2, 2)), np.ones((8, 9)), np.ones((2, 2)), stride=5)
    np.testing.assert_array_equal(np.flatnonzero(grads.x.any(axis=1)), [0, 1, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(grads.x.any(axis=0)), [0, 1, 5, 6])


@pytest.mark.edges
@pytest.mark.parametrize(
    "case",
    [
        Case((2, 17, 7, 7), (30, 17, 3, 3), {"padding": 1}),
        Case((33, 33), (17, 21), {"padding": "same", "padding_mode": "wrap"}),
        Case((1, 30, 31), (3, 1, 5, 5), {"stride": 4, "padding": 2}),
        Case((3, 29, 28), (20, 3, 16, 16), {"stride": 16, "padding": 8}),
        Case((130, 5, 6), (9, 130, 1, 1), {"stride": 2}),
        Case((40, 1, 50), (3, 40, 1, 7), {"dilation": (1, 3)}),
    ],
    ids=str,
)
def test_blocks_of_the_engine(case):
    check_exact(*with_dy(case, np.float32, **case.options), **case.options)


# ---- numbers -----------------------------------------------------------------------------------

HARD = [
    Case((2, 48, 20, 21), (50, 48, 3, 3), {"padding": 1}),
    Case((2, 48, 27, 28), (50, 48, 5, 5), {"padding": 2}),
    Case((1, 3, 61, 60), (8, 3, 7, 7), {"padding": 3, "stride": 2}),
    Case((2, 12, 30, 31), (24, 1, 5, 5), {"padding": 9, "groups": 12, "padding_mode": "edge"}),
    Case((4, 8, 15, 15), (8, 4, 3, 3), {"groups": 2, "padding": 20, "padding_mode": "wrap"}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])
@pytest.mark.parametrize("sign", ["either", "positive"])
@pytest.mark.parametrize("case", HARD, ids=str)
def test_accuracy(case, dtype, sign):
    dy, x, w = with_dy(case, dtype, normal, **case.options)
    if sign == "positive":
        dy, x, w = (np.abs(a).astype(dtype) for a in (dy, x, w))
    with np.errstate(over="ignore"):
        grads = corr2d_backward(dy, x, w, **case.options)
    exact = reference.gradients(dy, x, w, **case.options)
    units = reference.gradient_magnitudes(dy, x, w, **case.options)
    for got, want, unit in zip(grads, exact, units, strict=True):
        compare(got, want, unit, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64", "longdouble", "float16", "complex64"])
def test_the_bias_gradient_is_added_in_pairs(dtype):
    """A plain running sum of 0.1 is wrong by many more units."""
    x, w = np.zeros((3, 1, 300, 400), dtype), np.ones((2, 1, 1, 1), dtype)
    for order in ("channels first", "channels last"):
        dy = np.full((3, 2, 300, 400), 0.1, dtype)
        if order == "channels last":
            dy = np.moveaxis(np.ascontiguousarray(np.moveaxis(dy, 1, -1)), -1, 1)
        db = corr2d_backward(dy, x, w, needs="b").b
        exact = 3 * 300 * 400 * dy[0, 0, 0, 0].astype("G")
        error = np.abs(db.astype("G") - exact) / (np.abs(exact) * np.finfo(dtype).eps / 2)
        assert (error.max() <= 16) or (dtype == "float16" and np.abs(exact) > 65504 == np.isinf(db))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["dy", "x", "w"])
@pytest.mark.parametrize("mode", ["constant", "symmetric"])
def test_nan_and_infinity_are_where_the_definition_puts_them(place, value, mode):
    for dtype, (stride, dilation), padding in itertools.product(
        ("float32", "complex64"), ((1, 1), (2, 1), (3, 2)), (1, ((3, 0), (2, 5)))
    ):
        options = {
            "stride": stride, "dilation": dilation, "padding": padding, "padding_mode": mode
        }  # fmt: skip
        case = Case((2, 3, 8, 9), (4, 3, 3, 2))
        arrays = dict(zip(("dy", "x", "w"), with_dy(case, dtype, **options), strict=True))
        a = arrays[place]
        for where in ((0,) * 4, (-1,) * 4, (0, 1, 1, 1)):
            spoiled = dict(arrays, **{place: a.copy()})
            spoiled[place][where] = value
            grads = corr2d_backward(**spoiled, **options)
            expected = reference.gradients(**spoiled, **options)
            units = reference.gradient_magnitudes(**spoiled, **options)
            if dtype == "complex64":  # which part is NaN depends on the order of products
                for got, want in zip(grads, expected, strict=True):
                    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
                continue
            for got, want, unit in zip(grads, expected, units, strict=True):
                compare(got, want, unit, np.dtype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("case", PARALLEL, ids=str)
def test_bitwise_the_same_for_any_workers(case, dtype):
    x, w = normal_arrays(case, dtype)
    dy = normal(fastcorr.explain(x, w, **case.options).problem.y_shape, dtype,
                np.random.default_rng(1))  # fmt: skip
    alone = corr2d_backward(dy, x, w, workers=1, **case.options)
    for workers in (2, 3, None):
        got = corr2d_backward(dy, x, w, workers=workers, **case.options)
        for a, b in zip(got, alone, strict=True):
            check_bits(a, b)


@pytest.mark.parametrize("case", [c for c in PARALLEL if len(c.x) == 4], ids=str)
def test_the_input_gradient_of_an_image_alone_and_in_a_batch(case):
    options = {**case.options, "method": "direct"}  # 'auto' may choose by the number of images
    dy, _, w = with_dy(case, np.float32, normal, **case.options)
    dx = corr2d_grad_input(dy, w, case.x, **options)
    for i in range(len(dy)):
        alone = corr2d_grad_input(dy[i : i + 1], w, (1, *case.x[1:]), **options)
        check_bits(dx[i : i + 1], alone)


# ---- arguments ---------------------------------------------------------------------------------


def test_needs():
    dy, x, w = with_dy(PATHS[2], np.float32)
    every = corr2d_backward(dy, x, w)
    for n in range(4):
        for needs in itertools.combinations("xwb", n):
            grads = corr2d_backward(dy, x, w, needs=needs)
            for name, got, all_of_it in zip("xwb", grads, every, strict=True):
                assert (got is not None) == (name in needs)
                if got is not None:
                    check_bits(got, all_of_it)
    assert corr2d_backward(dy, x, w, needs=["w"]).x is None


def test_lists_are_arrays():
    assert corr2d_grad_weight([[1.0, 2.0]], [[1.0, 2.0, 3.0]], (1, 2)).tolist() == [[5, 8]]
    assert corr2d_grad_input([[1.0, 2.0]], [[1.0, 2.0]], [1, 3]).tolist() == [[1, 4, 4]]


DY, X, W = np.zeros((6, 6, 7), "f"), np.zeros((4, 8, 9), "f"), np.zeros((6, 4, 3, 3), "f")
GOOD = {"dy": DY, "x": X, "w": W, "input_shape": X.shape, "kernel_size": (3, 3)}
FUNCTIONS = {
    corr2d_backward: ("dy", "x", "w"),
    corr2d_grad_input: ("dy", "w", "input_shape"),
    corr2d_grad_weight: ("dy", "x", "kernel_size"),
}
BAD = [
    ("dy of integers", {"dy": DY.astype(int)}, TypeError, ["dy", "int64", "dy.astype(float)"]),
    ("dy of bool", {"dy": DY.astype(bool)}, TypeError, ["dy", "bool", "floats"]),
    ("x of integers", {"x": X.astype("u1")}, TypeError, ["x has the dtype", "uint8"]),
    ("w of integers", {"w": W.astype("i2")}, TypeError, ["w has the dtype", "int16"]),
    ("masked", {"dy": np.ma.array(DY)}, TypeError, ["dy is a masked array"]),
    ("objects", {"dy": DY.astype(object)}, TypeError, ["dy", "dtype('O')", "convert it"]),
    ("dy too small", {"dy": DY[:, 1:]}, ValueError,
     ["dy has the shape (6, 5, 7)", "(6, 6, 7)", "(4, 8, 9)", "(6, 4, 3, 3)",
      "OH = floor((H + top + bottom - (KH - 1) * dilation - 1) / stride) + 1",
      "floor((8 + 0 - 2 - 1) / 1) + 1 = 6"]),
    ("dy of another rank", {"dy": DY[None]}, ValueError, ["dy has the shape (1, 6, 6, 7)"]),
    ("dy for another stride", {"stride": 2}, ValueError, ["(6, 6, 7)", "(6, 3, 4)", "/ 2) + 1"]),
    ("dy for a large stride", {"stride": (2, 100)}, ValueError, ["(6, 3, 1)", "/ 100) + 1"]),
    ("dy for another padding", {"padding": 1}, ValueError, ["(6, 8, 9)", "8 + 2"]),
    ("channels", {"x": X[:3], "input_shape": (3, 8, 9), "groups": 2}, ValueError, ["groups = 2"]),
    ("stride", {"stride": 0}, ValueError, ["stride = 0"]),
    ("stride 1.0", {"stride": 1.0}, TypeError, ["stride = 1.0"]),
    ("groups True", {"groups": True}, TypeError, ["groups = True"]),
    ("padding", {"padding": (1, 1, 1, 1)}, ValueError, ["ambiguous"]),
    ("padding_mode", {"padding_mode": "zeros"}, ValueError, ["padding_mode = 'zeros'"]),
    ("padding_value", {"padding_value": 1j}, ValueError, ["padding_value = 1j"]),
    ("channel_axis", {"channel_axis": 1}, ValueError, ["channel_axis = 1"]),
    ("method", {"method": "fastest"}, ValueError, ["method = 'fastest'"]),
    ("another method", {"method": "fft"}, ValueError, ["method = 'fft'", "'auto' or 'direct'"]),
    ("workers 0", {"workers": 0}, ValueError, ["workers = 0"]),
    ("workers 1.0", {"workers": 1.0}, TypeError, ["workers = 1.0"]),
    ("needs", {"needs": ("x", "y")}, ValueError, ["needs = ('x', 'y')", "'w'"]),
    ("needs 1", {"needs": 1}, TypeError, ["needs = 1"]),
    ("input_shape", {"input_shape": (8, 9)}, ValueError, ["(8, 9)", "(KH, KW)"]),
    ("input_shape 5-D", {"input_shape": (1,) * 5}, ValueError, ["input_shape = (1, 1, 1, 1, 1)"]),
    ("input_shape 8", {"input_shape": 8}, TypeError, ["input_shape = 8", "ints >= 0"]),
    ("input_shape float", {"input_shape": (4, 8.0, 9)}, TypeError, ["input_shape[1] = 8.0"]),
    ("input_shape < 0", {"input_shape": (4, -8, 9)}, ValueError, ["input_shape[1] = -8"]),
    ("kernel_size", {"kernel_size": (3, 3, 3)}, ValueError, ["kernel_size = (3, 3, 3)"]),
    ("kernel_size 0", {"kernel_size": 0}, ValueError, ["kernel_size = 0"]),
    ("kernel_size 2", {"kernel_size": 2}, ValueError, ["dy has the shape", "(6, 7, 8)"]),
    ("kernel_size 99", {"kernel_size": 99}, ValueError, ["KH = 99", "larger"]),
    ("no kernels", {"dy": DY[:0], "w": W[:0]}, ValueError, ["F = 0"]),
    ("out", {"out": np.zeros((3, 3))}, ValueError, ["out has the shape (3, 3)"]),
    ("out double", {"out": {"x": X.astype("d"), "w": W.astype("d")}}, ValueError, ["out has"]),
]  # fmt: skip


def bad_calls():
    """Return each row for each function that has the arguments it changes."""
    for function, names in FUNCTIONS.items():
        others = {"needs"} if function is not corr2d_backward else {"out"}
        others |= set(GOOD) - set(names)
        for name, change, error, texts in BAD:
            change = {k: v for k, v in change.items() if k not in others}
            if isinstance(change.get("out"), dict):
                change["out"] = change["out"]["x" if function is corr2d_grad_input else "w"]
            if change:
                row = function, change, error, texts
                yield pytest.param(*row, id=f"{function.__name__}-{name}")


@pytest.mark.parametrize(("function", "change", "error", "texts"), list(bad_calls()))
def test_bad_arguments(function, change, error, texts):
    good = {name: GOOD[name] for name in FUNCTIONS[function]}
    function(**good)
    with pytest.raises(error) as caught:
        function(**{**good, **change})
    for text in texts:
        assert text in str(caught.value)
