# SPDX-License-Identifier: BSD-3-Clause
"""The first output of a correlation and its window."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, ORANGE, PALE_BLUE, PALE_ORANGE, finish, frame, grid

from fastcorr import corr2d

X, K = np.arange(9).reshape(3, 3), np.arange(4).reshape(2, 2)
Y = corr2d(X, K)

figure, axes = plt.subplots(figsize=(6.4, 2.3), layout="constrained")
grid(axes, X, face=lambda r, c: PALE_BLUE if r < 2 and c < 2 else "white", title="input")
frame(axes, 0, 0, 2, 2, BLUE)
axes.text(3.75, -1.5, "$\\star$", ha="center", va="center", fontsize=16)
grid(axes, K, at=(0.5, 4.5), face=PALE_BLUE, title="kernel")
axes.text(7.25, -1.5, "=", ha="center", va="center", fontsize=16)
grid(axes, Y, at=(0.5, 8), face=lambda r, c: "white" if r or c else PALE_ORANGE, title="output")
frame(axes, 0.5, 8, 1, 1, ORANGE)
finish(axes)
