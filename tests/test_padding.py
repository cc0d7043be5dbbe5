# SPDX-License-Identifier: BSD-3-Clause
"""The index maps of the padding modes are those of numpy.pad."""

import numpy as np
import pytest

import fastcorr
from fastcorr._padding import PADDING_MODES, margins


def index_map(mode, n, before, after):
    """The source of every padded position of an axis; -1 for the constant."""
    left, right = margins(mode, n, before, after)
    if left is None:
        left, right = np.full(before, -1), np.full(after, -1)
    return np.concatenate([left, np.arange(n), right])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("mode", PADDING_MODES)
def test_index_map_is_numpy_pad(mode, n):
    samples = np.arange(n)
    options = {"constant_values": -1} if mode == "constant" else {}
    for before in range(5 * n + 2):
        for after in range(5 * n + 2):
            expected = np.pad(samples, (before, after), mode, **options)
            assert np.array_equal(index_map(mode, n, before, after), expected), (before, after)


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("constant", [-1, -1, -1, -1]),
        ("reflect", [0, 1, 2, 1]),
        ("symmetric", [2, 2, 1, 0]),
        ("edge", [0, 0, 0, 0]),
        ("wrap", [2, 0, 1, 2]),
    ],
)
def test_left_of_three_samples(mode, left):
    assert index_map(mode, 3, 4, 0).tolist() == [*left, 0, 1, 2]


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_margins_are_read_only_and_of_intp(mode):
    for sources in margins(mode, 4, 2, 3):
        if mode == "constant":
            assert sources is None
        else:
            assert sources.dtype == np.intp
            assert not sources.flags.writeable


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_no_samples_and_no_padding(mode):
    assert index_map(mode, 0, 0, 0).shape == (0,)


def test_no_samples_but_the_constant():
    assert index_map("constant", 0, 2, 1).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_padding_much_wider_than_the_samples(mode):
    sources = index_map(mode, 3, 100_000, 100_000)
    assert sources.min() == (-1 if mode == "constant" else 0)
    assert sources.max() == 2
    assert sources[100_000:100_003].tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_padding_that_no_table_could_hold(mode):
    x, w, out = np.ones((4, 5)), np.ones((3, 3)), np.full((4, 5), 7.0)
    options = {"dilation": 2**33, "padding": "same", "padding_mode": mode}
    if mode == "constant":
        assert np.array_equal(fastcorr.corr2d(x, w, **options), x)
        return
    with pytest.raises(MemoryError, match=rf"padding = \(8589934592, .*padding_mode='{mode}'"):
        fastcorr.corr2d(x, w, out=out, **options)
    assert (out == 7).all()
