# SPDX-License-Identifier: BSD-3-Clause
"""Measure the peak of resident memory during one call. Arguments: problem, workers.

Linux keeps the highest resident size of a process and forgets it when 5 is written to clear_refs.
Prints null where that is forbidden.
"""

import json
import sys

import cases
import numpy as np

import fastcorr

SAME = {"padding": 1, "method": "direct"}
PROBLEMS = {
    "vgg": ("f", (128, 112, 112), (128, 128, 3, 3), SAME),
    "resnet_stem": ("f", (3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
    "1x1": ("f", (1024, 14, 14), (512, 1024, 1, 1), {}),
    "7x7_maps": ("f", (512, 7, 7), (512, 512, 3, 3), SAME),
    "channels_last": ("f", (56, 56, 128), (128, 128, 3, 3), {"channel_axis": -1, **SAME}),
    "float64": ("d", (128, 56, 56), (128, 128, 3, 3), SAME),
    "complex64": ("F", (64, 56, 56), (64, 64, 3, 3), SAME),
    "int8": ("b", (64, 112, 112), (128, 64, 3, 3), SAME),
    "float16": ("e", (64, 112, 112), (128, 64, 3, 3), SAME),
    "longdouble": ("g", (8, 256, 256), (4, 8, 3, 3), SAME),
    "reflect": (
        "f",
        (64, 56, 56),
        (64, 64, 3, 3),
        {**SAME, "padding": 90, "padding_mode": "reflect"},
    ),
    "depthwise": ("f", (64, 256, 256), (64, 1, 7, 7), {"groups": 64, "padding": 3}),
    "one_channel": ("f", (2048, 2048), (7, 7), {"padding": "same"}),
    "large_kernel": ("d", (600, 600), (63, 63), {"padding": "same", "method": "direct"}),
    "views": ("f", (128, 56, 56), (128, 128, 3, 3), SAME),
    "batch": ("f", (64, 64, 14, 14), (256, 64, 3, 3), SAME),
    "stride": ("f", (64, 224, 224), (64, 64, 3, 3), {"stride": 2, "padding": "same"}),
    "fft_one_channel": ("d", (2000, 2000), (99, 99), {"method": "fft"}),
    "fft_many_channels": ("f", (8, 400, 400), (12, 8, 65, 65), {"method": "fft"}),
    "fft_large_w": ("f", (256, 240, 240), (1, 256, 230, 230), {"method": "fft"}),
    "winograd": ("f", (128, 112, 112), (128, 128, 3, 3), {"padding": 1, "method": "winograd"}),
    "winograd_large": ("f", (256, 90, 90), (1024, 256, 3, 3), {"method": "winograd"}),
    "dilation": ("f", (64, 100, 100), (64, 64, 3, 3), {"dilation": 12}),
}


def status(name):
    """Return a memory figure of this process in bytes."""
    with open("/proc/self/status") as lines:
        return next(int(s.split()[1]) * 1024 for s in lines if s.startswith(name + ":"))


def measure(name, workers):
    dtype, x_shape, w_shape, options = PROBLEMS[name]
    rng = np.random.default_rng(0)
    x, w = (cases.whole_numbers(shape, dtype, rng) for shape in (x_shape, w_shape))
    if name == "views":
        x, w = x[:, ::-1, ::-1], np.ascontiguousarray(w.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    plan = fastcorr.explain(x, w, **options)
    # Threads, their stacks and whatever Python loads late are not the workspace of a call.
    out = fastcorr.corr2d(x, w, workers=workers, **options)
    small = np.ones((64, 40, 40), dtype)
    fastcorr.corr2d(small, np.ones((64, 64, 3, 3), dtype), workers=workers)
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return None
    before = status("VmRSS")
    fastcorr.corr2d(x, w, workers=workers, out=out, **options)
    extra = status("VmHWM") - before
    with fastcorr.set_workers(workers):
        return {"extra": extra, "workspace": plan.workspace}


def many_calls(workers):
    x, w = np.ones((32, 40, 40), np.float32), np.ones((32, 32, 3, 3), np.float32)
    for i in range(600):
        y = fastcorr.corr2d(x[:, : 20 + i % 20], w, workers=workers, padding=i % 7)
        if i == 150:  # all 140 plans are made
            before = status("VmRSS")
    del y
    return {"growth": status("VmRSS") - before}


name, workers = sys.argv[1], int(sys.argv[2])
print(json.dumps(many_calls(workers) if name == "many_calls" else measure(name, workers)))
