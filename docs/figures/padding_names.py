# SPDX-License-Identifier: BSD-3-Clause
"""First and last window of a kernel of 4 on 6 pixels, for each name of a padding."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, ORANGE, PALE_BLUE, PALE_GREY, cell, finish, frame

import fastcorr

N, K = 6, 4
figure, axes = plt.subplots(figsize=(7.4, 4.3), layout="constrained")
for line, name in enumerate(("valid", "same", "same_lower", "full")):
    if name == "valid":
        before = after = 0
    elif name == "full":
        before = after = K - 1
    else:
        _, (before, after) = fastcorr.same_padding((1, N), (1, K), lower=name == "same_lower")
    row = 2.0 * line
    for i in range(-before, N + after):
        inside = 0 <= i < N
        cell(axes, row, i, f"{i}" if inside else "", PALE_BLUE if inside else PALE_GREY)
    frame(axes, row - 0.08, -before, 1.16, K, BLUE)
    frame(axes, row - 0.08, N + after - K, 1.16, K, ORANGE)
    y = fastcorr.corr2d(np.ones((1, N)), np.ones((1, K)), padding=((0, 0), (before, after)))
    axes.text(-4.2, -row - 0.5, repr(name), ha="right", va="center", fontsize=10)
    axes.text(10.2, -row - 0.5, f"{y.size} outputs", va="center", fontsize=10)
axes.set_xlim(-7.5, 13)
finish(axes)
