# SPDX-License-Identifier: BSD-3-Clause
"""Arrays as NumPy lets them be: any strides, byte order, alignment; `out` anywhere, inputs too."""

import numpy as np
import pytest
from cases import Case, whole_arrays, whole_numbers
from contract import check_exact
from layouts import LAYOUTS, OUT_LAYOUTS

import fastcorr

pytestmark = [pytest.mark.kernels, pytest.mark.edges]

PATHS = [
    Case((9, 40), (3, 2)),
    Case((20, 6, 9), (15, 20, 3, 3), {"padding": 1}),
    Case((3, 4, 6, 21), (8, 1, 3, 3), {"padding": "same", "groups": 4}),
    Case((2, 6, 9, 20), (3, 20, 2, 2), {"channel_axis": -1, "padding": 1, "padding_mode": "wrap"}),
    Case((8, 4, 8), (8, 2, 7), {"stride": 2, "dilation": 2, "padding": ((1, 0), (5, 0))}),
]
DTYPES = [np.float32, np.float64, np.complex64, np.int8, np.int32, np.float16, np.longdouble]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_inputs_in_any_layout(path, dtype, layout):
    x, w = whole_arrays(path, dtype)
    there = LAYOUTS[layout]
    for pair in ((there(x), w), (x, there(w)), (there(x), there(w))):
        check_exact(*pair, **path.options)
    if len(path.w) == 4:
        check_exact(x, w, there(np.arange(len(w)).astype(dtype)), **path.options)


@pytest.mark.parametrize("layout", OUT_LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_out_in_any_layout(path, dtype, layout):
    x, w = whole_arrays(path, dtype)
    y = fastcorr.corr2d(x, w, **path.options)
    out = LAYOUTS[layout](np.full_like(y, 99))
    has_frame = isinstance(out.base, np.ndarray) and dtype is not np.longdouble
    around = out.base.copy() if has_frame else None
    assert fastcorr.corr2d(x, w, out=out, **path.options) is out
    np.testing.assert_array_equal(out, y)
    if around is not None:  # nothing is written beside the elements of out
        out[...] = 99
        np.testing.assert_array_equal(out.base, around)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.longdouble])
@pytest.mark.parametrize("path", PATHS, ids=str)
def test_inputs_without_memory_of_their_own(path, dtype):
    x, w = whole_arrays(path, dtype)
    for axis in range(x.ndim):
        check_exact(np.broadcast_to(x.take([0], axis), x.shape), w, **path.options)
    for axis in range(w.ndim):
        check_exact(x, np.broadcast_to(w.take([0], axis), w.shape), **path.options)
    check_exact(
        np.broadcast_to(dtype(3), x.shape), np.broadcast_to(dtype(2), w.shape), **path.options
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("method", "x_shape", "w_shape"),
    [
        ("winograd", (1, 32, 12, 12), (32, 32, 3, 3)),
        ("fft", (1, 2, 20, 20), (3, 2, 4, 5)),
        ("fft", (70, 80), (60, 50)),
        ("separable", (20, 22), (5, 7)),
    ],
)
def test_numbers_between_addresses_in_every_method(method, x_shape, w_shape, dtype):
    x, w = whole_numbers(x_shape, dtype, np.random.default_rng(0)), np.ones(w_shape, dtype)
    y = fastcorr.corr2d(x, w, method=method)
    there = LAYOUTS["unaligned"]
    np.testing.assert_array_equal(fastcorr.corr2d(there(x), there(w), method=method), y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options"),
    [
        ((1, 8, 9, 9), (12, 8, 1, 1), {}),
        ((1, 8, 9, 9), (12, 8, 3, 3), {"stride": 2}),
        ((1, 4, 8, 8), (6, 4, 4, 4), {"stride": 4}),
        ((1, 4, 8, 8), (1, 4, 8, 8), {}),
        ((1, 20, 11, 9), (20, 1, 4, 5), {"groups": 20, "stride": 2}),
        ((1, 32, 12, 12), (32, 32, 3, 3), {"padding": 1}),
    ],
    ids=str,
)
def test_numbers_between_addresses_in_gradients(x_shape, w_shape, options, dtype):
    rng = np.random.default_rng(0)
    x, w = whole_numbers(x_shape, dtype, rng), whole_numbers(w_shape, dtype, rng)
    dy = whole_numbers(fastcorr.corr2d(x, w, **options).shape, dtype, rng)
    there = LAYOUTS["unaligned"]
    expected = fastcorr.corr2d_backward(dy, x, w, **options)
    got = fastcorr.corr2d_backward(there(dy), there(x), there(w), **options)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_windows_that_overlap_each_other():
    signal = np.arange(50.0)
    x = np.lib.stride_tricks.sliding_window_view(signal, 9)
    check_exact(x, np.ones((3, 3)))
    check_exact(np.lib.stride_tricks.sliding_window_view(x, (5, 5)), np.ones((1, 5, 2, 2)))


