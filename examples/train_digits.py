# SPDX-License-Identifier: BSD-3-Clause
"""Learn to read handwritten digits with two convolution layers, on NumPy alone.

    python examples/train_digits.py [--output digits.png] [--epochs 20] [--seed 0]

A small LeNet ("Dive into Deep Learning", chapter 7.6) on scikit-learn's 1797 images of 8 x 8
pixels. The convolutions are fastcorr.nn.Conv2D; pooling, the dense layers, the loss and the
optimiser are written out below, some ten lines each. The same seed gives the same weights on every
run.

It needs the extra `demo`: scikit-learn, whose wheel holds the images, tqdm and Matplotlib.
"""

import argparse
import functools
import math
import os
import time

# The matrices below are small: threads of NumPy's BLAS would only be in the way of fastcorr's.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

from fastcorr.nn import Conv2D

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BATCH = 32
TEST_SHARE = 0.25
RATE = 2e-3


class Dense:
    """y = x w + b for x (N, inputs)."""

    def __init__(self, inputs, outputs, rng):
        bound = np.sqrt(6 / (inputs + outputs))
        self.weight = rng.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)

    def __call__(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, dy):
        self.weight_grad = self.x.T @ dy
        self.bias_grad = dy.sum(axis=0)
        return dy @ self.weight.T


class Relu:
    """y = max(x, 0)."""

    def __call__(self, x):
        self.is_positive = x > 0
        return x * self.is_positive

    def backward(self, dy):
        return dy * self.is_positive


