# SPDX-License-Identifier: BSD-3-Clause
"""
Gaussian pyramid by stride
==========================

Half the size, again and again: blur, then take every second pixel. With ``stride=2`` the pixels
that would be thrown away are never computed.
"""

# %%
# The kernel is a product of a column and a row, the binomial one of 5 taps. It blurs each
# colour by itself, so there are three groups; ``padding="same"`` gives half the size, rounded
# up.

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import astronaut

import fastcorr

row = np.array([1, 4, 6, 4, 1], np.float32) / 16
blur = np.broadcast_to(np.outer(row, row), (3, 1, 5, 5))
options = {
    "stride": 2,
    "padding": "same",
    "padding_mode": "reflect",
    "groups": 3,
    "channel_axis": -1,
}

levels = [astronaut().astype(np.float32) / 255]
for _ in range(4):
    levels.append(fastcorr.corr2d(levels[-1], blur, **options))
print(*(level.shape for level in levels), sep="\n")

# %%
# All levels in one picture, as pyramids are shown.

canvas = np.ones((512, 768, 3), np.float32)
canvas[:, :512] = levels[0]
top = 0
for level in levels[1:]:
    height, width, _ = level.shape
    canvas[top : top + height, 512 : 512 + width] = level
    top += height

figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
axes.imshow(canvas.clip(0, 1))
axes.set_axis_off()

# %%
# Without the blur fine stripes would become coarse ones that are not there. A pattern of rings
# shows it: every fourth pixel of it, with and without.

y, x = np.mgrid[-256:256, -256:256] / 256
rings = (0.5 + 0.5 * np.cos(180 * (x**2 + y**2))).astype(np.float32)
one = {"padding": "same", "padding_mode": "reflect", "stride": 2}
kernel = np.outer(row, row)
blurred = fastcorr.corr2d(fastcorr.corr2d(rings, kernel, **one), kernel, **one)

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for place, image, title in zip(
    axes,
    (rings, rings[::4, ::4], blurred),
    ("rings", "every fourth pixel", "two levels of the pyramid"),
    strict=True,
):
    place.imshow(image, cmap="gray", vmin=0, vmax=1)
    place.set_title(title)
    place.set_axis_off()
