# SPDX-License-Identifier: BSD-3-Clause
"""Two input channels and their kernels."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import (
    BLUE,
    GREEN,
    ORANGE,
    PALE_BLUE,
    PALE_GREEN,
    PALE_ORANGE,
    finish,
    frame,
    grid,
)

from fastcorr import corr2d

X = np.stack([np.arange(9).reshape(3, 3), np.arange(1, 10).reshape(3, 3)])
K = np.stack([np.arange(4).reshape(2, 2), np.arange(1, 5).reshape(2, 2)])

figure, axes = plt.subplots(figsize=(8, 3.9), layout="constrained")
for channel, (pale, strong) in enumerate(((PALE_BLUE, BLUE), (PALE_GREEN, GREEN))):
    top = 4.3 * channel
    grid(
        axes,
        X[channel],
        at=(top, 0),
        face=lambda r, c, pale=pale: pale if r < 2 and c < 2 else "white",
        title=f"channel {channel} of the input",
    )
    frame(axes, top, 0, 2, 2, strong)
    axes.text(3.75, -top - 1.5, "$\\star$", ha="center", va="center", fontsize=16)
    grid(axes, K[channel], at=(top + 0.5, 4.5), face=pale, title="its kernel")
    axes.text(7.25, -top - 1.5, "=", ha="center", va="center", fontsize=16)
    grid(axes, corr2d(X[channel], K[channel]), at=(top + 0.5, 8), face=pale)
axes.text(9, -3.65, "+", ha="center", va="center", fontsize=16)
axes.text(10.75, -3.65, "=", ha="center", va="center", fontsize=16)
grid(
    axes,
    corr2d(X, K),
    at=(2.65, 11.5),
    face=lambda r, c: "white" if r or c else PALE_ORANGE,
    title="output",
)
frame(axes, 2.65, 11.5, 1, 1, ORANGE)
finish(axes)
