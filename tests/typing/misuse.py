# SPDX-License-Identifier: BSD-3-Clause
"""Mistakes that a type checker finds: `mypy --strict --warn-unused-ignores` accepts this file.

Each line is wrong, and would be an error here if it were not.
"""

import numpy as np

import fastcorr

x, w = np.zeros((5, 5)), np.zeros((3, 3))
fastcorr.corr2d(x, w, padding_mode="zeros")  # type: ignore[arg-type]
fastcorr.corr2d(x, w, padding="SAME")  # type: ignore[arg-type]
fastcorr.corr2d(x, w, method="gemm")  # type: ignore[arg-type]
fastcorr.corr2d(x, w, stride=1.5)  # type: ignore[arg-type]
fastcorr.corr2d(x, w, channel_axis=1)  # type: ignore[arg-type]
fastcorr.corr2d(x, w, None, 2)  # type: ignore[call-arg]
fastcorr.correlate2d(x, w, "valid", "reflect")  # type: ignore[arg-type]
fastcorr.corr2d_backward(x, x, w, method="winograd")  # type: ignore[arg-type]
fastcorr.corr2d_backward(x, x, w, needs=("bias",))  # type: ignore[arg-type]
fastcorr.nn.Conv2D(3, 8)  # type: ignore[call-arg]
fastcorr.show_config("json")  # type: ignore[call-overload]
