# SPDX-License-Identifier: BSD-3-Clause
"""
FFT against direct
==================

From which size of the kernel on do transforms pay? On the machine that built this page: one
image of 512 x 512 in float32, kernels of random numbers from 3 x 3 to 63 x 63.
"""

# %%
# Each method by name, beside what 'auto' takes; the best of a few calls each.

import time

import matplotlib.pyplot as plt
import numpy as np

import fastcorr

rng = np.random.default_rng(0)
image = rng.standard_normal((512, 512), dtype=np.float32)
sizes = (3, 5, 9, 15, 23, 31, 47, 63)


def milliseconds(w, method):
    best = np.inf
    for _ in range(4):
        start = time.perf_counter()
        fastcorr.corr2d(image, w, padding="same", method=method)
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


kernels = [rng.standard_normal((size, size), dtype=np.float32) for size in sizes]
times = {method: [milliseconds(w, method) for w in kernels] for method in ("direct", "fft", "auto")}
taken = [fastcorr.explain(image, w, padding="same").method for w in kernels]
for size, method in zip(sizes, taken, strict=True):
    print(f"{size:2} x {size:<2} 'auto' takes {method!r}")

# %%
# 'direct' grows with the area of the kernel, 'fft' hardly at all. Under 'auto' transforms are
# checked, output by output, against the accuracy that is promised (:doc:`/guide/accuracy`),
# which costs time that a forced 'fft' does not take.

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (method, values), style in zip(times.items(), ("o-", "s-", "k--"), strict=True):
    axes.loglog(sizes, values, style, label=repr(method), ms=5)
axes.set_xticks(sizes, [f"{size}" for size in sizes])
axes.minorticks_off()
axes.set_xlabel("height and width of the kernel")
axes.set_ylabel("milliseconds")
axes.grid(lw=0.3)
axes.legend(frameon=False)
