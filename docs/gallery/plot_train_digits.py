# SPDX-License-Identifier: BSD-3-Clause
"""
Training on handwritten digits
==============================

A network of two convolution layers learns to read 1797 images of 8 x 8 pixels, on NumPy and
fastcorr alone. The program is ``examples/train_digits.py``: pooling, dense layers, loss and
optimiser are written out there, some ten lines each. Here it is used as a module.
"""

# %%
# The layers are functions with a memory: called, they compute; ``backward`` returns the
# gradient by their input and keeps those by their weights.

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastcorr

examples = next(
    parent / "examples" for parent in Path.cwd().parents if (parent / "examples").is_dir()
)
sys.path.insert(0, str(examples))
import train_digits

rng = np.random.default_rng(0)
(x, labels), (x_test, labels_test) = train_digits.load(rng)
layers = train_digits.lenet(rng)
for layer in layers[:4:2]:
    print(layer)

# %%
# Ten passes over the images, each in another order and shifted by a pixel at random. A seed
# gives the same network every time, bit for bit, on any number of threads.

with fastcorr.set_workers(1):  # the layers are small
    losses = train_digits.train(layers, x, labels, 10, rng, show_progress=False)
scores = train_digits.forward(layers, x_test)
guesses = scores.argmax(axis=1)
print(f"{(guesses == labels_test).mean():.1%} of {len(labels_test)} other images are read rightly")

# %%
# The kernels of the first layer, and what they see of one digit.

digit = x_test[:1]
maps = layers[0](digit)[0]
kernels = layers[0].weight[:, 0]
figure, axes = plt.subplots(4, 9, figsize=(9, 4.2), layout="constrained")
for k in range(16):
    row, column = divmod(k, 4)
    axes[row, column].imshow(kernels[k], cmap="RdBu_r", vmin=-0.8, vmax=0.8)
    axes[row, column + 5].imshow(maps[k], cmap="magma")
axes[0, 4].imshow(digit[0, 0], cmap="gray")
for place in axes.flat:
    place.set_axis_off()

# %%
# The images that it reads wrongly, or least surely, are hard ones.

sure = scores - scores.max(axis=1, keepdims=True)
other = np.sort(sure, axis=1)[:, -2]
doubtful = np.lexsort((-other, guesses == labels_test))[:10]
figure, axes = plt.subplots(1, 10, figsize=(9, 1.3), layout="constrained")
for place, k in zip(axes, doubtful, strict=True):
    place.imshow(x_test[k, 0], cmap="gray_r")
    place.set_title(f"{labels_test[k]}, read {guesses[k]}", fontsize=8)
    place.set_axis_off()
