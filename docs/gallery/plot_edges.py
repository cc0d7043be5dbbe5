# SPDX-License-Identifier: BSD-3-Clause
"""
Edges
=====

Vertical and horizontal edges of a photograph, by differences of neighbours and by Sobel's
kernels, in one call each.
"""

# %%
# A photograph of one channel. ``padding="same"`` keeps its size, and ``"reflect"`` continues it
# at the border, where zeros would look like an edge.

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import camera

import fastcorr

photo = camera().astype(np.float32)[None] / 255  # one channel: (1, 512, 512)

sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32) / 8
kernels = np.stack([sobel, sobel.T])[:, None]  # two outputs, one input: (2, 1, 3, 3)
vertical, horizontal = fastcorr.corr2d(photo, kernels, padding="same", padding_mode="reflect")

# %%
# Red is where the picture grows darker from left to right or downwards, blue where it grows
# brighter. The two together are the slope of the brightness: its length shows every edge, its
# direction colours them.

length = np.hypot(vertical, horizontal)

figure, axes = plt.subplots(2, 2, figsize=(7, 7), layout="constrained")
axes[0, 0].imshow(photo[0], cmap="gray")
axes[0, 0].set_title("photograph")
axes[0, 1].imshow(vertical, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
axes[0, 1].set_title("vertical edges")
axes[1, 0].imshow(horizontal, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
axes[1, 0].set_title("horizontal edges")
axes[1, 1].imshow(length, cmap="magma", vmax=0.4)
axes[1, 1].set_title("length of the slope")
for place in axes.flat:
    place.set_axis_off()

# %%
# How it was computed:

print(fastcorr.explain(photo, kernels, padding="same", padding_mode="reflect"))
