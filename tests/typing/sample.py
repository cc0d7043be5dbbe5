# SPDX-License-Identifier: BSD-3-Clause
"""A user's program, for `mypy --strict`: the public names, and the types that it may count on.

`python -m mypy --strict tests/typing/sample.py`, with the package installed, not editable.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastcorr
from fastcorr.nn import Conv2D

photo = np.zeros((3, 48, 64), np.float32)
kernels = np.ones((8, 3, 3, 3), np.float32)

# The operator, in several spellings of its options.
y = fastcorr.corr2d(photo, kernels, padding="same", padding_mode="reflect", stride=(2, 2))
assert_type(y, NDArray[Any])
fastcorr.corr2d(photo, kernels, np.zeros(8), padding=[1, 2], dilation=np.int64(2), workers=-1)
fastcorr.corr2d([[1, 2], [3, 4]], [[1.0]], padding=((0, 1), (1, 0)), padding_value=np.float32(1))
fastcorr.corr2d(photo.transpose(1, 2, 0), kernels, channel_axis=-1, method="direct", out=None)
fastcorr.corr2d_transpose(y, kernels, stride=2, output_padding=1)

plan = fastcorr.explain(photo, kernels, method="auto")
assert_type(plan.method, str)
assert_type(plan.reason, str)
assert_type(plan.flops, int)
assert_type(plan.workspace, int)

bank = fastcorr.FilterBank(kernels, np.zeros(8), padding="same", stride=2)
assert_type(bank(photo), NDArray[Any])
assert_type(bank.explain(photo).method, str)
assert_type(bank.stride, tuple[int, int])

# SciPy's names.
assert_type(fastcorr.correlate2d(photo[0], np.ones((3, 3)), "same", "symm"), NDArray[Any])
fastcorr.convolve2d([[1, 2]], [[1j]], mode="full", boundary="fill", fillvalue=1, method="fft")

# Gradients, all or some of them.
dx, dw, db = fastcorr.corr2d_backward(y, photo, kernels, stride=2, padding="same")
assert_type(dx, NDArray[Any] | None)
gradients = fastcorr.corr2d_backward(y, photo, kernels, needs=("w",), stride=2, padding=1)
assert_type(gradients.w, NDArray[Any] | None)
fastcorr.corr2d_grad_input(y, kernels, photo.shape, stride=2, padding=1)
fastcorr.corr2d_grad_weight(y, photo, kernels.shape[2:], stride=2, padding=1)

layer = Conv2D(3, 8, 3, padding="same", rng=0)
loss_gradient = layer(photo) - 1
assert_type(layer.backward(loss_gradient), NDArray[Any])
layer.weight -= 0.1 * layer.weight_grad
layer.zero_grad()

# Sizes.
assert_type(fastcorr.output_shape(photo.shape[1:], 3, stride=2), tuple[int, int])
(top, bottom), (left, right) = fastcorr.same_padding((48, 64), 3)
assert_type(top, int)
field = fastcorr.receptive_field([{"kernel_size": 3, "stride": 2}, {"kernel_size": (3, 1)}])
rows, columns = field.region(0, 0)
assert_type(rows, slice)
assert_type(field.size, tuple[int, int])

# Threads and configuration.
with fastcorr.set_workers(1):
    assert_type(fastcorr.get_workers(), int)
assert_type(fastcorr.show_config("dicts"), dict[str, Any])
fastcorr.show_config()
assert_type(fastcorr.__version__, str)
