# SPDX-License-Identifier: BSD-3-Clause
"""Little memory, none of it lost, and arrays with more elements than a 32-bit integer counts.

Giants are broadcast views or sparse files: they need address space, not memory.
"""

import sys

import numpy as np
import pytest
from contract import check_exact
from numpy.lib.stride_tricks import as_strided

import fastcorr

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
is_64_bit = sys.maxsize > 2**32
giants = pytest.mark.skipif(not is_64_bit, reason="needs a 64-bit address space")
DTYPES = [np.float32, np.float64, np.int8, np.complex64, np.longdouble]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)

MEBIBYTE = 2**20
PROBLEMS = [
    "vgg", "resnet_stem", "1x1", "7x7_maps", "channels_last", "float64", "complex64", "int8",
    "float16", "longdouble", "reflect", "depthwise", "one_channel", "large_kernel", "views",
    "batch", "stride", "dilation",
]  # fmt: skip


@pytest.mark.once
@linux
@pytest.mark.parametrize(
    ("problem", "workers"),
    [*((p, 1) for p in PROBLEMS), *((p, 2) for p in ("vgg", "depthwise", "one_channel", "int8"))],
)
def test_two_megabytes_per_thread_above_input_and_output(child, problem, workers):
    check_peak(child, problem, workers, 2 * MEBIBYTE * workers)


@pytest.mark.once
@linux
@pytest.mark.parametrize(
    "problem",
    ["winograd", "winograd_large", "fft_one_channel", "fft_many_channels", "fft_large_w"],
)
def test_64_megabytes_for_transforms(child, problem):
    check_peak(child, problem, 2, 64 * MEBIBYTE)


def check_peak(child, problem, workers, most):
    result = child("peak_memory", problem, workers)
    if result is None:
        pytest.skip("/proc/self/clear_refs cannot be written here")
    assert result["extra"] <= most, result
    assert result["workspace"] <= most, result


@pytest.mark.once
@linux
def test_repeated_calls_do_not_grow(child):
    environ = {"OMP_WAIT_POLICY": "passive"}  # else slow on busy cores
    assert child("peak_memory", "many_calls", 2, **environ)["growth"] < 2 * MEBIBYTE


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="RLIMIT_AS")
@pytest.mark.parametrize("problem", ["many_channels", "one_channel", "longdouble", "overlap"])
def test_a_failed_allocation_is_a_memory_error(child, problem):
    """Right or MemoryError at every limit, and right again when the limit is gone."""
    result = child("memory_limit", problem)
    assert set(result["outcomes"]) <= {"right", "MemoryError"}
    assert result["outcomes"][-1] == "right"
    assert result["new_array"] == "MemoryError"
    assert result["afterwards"] == "right"


@giants
@pytest.mark.parametrize(("shape", "w"), [((2**30, 2**30), (3, 3)), ((2**20, 2**40), (1, 1))])
def test_a_result_that_no_memory_holds(shape, w):
    x = np.broadcast_to(np.float32(1), shape)
    with pytest.raises((MemoryError, ValueError)):
        fastcorr.corr2d(x, np.ones(w, np.float32))


@pytest.mark.edges
@giants
@by_dtype
@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((65_536, 65_536), (3, 3), (8192, 8192)),
        ((1, 2**33), (1, 3), (1, 2**30)),
        ((2**33, 1), (3, 1), (2**30, 1)),
        ((2**33, 2**20), (3, 2), (2**31, 2**18)),
    ],
    ids=str,
)
def test_broadcast_giants(dtype, shape, kernel, stride):
    for n_channels in (1, 10):
        x = np.broadcast_to(dtype(1), (n_channels, *shape))
        w = np.ones((7, n_channels, *kernel), dtype)
        y = fastcorr.corr2d(x, w, stride=stride)
        expected = [(n - k) // s + 1 for n, k, s in zip(shape, kernel, stride, strict=True)]
        assert y.shape == (7, *expected)
        assert np.all(y == n_channels * kernel[0] * kernel[1])


@pytest.mark.edges
@giants
@by_dtype
def test_giants_whose_columns_differ(dtype):
    """One row, repeated: a wrong row index costs nothing, a wrong column shows."""
    row = (np.arange(2**17) % 5).astype(dtype)
    x = np.broadcast_to(row, (2**17, 2**17))
    w = np.array([[1, -1], [0, 2]], np.int8).astype(dtype)
    y = check_exact(x, w, stride=(2**14, 2**14))
    check_exact(x[::-1, ::-1], w, stride=(2**14, 2**14 - 1))
    assert y.shape == (8, 8)


@pytest.mark.edges
@giants
@by_dtype
def test_giant_dilation_and_padding(dtype):
    x = np.broadcast_to(dtype(2), (1, 2**33))
    w = np.ones((1, 5), dtype)
    y = fastcorr.corr2d(x, w, dilation=(1, 2**31 - 1), stride=(1, 2**31))
    assert np.all(y == 10)
    y = fastcorr.corr2d(x, w, padding=((0, 0), (1, 1)), stride=(1, 2**32))
    assert y.tolist() == [[8, 10]]
    y = fastcorr.corr2d(x[:, :9], w, padding=((0, 0), (2**33, 2**33)), stride=(1, 2**33))
    assert y.shape == (1, 3)
    assert y.tolist() == [[0, 10, 0]]


@pytest.mark.edges
@giants
@by_dtype
def test_more_than_2_to_the_31_elements_apart(tmp_path, dtype):
    """A sparse file: the elements that count lie beyond 2^31 elements of each other."""
    ny, nx, step = 5, 7, 2**31 // 6 + 11
    itemsize = np.dtype(dtype).itemsize
    length = ny * step + nx + 1
    try:
        memory = np.memmap(tmp_path / "giant", dtype, "w+", shape=(length,))
    except OSError as e:
        pytest.skip(f"no sparse file of {length * itemsize} bytes: {e}")
    x = as_strided(memory, (ny, nx), (step * itemsize, itemsize))
    x[...] = np.arange(ny * nx).reshape(ny, nx) % 9
    w = np.arange(6).reshape(2, 3).astype(dtype)
    check_exact(x, w)
    check_exact(x.T, w)
    check_exact(x[::-1], w)
    whole = memory[: ny * step].reshape(ny, step)
    assert whole.size > 2**31 - 2**30
    assert np.array_equal(
        fastcorr.corr2d(whole, w, stride=(1, step // 2))[:, 0], fastcorr.corr2d(x, w)[:, 0]
    )
    small = np.array(x)
    out = as_strided(memory[step // 2 :], (ny - 1, nx - 2), (step * itemsize, itemsize))
    assert fastcorr.corr2d(small, w, out=out) is out
    np.testing.assert_array_equal(out, fastcorr.corr2d(small, w))
    del memory, x, whole, out
