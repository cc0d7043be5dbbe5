# SPDX-License-Identifier: BSD-3-Clause
"""The four windows of strides 3 and 2."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import (
    BLUE,
    GREEN,
    ORANGE,
    PALE_BLUE,
    PALE_GREEN,
    PALE_GREY,
    PALE_ORANGE,
    RED,
    finish,
    frame,
    grid,
)

from fastcorr import corr2d

X, K = np.arange(9).reshape(3, 3), np.arange(4).reshape(2, 2)
Y = corr2d(X, K, padding=1, stride=(3, 2))
STRONG, PALE = (BLUE, ORANGE, GREEN, RED), (PALE_BLUE, PALE_ORANGE, PALE_GREEN, "#f6d5d5")


def face(row, column):
    return "white" if 1 <= row <= 3 and 1 <= column <= 3 else PALE_GREY


figure, axes = plt.subplots(figsize=(6.8, 2.9), layout="constrained")
grid(axes, np.pad(X, 1), face=face, title="input, padded")
for k, (i, j) in enumerate(np.ndindex(2, 2)):
    frame(axes, 3 * i, 2 * j, 2, 2, STRONG[k])
axes.text(5.75, -2.5, "$\\star$", ha="center", va="center", fontsize=16)
grid(axes, K, at=(1.5, 6.5), title="kernel")
axes.text(9.25, -2.5, "=", ha="center", va="center", fontsize=16)
grid(axes, Y, at=(1.5, 10), face=lambda r, c: PALE[2 * r + c], title="output")
finish(axes)