class MaxPool:
    """The largest of each 2 x 2 pixels of x (N, C, H, W)."""

    def __call__(self, x):
        corners = [x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        y = functools.reduce(np.maximum, corners)
        self.is_largest = [corner == y for corner in corners]
        return y

    def backward(self, dy):
        N, C, H, W = dy.shape
        dx = np.empty((N, C, 2 * H, 2 * W), dy.dtype)
        share = dy / functools.reduce(np.add, self.is_largest, np.zeros(dy.shape, dy.dtype))
        for corner, is_largest in enumerate(self.is_largest):
            np.multiply(share, is_largest, out=dx[:, :, corner // 2 :: 2, corner % 2 :: 2])
        return dx


class Flatten:
    """(N, C, H, W) as (N, C H W)."""

    def __call__(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self.shape)


def lenet(rng):
    """Return the layers: 1 x 8 x 8 to 16 x 8 x 8 to 32 x 4 x 4 to 64 to 10 numbers."""
    return [
        Conv2D(1, 16, 3, padding=1, rng=rng), Relu(),
        Conv2D(16, 32, 3, padding=1, rng=rng), Relu(), MaxPool(),
        Flatten(), Dense(32 * 4 * 4, 64, rng), Relu(), Dense(64, 10, rng),
    ]  # fmt: skip


def forward(layers, x):
    for layer in layers:
        x = layer(x)
    return x


def backward(layers, dy):
    for layer in reversed(layers):
        dy = layer.backward(dy)


def cross_entropy(scores, labels):
    """Return the mean loss of a batch, and its gradient by the scores."""
    scores = scores - scores.max(axis=1, keepdims=True)
    probabilities = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(probabilities[rows, labels] + 1e-12).mean()
    probabilities[rows, labels] -= 1
    return loss, probabilities / len(labels)


class Adam:
    """Steps of a size that follows the gradient's mean and square (Kingma and Ba, 2014)."""

    def __init__(self, layers):
        self.layers = [layer for layer in layers if hasattr(layer, "weight")]
        self.moments = [
            [np.zeros_like(a) for a in (layer.weight, layer.weight, layer.bias, layer.bias)]
            for layer in self.layers
        ]
        self.n_steps = 0

    def step(self, rate):
        self.n_steps += 1
        rate *= math.sqrt(1 - 0.999**self.n_steps) / (1 - 0.9**self.n_steps)
        for layer, moments in zip(self.layers, self.moments, strict=True):
            pairs = (layer.weight, layer.weight_grad), (layer.bias, layer.bias_grad)
            for i, (value, gradient) in enumerate(pairs):
                mean, square = moments[2 * i : 2 * i + 2]
                mean += 0.1 * (gradient - mean)
                square += 0.001 * (gradient**2 - square)
                value -= rate * mean / (np.sqrt(square) + 1e-7)


def shifted(x, rng):
    """Return the images, half of the times moved by up to a pixel: more examples of each digit."""
    if rng.random() < 0.5:
        return x
    rows, columns = rng.integers(3, size=2)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return padded[:, :, rows : rows + 8, columns : columns + 8]


def load(rng):
    """Return the images (N, 1, 8, 8) from 0 to 1 and their labels, to learn from and to test."""
    digits = load_digits()
    x = (digits.images[:, None] / 16).astype(np.float32)
    order = rng.permutation(len(x))
    n_test = int(TEST_SHARE * len(x))
    test, train = order[:n_test], order[n_test:]
    return (x[train], digits.target[train]), (x[test], digits.target[test])


def train(layers, x, labels, n_epochs, rng, show_progress):
    """Learn; return the mean loss of each epoch."""
    optimiser, losses = Adam(layers), []
    convolutions = [layer for layer in layers if isinstance(layer, Conv2D)]
    epochs = tqdm(range(n_epochs), desc="learning", unit="epoch", disable=not show_progress)
    for epoch in epochs:
        total, order = 0.0, rng.permutation(len(x))
        rate = RATE * 0.5 * (1 + math.cos(math.pi * epoch / n_epochs))
        for start in range(0, len(x), BATCH):
            batch = order[start : start + BATCH]
            for layer in convolutions:
                layer.zero_grad()
            loss, gradient = cross_entropy(forward(layers, shifted(x[batch], rng)), labels[batch])
            backward(layers, gradient)
            optimiser.step(rate)
            total += loss * len(batch)
        losses.append(total / len(x))
        epochs.set_postfix(loss=f"{losses[-1]:.4f}")
    return losses


def confusion_matrix(labels, guesses):
    """Return how often each digit (row) was read as which (column)."""
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (labels, guesses), 1)
    return matrix


def save_picture(path, kernels, losses, matrix, accuracy):
    """Save the first layer's kernels, the loss and the confusion matrix as one PNG."""
    figure = plt.figure(figsize=(12.6, 4.2), dpi=120, layout="constrained")
    left, middle, right = figure.subfigures(1, 3)
    left.suptitle("kernels of the first layer")
    limit = np.abs(kernels).max()
    for axes, kernel in zip(left.subplots(4, 4).flat, kernels[:, 0], strict=True):
        axes.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()
    middle.suptitle("loss")
    axes = middle.subplots()
    axes.semilogy(np.arange(1, len(losses) + 1), losses)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    right.suptitle(f"{100 * accuracy:.1f} % of the test images are read rightly")
    axes = right.subplots()
    axes.imshow(np.sqrt(matrix), cmap="Blues")
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if row == column else "black"
            axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    axes.set_xlabel("read as")
    axes.set_ylabel("digit")
    figure.savefig(path)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Learn to read handwritten digits.")
    parser.add_argument("--output", default="digits.png", help="the picture (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(options.seed)
    (x, labels), (x_test, labels_test) = load(rng)
    layers = lenet(rng)
    start = time.perf_counter()
    losses = train(layers, x, labels, options.epochs, rng, not options.quiet)
    seconds = time.perf_counter() - start
    guesses = forward(layers, x_test).argmax(axis=1)
    accuracy = float((guesses == labels_test).mean())
    print(
        f"{len(x)} images to learn from, {options.epochs} epochs in {seconds:.1f} s, "
        f"loss {losses[-1]:.4f}\n"
        f"{len(x_test)} others to test: {100 * accuracy:.2f} % are read rightly"
    )
    matrix = confusion_matrix(labels_test, guesses)
    save_picture(options.output, layers[0].weight, losses, matrix, accuracy)
    print(f"picture in {options.output}")
    return accuracy, losses


if __name__ == "__main__":
    main()
