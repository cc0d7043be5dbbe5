# SPDX-License-Identifier: BSD-3-Clause
"""Speed over arithmetic intensity, below the roof of memory and arithmetic."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, GREEN, GREY, ORANGE, RED

ROOT = Path.cwd().parent.parent
sys.path[:0] = [str(Path.cwd().parent / "_ext"), str(ROOT / "benchmarks")]
import benchmark_data as data

import fastcorr
from benchmarks import cases

COLOURS = {"direct": BLUE, "winograd": ORANGE, "fft": GREEN, "separable": RED}
known = {case.name: case for case in cases.CASES}


def bytes_of(case):
    """Bytes of x, w and y, each moved once."""
    height, width = case.x_shape[-2:] if case.channel_axis is None else case.x_shape[-3:-1]
    padding = tuple((p, p) for p in case.padding)
    size = fastcorr.output_shape(
        (height, width), case.w_shape[-2:], stride=case.stride, padding=padding,
        dilation=case.dilation,
    )  # fmt: skip
    outputs = size[0] * size[1]
    if len(case.w_shape) == 4:
        outputs *= case.w_shape[0]
    if len(case.x_shape) == 4:
        outputs *= case.x_shape[0]
    elements = np.prod(case.x_shape) + np.prod(case.w_shape) + outputs
    return elements * np.dtype(case.dtype).itemsize


points = [
    (case.flops / bytes_of(case), row["libraries"]["fastcorr"]["gflops"], row)
    for _, rows in data.latest()
    for row in rows
    if (case := known.get(row["case"])) is not None
    and case.dtype == "float32"
    and hasattr(case, "w_shape")
    and "fastcorr" in row["libraries"]
    and row["libraries"]["fastcorr"]["gflops"] > 5
]
peak = np.median([row["peak_gflops"] for *_, row in points if "peak_gflops" in row])
bandwidth = data.machine()["bandwidth"] / 1e9

figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
intensity = np.geomspace(1, 2000, 200)
axes.loglog(intensity, np.minimum(peak, bandwidth * intensity), color="0.2", lw=1.5)
axes.text(1900, peak * 1.06, f"{peak:.0f} GFLOP/s", ha="right", fontsize=8.5)
axes.text(1.25, bandwidth * 1.25 * 1.25, f"{bandwidth:.0f} GB/s", fontsize=8.5, rotation=38)
for method, colour in COLOURS.items():
    of_method = [
        (x, y) for x, y, row in points if row.get("plan", {}).get("method", "direct") == method
    ]
    if of_method:
        axes.loglog(*zip(*of_method, strict=True), "o", ms=5, color=colour, label=method, alpha=0.8)
axes.set_xlim(1, 2000)
axes.set_xlabel("operations of the definition per byte of x, w and y")
axes.set_ylabel("GFLOP/s of the definition, float32")
axes.grid(lw=0.3, which="both", color=GREY, alpha=0.4)
axes.legend(frameon=False, loc="lower right")
