# SPDX-License-Identifier: BSD-3-Clause
"""The ratio to the best peer of every case that was measured."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from drawing import BLUE, GREY, ORANGE
from matplotlib.ticker import FixedLocator, FuncFormatter

sys.path.insert(0, str(Path.cwd().parent / "_ext"))
import benchmark_data as data

rows = [row for _, rows in data.latest() for row in rows if "ratio" in row]
groups = list(dict.fromkeys(row["group"] for row in rows))
rows.sort(key=lambda row: (groups.index(row["group"]), -row["ratio"]))
places, place, labels = [], 0.0, []
for row, before in zip(rows, [None, *rows], strict=False):
    if before is not None and before["group"] != row["group"]:
        place += 1.2
    places.append(place)
    place += 1

figure, axes = plt.subplots(figsize=(7.5, max(3, 0.165 * (place + 4))), layout="constrained")
ratios = np.array([row["ratio"] for row in rows])
colours = [BLUE if ratio >= 1 else ORANGE for ratio in ratios]
axes.barh(places, np.log2(ratios), color=colours, height=0.75)
axes.axvline(0, color=GREY, lw=1)
for row, place in zip(rows, places, strict=True):
    value = np.log2(row["ratio"])
    axes.text(
        value + (0.04 if value >= 0 else -0.04), place, row["best_peer"], fontsize=6.5, va="center",
        ha="left" if value >= 0 else "right", color="0.35",
    )  # fmt: skip
for group in groups:
    top = min(p for p, row in zip(places, rows, strict=True) if row["group"] == group)
    axes.text(1.0, top - 0.9, group, transform=axes.get_yaxis_transform(), fontsize=8.5,
              weight="bold", ha="right", va="center")  # fmt: skip
axes.set_yticks(places, [row["case"] for row in rows], fontsize=7)
axes.set_ylim(max(places) + 1, -2)
low, high = np.floor(np.log2(ratios.min()) - 0.3), np.ceil(np.log2(ratios.max()) + 0.3)
axes.set_xlim(low, high)
axes.xaxis.set_major_locator(FixedLocator(np.arange(low, high + 1)))
axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2**value:g}"))
axes.set_xlabel("times as fast as the best peer")
axes.grid(axis="x", lw=0.4)
axes.set_axisbelow(True)
