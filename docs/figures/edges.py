# SPDX-License-Identifier: BSD-3-Clause
"""A photograph and the differences of its neighbours."""

import matplotlib.pyplot as plt
import numpy as np
from drawing import picture
from skimage.data import camera

from fastcorr import corr2d

photo = camera() / 255
K = np.array([[1.0, -1.0]])
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
picture(axes[0], photo, "512 x 512 pixels")
for place, kernel, title in ((axes[1], K, "[1, -1]"), (axes[2], K.T, "its transpose")):
    picture(place, corr2d(photo, kernel), title, cmap="RdBu_r", vmin=-0.4, vmax=0.4)
