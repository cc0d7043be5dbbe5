# SPDX-License-Identifier: BSD-3-Clause
"""What each padding mode puts around four pixels; by the index maps that the package uses."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import PALE_BLUE, PALE_GREEN, PALE_GREY, PALE_ORANGE, cell, finish

from fastcorr._padding import PADDING_MODES

N, WIDTH = 4, 6
FACES = (PALE_BLUE, PALE_ORANGE, PALE_GREEN, "#efdcf2")
figure, axes = plt.subplots(figsize=(7.4, 3.6), layout="constrained")
for line, (mode, source) in enumerate(PADDING_MODES.items()):
    row = 1.5 * line
    for i in range(-WIDTH, N + WIDTH):
        inside = 0 <= i < N
        index = i if inside or source is None else int(source(np.array([i]), N)[0])
        is_constant = source is None and not inside
        face = PALE_GREY if is_constant else FACES[index]
        cell(axes, row, i, "v" if is_constant else "abcd"[index], face)
    axes.plot([0, 0, N, N, 0], [-row, -row - 1, -row - 1, -row, -row], color="0.1", lw=2.2)
    axes.text(-WIDTH - 0.5, -row - 0.5, mode, ha="right", va="center", fontsize=10)
axes.set_xlim(-WIDTH - 4.5, N + WIDTH + 0.3)
finish(axes)
