# SPDX-License-Identifier: BSD-3-Clause
"""The face in the noisy photograph, as in the tutorial."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import ORANGE, picture
from matplotlib.patches import Rectangle
from skimage.data import astronaut

from fastcorr import corr2d

x = astronaut().mean(axis=2)
waldo = x[70:160, 180:260]
V = waldo - waldo.mean()
ones = np.ones_like(V)
noisy = x + np.random.default_rng(0).normal(scale=x.std(), size=x.shape)
variance = corr2d(noisy**2, ones) - corr2d(noisy, ones) ** 2 / V.size
R = corr2d(noisy, V) / (np.sqrt(variance) * np.linalg.norm(V))
row, column = np.unravel_index(R.argmax(), R.shape)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), width_ratios=(0.55, 1, 1), layout="constrained")
picture(axes[0], waldo, "the kernel")
picture(axes[1], noisy[::2, ::2], "the photograph, with noise", extent=(0, 512, 512, 0))
axes[1].add_patch(Rectangle((column, row), 80, 90, fill=False, edgecolor=ORANGE, lw=2))
picture(axes[2], R, f"the response, {R.max():.2f} at ({row}, {column})", cmap="magma")
axes[2].plot(column, row, "o", mfc="none", mec=ORANGE, ms=14, mew=2)
