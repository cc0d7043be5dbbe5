# SPDX-License-Identifier: BSD-3-Clause
"""Kernels for the way back, in one copy, in several, or gathered while they are multiplied."""

import numpy as np
import pytest
from fastcorr._algorithms.turned import turned

import fastcorr
from fastcorr import _gradients


def transposed(w, groups):
    F, C, KH, KW = w.shape
    parts = w.reshape(groups, F // groups, C, KH, KW).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(parts).reshape(groups * C, F // groups, KH, KW)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c8", "c16"])
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((7, 31, 1, 1), 1), ((8, 32, 1, 1), 1), ((9, 33, 1, 1), 1),  # beside the blocks' sizes
        ((35, 33, 1, 1), 1), ((70, 5, 1, 1), 2),  # whole vectors and a rest
        ((5, 33, 3, 3), 1), ((12, 3, 3, 3), 4), ((6, 1, 5, 2), 6), ((4, 2, 1, 3), 2),
        ((9, 5, 1, 7), 1), ((9, 5, 6, 1), 1), ((3, 34, 2, 2), 1), ((3, 4, 4, 4), 1),
        ((3, 4, 17, 16), 1), ((3, 4, 5, 5), 1),  # more taps than a table holds
    ],
)  # fmt: skip
def test_it_is_a_transposed_copy(shape, groups, dtype):
    w = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    flipped, every_other = w[..., ::-1, ::-1], w[..., ::2, ::-2]
    beside = np.repeat(w, 2, axis=-1)[..., ::-1, -1 : -1 - w.shape[-1] : -1]
    for view in (w, flipped, every_other, beside, np.asfortranarray(w)):
        for workers in (1, 2):
            result = turned(view, groups, workers)
            assert result.flags.c_contiguous
            np.testing.assert_array_equal(result, transposed(view, groups), strict=True)


@pytest.fixture
def in_pieces(monkeypatch):
    """As if weights of a few kB were large."""

    def set_bytes(n):
        monkeypatch.setattr("fastcorr._adjoint.TURNED_BYTES", n)
        _gradients._gradients_for.cache_clear()

    yield set_bytes
    _gradients._gradients_for.cache_clear()


@pytest.mark.parametrize("dtype", ["f4", "c8"])
@pytest.mark.parametrize(
    ("C", "F", "kernel", "size", "options"),
    [
        (40, 36, 3, 9, {"padding": 1}),
        (40, 36, 3, 12, {"padding": (1, 0), "stride": 2}),
        (33, 17, 1, 5, {}),
        (64, 32, 3, 20, {"padding": 1}),  # Winograd's
        (12, 8, (2, 5), 7, {"groups": 4}),
        (6, 6, 3, 8, {"groups": 6, "padding": 1}),
    ],
)
def test_large_weights_in_pieces(in_pieces, C, F, kernel, size, options, dtype):
    rng = np.random.default_rng(0)
    kh, kw = np.broadcast_to(kernel, 2)

    def numbers(*shape):
        parts = rng.standard_normal((2, *shape))
        return (parts[0] + (1j * parts[1] if dtype[0] == "c" else 0)).astype(dtype)

    x, w = numbers(2, C, size, size), numbers(F, C // options.get("groups", 1), kh, kw)
    dy = numbers(*fastcorr.corr2d(x, w, **options).shape)
    in_pieces(1 << 30)
    expected = fastcorr.corr2d_grad_input(dy, w, x.shape, **options)
    in_pieces(w.nbytes // 3)
    result = fastcorr.corr2d_grad_input(dy, w, x.shape, **options, workers=1)
    scale = fastcorr.corr2d_grad_input(abs(dy), abs(w), x.shape, **options)
    assert (abs(result - expected) <= 16 * np.finfo(dtype).eps * scale).all()
    again = fastcorr.corr2d_grad_input(dy, w, x.shape, **options, workers=2)
    np.testing.assert_array_equal(result, again)
