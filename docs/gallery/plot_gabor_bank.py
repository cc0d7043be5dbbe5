# SPDX-License-Identifier: BSD-3-Clause
"""
Directions, by a bank of Gabor kernels
======================================

A Gabor kernel is a wave under a bell: it answers to lines and edges of one direction. A bank of
them tells the direction of every edge of a picture.
"""

# %%
# Twelve directions, and for each a kernel with a crest in its middle and one with an edge
# there.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import hsv_to_rgb
from skimage.data import astronaut

import fastcorr

DIRECTIONS = 12
angles = np.pi * np.arange(DIRECTIONS) / DIRECTIONS


def gabor(size=13, wavelength=6.5, sigma=2.6):
    reach = np.arange(size) - size // 2
    y, x = np.meshgrid(reach, reach, indexing="ij")
    across = x * np.cos(angles)[:, None, None] - y * np.sin(angles)[:, None, None]
    bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    lines = bell * np.cos(2 * np.pi * across / wavelength)
    lines -= bell * lines.sum(axis=(1, 2), keepdims=True) / bell.sum()  # blind to plain areas
    edges = bell * np.sin(2 * np.pi * across / wavelength)
    bank = np.stack([lines, edges])
    return bank / np.abs(bank).sum(axis=(2, 3), keepdims=True)


kernels = gabor()
figure, axes = plt.subplots(2, DIRECTIONS, figsize=(9, 1.8), layout="constrained")
for place, kernel in zip(axes.flat, kernels.reshape(-1, 13, 13), strict=True):
    place.imshow(kernel, cmap="RdBu_r")
    place.set_axis_off()

# %%
# The photograph has its colours last, as pictures have; each kernel sees the brightness. A
# `FilterBank` keeps the 24 kernels for the next picture.

brightness = np.array([0.299, 0.587, 0.114])
photo = astronaut().astype(np.float32) / 255
w = (kernels.reshape(-1, 1, 13, 13) * brightness[:, None, None]).astype(np.float32)
bank = fastcorr.FilterBank(w, padding="same", padding_mode="reflect", channel_axis=-1)
responses = bank(photo)
print(photo.shape, "->", responses.shape)

# %%
# The energy of a direction is the sum of the squares of its two kernels; the mean direction
# (angles doubled, since an edge at 0 and one at 180 degrees are the same) becomes the hue, the
# energy the brightness.

energy = (responses**2).reshape(512, 512, 2, DIRECTIONS).sum(axis=2)
total = energy.sum(axis=-1)
mean = energy @ np.exp(2j * angles)
hue = np.angle(mean) / (2 * np.pi) % 1
purity = np.abs(mean) / np.maximum(total, 1e-12)
strength = np.sqrt(total)
strength = np.clip(strength / np.percentile(strength, 99.3), 0, 1) ** 0.6
picture = hsv_to_rgb(np.stack([hue, 0.85 * purity**0.5, strength], axis=-1))

figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
axes[0].imshow(photo)
axes[1].imshow(picture)
for place in axes:
    place.set_axis_off()

# sphinx_gallery_thumbnail_number = 2
