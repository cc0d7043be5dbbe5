# SPDX-License-Identifier: BSD-3-Clause
"""The ratio to the best peer of every case that was measured, a line for each group."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, GREY, ORANGE
from matplotlib.ticker import FixedLocator, FuncFormatter

sys.path.insert(0, str(Path.cwd().parent / "_ext"))
import benchmark_data as data

lines = {}
for _, rows in data.latest():
    for row in rows:
        if "ratio" in row:
            lines.setdefault((row["group"], row["dtype"]), []).append(row)

figure, axes = plt.subplots(figsize=(7.5, 0.8 + 0.3 * len(lines)), layout="constrained")
for line, rows in enumerate(lines.values()):
    ratios = np.log2([row["ratio"] for row in rows])
    colours = [BLUE if ratio >= 0 else ORANGE for ratio in ratios]
    axes.scatter(ratios, np.full(len(rows), line), s=22, c=colours, alpha=0.6, lw=0)
    mean, n_slower, n = data.mean_ratio(rows)
    axes.plot([np.log2(mean)] * 2, [line - 0.35, line + 0.35], color="0.2", lw=2)
    note = f"{mean:.2f}" + f"   {n_slower} of {n} slower" * (n_slower > 0)
    axes.text(1.02, line, note, transform=axes.get_yaxis_transform(), fontsize=8, va="center")
axes.axvline(0, color=GREY, lw=1)
names = [group + " float64" * (dtype == "float64") for group, dtype in lines]
axes.set_yticks(range(len(lines)), names, fontsize=8.5)
axes.set_ylim(len(lines) - 0.4, -0.6)
low, high = np.floor(axes.get_xlim()[0]), np.ceil(axes.get_xlim()[1])
axes.xaxis.set_major_locator(FixedLocator(np.arange(low, high + 1)))
axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2**value:g}"))
axes.set_xlabel("times as fast as the best other library")
axes.grid(axis="x", lw=0.4)
axes.set_axisbelow(True)