def test_real_and_imaginary_parts_as_inputs():
    x, w = whole_arrays(PATHS[1], np.complex64)
    check_exact(x.real, w.imag, padding=1)


def test_subclasses_come_back_as_plain_arrays(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(5, 6))
    x[:] = np.arange(30).reshape(5, 6)
    check_exact(x, np.ones((2, 2), np.float32))
    x.flush()
    del x


@pytest.mark.parametrize("dtype", [np.float32, np.complex128, np.int32, np.longdouble])
@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 3])
def test_out_that_overlaps_x(dtype, shift):
    for c in (1, 6):
        x, w = whole_arrays(Case((c, 30, 40), (c, c, 3, 3)), dtype)
        expected = fastcorr.corr2d(x, w, padding=1)
        memory = np.zeros(x.size + 6, dtype)
        here, out = (memory[i : i + x.size].reshape(x.shape) for i in (3, 3 + shift))
        here[...] = x
        fastcorr.corr2d(here, w, padding=1, out=out, workers=2)
        np.testing.assert_array_equal(out, expected)


def test_out_that_is_x_reversed_or_transposed():
    x, w = whole_arrays(Case((60, 60), (3, 3)), np.float32)
    expected = fastcorr.corr2d(x, w, padding=1)
    for out in (lambda a: a[::-1], lambda a: a.T, lambda a: a):
        image = x.copy()
        fastcorr.corr2d(image, w, padding=1, out=out(image), workers=2)
        np.testing.assert_array_equal(out(image), expected)


def test_out_that_overlaps_w_or_bias():
    x, w = whole_arrays(Case((4, 8, 8), (4, 4, 3, 3)), np.float32)
    bias = np.arange(4, dtype=np.float32)
    expected = fastcorr.corr2d(x, w, bias)
    for overlapped in ("w", "bias"):
        memory = np.zeros(400, np.float32)
        out = memory[:144].reshape(4, 6, 6)
        arrays = {"w": w, "bias": bias}
        view = memory[130:][: arrays[overlapped].size].reshape(arrays[overlapped].shape)
        view[...] = arrays[overlapped]
        arrays[overlapped] = view
        fastcorr.corr2d(x, arrays["w"], arrays["bias"], out=out)
        np.testing.assert_array_equal(out, expected)


def test_out_beside_x_in_one_array():
    """Interleaved, but no element shared: the common in-place buffer of two colour planes."""
    memory = np.zeros((20, 30, 2), np.float32)
    x, out = memory[..., 0], memory[..., 1]
    x[...] = whole_numbers(x.shape, np.float32, np.random.default_rng(0))
    w = np.ones((3, 3), np.float32)
    expected = fastcorr.corr2d(x.copy(), w, padding=1)
    fastcorr.corr2d(x, w, padding=1, out=out)
    np.testing.assert_array_equal(out, expected)


def test_inputs_are_not_changed():
    for path in PATHS:
        x, w = whole_arrays(path, np.float32)
        before = x.copy(), w.copy()
        fastcorr.corr2d(x, w, **path.options)
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(w, before[1])


def test_an_empty_out_is_written_and_returned():
    out = np.empty((0, 5, 4, 4), np.float32)
    x, w = np.empty((0, 3, 6, 6), np.float32), np.ones((5, 3, 3, 3), np.float32)
    assert fastcorr.corr2d(x, w, out=out) is out


@pytest.mark.parametrize("axis", [None, -1])
def test_large_results_begin_with_a_cache_line(axis):
    x, w = np.ones((40, 40, 32), np.float32), np.ones((32, 1, 3, 3), np.float32)
    options = {"groups": 32, "padding": 1, "channel_axis": axis}
    if axis is None:
        x = np.ones((32, 40, 32), np.float32)
    y = fastcorr.corr2d(x, w, **options)
    dx = fastcorr.corr2d_grad_input(y, w, x.shape, **options)
    for result in (y, dx):
        assert result.ctypes.data % 64 == 0
        assert result.flags.carray
