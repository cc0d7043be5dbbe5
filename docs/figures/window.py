# SPDX-License-Identifier: BSD-3-Clause
"""The planes of a staged window under stride 2 and a 3x3 kernel."""

import matplotlib.pyplot as plt
from drawing import (
    BLUE,
    PALE_BLUE,
    PALE_GREEN,
    PALE_GREY,
    PALE_ORANGE,
    finish,
    frame,
    grid,
)

ROWS, COLUMNS = 5, 9
FACES = {(0, 0): PALE_BLUE, (0, 1): PALE_ORANGE, (1, 0): PALE_GREEN, (1, 1): PALE_GREY}

figure, axes = plt.subplots(figsize=(8.6, 4.2), layout="constrained")
grid(
    axes,
    [[f"{r}{c}" for c in range(COLUMNS)] for r in range(ROWS)],
    face=lambda r, c: FACES[r % 2, c % 2],
    title="x: row and column",
)
for j in range(2):
    frame(axes, 0, 2 * j, 3, 3, BLUE, linestyle=("-", "--")[j])
axes.text(4.5, -ROWS - 0.6, "windows of the first two outputs", ha="center", fontsize=8.5)
top = 0
for (row, column), face in FACES.items():
    values = [[f"{r}{c}" for c in range(column, COLUMNS, 2)] for r in range(row, ROWS, 2)]
    at = (0 if row == 0 else 4.6, 11 + 6.5 * column)
    taps = [f"({a}, {b})" for a in range(row, 3, 2) for b in range(column, 3, 2)]
    grid(axes, values, at=at, face=face, title=f"plane (c, {row}, {column})")
    axes.text(
        at[1] + len(values[0]) / 2, -at[0] - len(values) - 0.55, "taps " + " ".join(taps),
        ha="center", fontsize=8,
    )  # fmt: skip
frame(axes, 0, 11, 1, 2, BLUE)
finish(axes)
