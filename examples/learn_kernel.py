# SPDX-License-Identifier: BSD-3-Clause
"""Learn the edge kernel [1, -1] from an image and its edges, by gradient descent.

    python examples/learn_kernel.py

The experiment of "Dive into Deep Learning", chapter 7.2.4: a 6 x 8 image, black in the middle, its
vertical edges, and a layer of one 1 x 2 kernel that starts from random numbers. Then the same with
strict convolution, which flips the kernel: it learns the same numbers in the reverse order, so to a
layer that learns, the two operations are one (chapter 7.2.5).
"""

import numpy as np
from scipy.signal import convolve2d

import fastcorr
from fastcorr.nn import Conv2D

RATE = 0.03
STEPS = 30


def book_image():
    """Return the image (6, 8): white, with four black columns."""
    x = np.ones((6, 8), np.float32)
    x[:, 2:6] = 0
    return x


def learn(x, y, flip):
    """Return the kernel (1, 2) that makes y from x, learnt on the squared error.

    With `flip` the layer is a strict convolution: a cross-correlation with the kernel flipped, and
    so is the gradient.
    """
    layer = Conv2D(1, 1, kernel_size=(1, 2), bias=False, rng=0)
    weight = layer.weight.copy()
    for step in range(STEPS):
        layer.weight = weight[..., ::-1, ::-1] if flip else weight
        error = layer(x[None]) - y[None]
        loss = (error**2).sum()
        layer.zero_grad()
        layer.backward(2 * error)
        gradient = layer.weight_grad
        weight -= RATE * (gradient[..., ::-1, ::-1] if flip else gradient)
        if (step + 1) % 2 == 0:
            print(f"epoch {step + 1}, loss {loss:.3f}")
    return weight[0, 0]


def main():
    x = book_image()
    y = fastcorr.corr2d(x, np.array([[1, -1]], np.float32))
    print("the edges of the image, in each of its rows:", y[0])

    print("\ncross-correlation")
    kernel = learn(x, y, flip=False)
    print("learnt:", kernel)
    print("\nstrict convolution")
    flipped = learn(x, y, flip=True)
    print("learnt:", flipped)

    np.testing.assert_allclose(kernel, [[1, -1]], atol=1e-2)
    np.testing.assert_allclose(flipped, kernel[::-1, ::-1], atol=2e-2)
    by_scipy = convolve2d(x, flipped, mode="valid")
    np.testing.assert_allclose(by_scipy, fastcorr.corr2d(x, flipped[::-1, ::-1]), atol=1e-6)
    print("\nthe two kernels are each other's flip, and scipy.signal.convolve2d agrees")
    return kernel, flipped


if __name__ == "__main__":
    main()
