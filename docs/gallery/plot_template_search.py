# SPDX-License-Identifier: BSD-3-Clause
"""
Template search
===============

Where in a picture is this? The normalised correlation with the pattern is 1 where it stands,
whatever the brightness and the contrast there.
"""

# %%
# A picture of coins on an uneven ground, and one of the coins as the template.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from skimage.data import coins

from fastcorr import corr2d

image = coins().astype(np.float64)
top, left, height, width = 25, 130, 50, 50
template = image[top : top + height, left : left + width]


# %%
# In the window of each place, with the means taken off both, the score is :math:`\langle x, t
# \rangle / (\lVert x \rVert \lVert t \rVert)`. The sums over the windows are correlations with
# ones. Taking the image's mean off at the beginning costs nothing and keeps digits; a window
# without contrast has the score 0.


def match(image, template):
    image = image - image.mean()
    template = template - template.mean()
    ones = np.ones_like(template)
    sums, squares = corr2d(image, ones), corr2d(image**2, ones)
    strength = squares - sums**2 / template.size
    flat = strength <= 1e-12 * squares.max()
    score = corr2d(image, template) / np.sqrt(np.where(flat, 1, strength))
    return np.where(flat, 0, score / np.linalg.norm(template)).clip(-1, 1)


score = match(image, template)
best = np.unravel_index(score.argmax(), score.shape)
print("found at", tuple(map(int, best)), "with", score.max().round(6))

# %%
# The other coins look like it, too: every peak above 0.55 is framed, the strongest of each
# neighbourhood.

peaks = []
rest = score.copy()
while rest.max() > 0.55:
    row, column = np.unravel_index(rest.argmax(), rest.shape)
    peaks.append((row, column, rest[row, column]))
    rest[max(row - 20, 0) : row + 21, max(column - 20, 0) : column + 21] = -1

figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
axes[0].imshow(image, cmap="gray")
for row, column, value in peaks:
    colour = "#e07b00" if value > 0.999 else "#4fa3e0"
    axes[0].add_patch(Rectangle((column, row), width, height, fill=False, ec=colour, lw=1.8))
    axes[0].text(column, row - 3, f"{value:.2f}", color=colour, fontsize=8)
axes[1].imshow(score, cmap="magma", vmin=-0.5, vmax=1)
axes[0].set_title("what looks like the coin in the orange frame")
axes[1].set_title("score")
for place in axes:
    place.set_axis_off()
