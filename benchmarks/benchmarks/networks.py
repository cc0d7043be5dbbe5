# SPDX-License-Identifier: BSD-3-Clause
"""The convolutions of two networks: what cases.py times to add up a feature extractor.

Rows of (times, C, F, size of the input, kernel, stride), in the order of the network, equal layers
counted in `times`. Padding is kernel // 2. Pooling, normalisation and activations are left out.
"""

from collections import Counter


def _resnet50():
    """He et al. 2016, table 1, with the stride in the 3x3 layer of a stage's first block."""
    yield 1, 3, 64, 224, 7, 2
    channels, size = 64, 56
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        stride = 1 if width == 64 else 2
        yield 1, channels, width, size, 1, 1
        yield 1, width, width, size, 3, stride
        yield 1, channels, 4 * width, size, 1, stride  # the shortcut
        channels, size = 4 * width, size // stride
        yield blocks, width, channels, size, 1, 1
        yield blocks - 1, channels, width, size, 1, 1
        yield blocks - 1, width, width, size, 3, 1


def _merged(rows):
    """Equal layers as one row."""
    times = Counter()
    for n, *layer in rows:
        times[tuple(layer)] += n
    return tuple((n, *layer) for layer, n in times.items())


NETWORKS = {
    # Simonyan and Zisserman 2015, configuration D
    "vgg16": (
        (1, 3, 64, 224, 3, 1),
        (1, 64, 64, 224, 3, 1),
        (1, 64, 128, 112, 3, 1),
        (1, 128, 128, 112, 3, 1),
        (1, 128, 256, 56, 3, 1),
        (2, 256, 256, 56, 3, 1),
        (1, 256, 512, 28, 3, 1),
        (2, 512, 512, 28, 3, 1),
        (3, 512, 512, 14, 3, 1),
    ),
    "resnet50": _merged(_resnet50()),
}
