# SPDX-License-Identifier: BSD-3-Clause
"""If only one test file is run, this is the one: the wheel's smoke test. Needs NumPy alone."""

import numpy as np

import fastcorr


def test_the_first_example_of_the_book():
    x = np.arange(9.0).reshape(3, 3)
    y = fastcorr.corr2d(x, [[0, 1], [2, 3]])
    assert y.tolist() == [[19, 25], [37, 43]]


def test_many_channels_on_all_threads():
    x, w = np.ones((2, 64, 30, 30), np.float32), np.ones((40, 64, 3, 3), np.float32)
    y = fastcorr.corr2d(x, w, method="direct", workers=-1)
    assert y.shape == (2, 40, 28, 28)
    assert np.all(y == 576)
    np.testing.assert_allclose(fastcorr.corr2d(x, w, workers=-1), y, rtol=16 * 2.0**-24)
