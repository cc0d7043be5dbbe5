# SPDX-License-Identifier: BSD-3-Clause
"""Read what `python benchmarks/compare.py --json docs/performance/data/<name>.json` wrote.

Every file of that folder counts. Where two have the same case, the later run (by its date) wins, so
a new run need only be dropped beside the old ones, or replace them.
"""

import json
import math
import statistics
from datetime import UTC, datetime
from pathlib import Path

DATA = Path(__file__).parent.parent / "performance" / "data"


def runs(folder=DATA):
    """Return [(about, rows)] of all files, the latest first."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    found = [
        (content["about"], [_named(row) for row in content["rows"] if "libraries" in row])
        for content in contents
        if {"about", "rows"} <= content.keys()
    ]
    return sorted(found, key=lambda pair: pair[0]["date"], reverse=True)


def _named(row):
    """Return the row under names that tell a gradient (`compare.py --of`) from the operator."""
    of = row.get("of", "forward")
    return row if of == "forward" else row | {n: f"{row[n]} {of}" for n in ("case", "group")}


def is_scaling(about):
    return isinstance(about["threads"], list)


def latest(folder=DATA):
    """Return [(about, rows)]: each case once, in the run that measured it last."""
    seen, result = set(), []
    for about, rows in runs(folder):
        if is_scaling(about):
            continue
        kept = [row for row in rows if row["case"] not in seen]
        seen.update(row["case"] for row in kept)
        if kept:
            result.append((about, kept))
    return result


def scaling(folder=DATA):
    """Return the latest scaling run (about, rows), or None."""
    return next(((about, rows) for about, rows in runs(folder) if is_scaling(about)), None)


def of_group(group, folder=DATA):
    """Return [(about, rows of the group)] without empty ones."""
    result = []
    for about, rows in latest(folder):
        rows = [row for row in rows if row["group"] == group]
        if rows:
            result.append((about, rows))
    return result


def groups(folder=DATA):
    return list(dict.fromkeys(row["group"] for _, rows in latest(folder) for row in rows))


def mean_ratio(rows):
    """Return the geometric mean of the ratios to the best peer, and how many rows are slower."""
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    if not ratios:
        return None, 0, 0
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    return mean, sum(ratio < 1 for ratio in ratios), len(ratios)


def tracks(folder=DATA / "asv"):
    """Return (about, {benchmark: {case: value}}) of a result file of asv, or None.

    `about` has the machine, the commit and the start of the run; only `track_` benchmarks count.
    """
    path = next(iter(sorted(folder.glob("*.json"), reverse=True)), None)
    if path is None:
        return None
    content = json.loads(path.read_text())
    columns = content["result_columns"]
    found, started = {}, []
    for name, result in content["results"].items():
        result = dict(zip(columns, result, strict=False))
        short = name.rpartition(".")[2]
        if short.startswith("track_"):
            cases = [case.strip("'") for case in result["params"][0]]
            found[short] = dict(zip(cases, result["result"], strict=True))
        started.append(result["started_at"])
    start = datetime.fromtimestamp(min(started) / 1000, UTC)
    about = content["params"] | {
        "commit": content["commit_hash"][:8],
        "date": f"{start:%Y-%m-%d %H:%M} UTC",
    }
    return about, found


def machine():
    """Return docs/performance/data/machine.json: bandwidth of the machine, and its command."""
    path = DATA / "machine.json"
    return json.loads(path.read_text()) if path.exists() else None
