# SPDX-License-Identifier: BSD-3-Clause
"""A correlation with one row and column of zeros on each side."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, ORANGE, PALE_BLUE, PALE_GREY, PALE_ORANGE, finish, frame, grid

from fastcorr import corr2d

X, K = np.arange(9).reshape(3, 3), np.arange(4).reshape(2, 2)
Y = corr2d(X, K, padding=1)


def face(row, column):
    return "white" if 1 <= row <= 3 and 1 <= column <= 3 else PALE_GREY


figure, axes = plt.subplots(figsize=(7.6, 2.9), layout="constrained")
grid(axes, np.pad(X, 1), face=face, title="input, padded")
frame(axes, 0, 0, 2, 2, BLUE)
axes.text(5.75, -2.5, "$\\star$", ha="center", va="center", fontsize=16)
grid(axes, K, at=(1.5, 6.5), face=PALE_BLUE, title="kernel")
axes.text(9.25, -2.5, "=", ha="center", va="center", fontsize=16)
grid(axes, Y, at=(0.5, 10), face=lambda r, c: "white" if r or c else PALE_ORANGE, title="output")
frame(axes, 0.5, 10, 1, 1, ORANGE)
finish(axes)
