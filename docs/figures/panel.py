# SPDX-License-Identifier: BSD-3-Clause
"""One call of the matrix kernel: weights, panel, sums."""

import matplotlib.pyplot as plt
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

M, K, LANES = 4, 6, 4

figure, axes = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
grid(axes, [["w"] * K for _ in range(M)], at=(K + 1.6, 0), face=PALE_BLUE)
axes.text(K / 2, -K - 1.25, "a: m output channels, k weights each", ha="center", fontsize=9)
frame(axes, K + 1.6, 2, M, 1, BLUE)
grid(
    axes,
    [[f"p{j}" for j in range(2 * LANES)] for _ in range(K)],
    at=(0, K + 1),
    face=PALE_GREEN,
    title="b: one row for each term k, at offset[k]: NR pixels, two vectors",
)
frame(axes, 2, K + 1, 1, LANES, GREEN)
frame(axes, 2, K + 1 + LANES, 1, LANES, GREEN)
grid(axes, [[""] * (2 * LANES) for _ in range(M)], at=(K + 1.6, K + 1), face=PALE_ORANGE)
frame(axes, K + 1.6, K + 1, M, 2 * LANES, ORANGE)
axes.text(K + 1 + LANES, -K - 1.6 - M - 0.7, "c: m x NR sums in registers", ha="center", fontsize=9)
finish(axes)
