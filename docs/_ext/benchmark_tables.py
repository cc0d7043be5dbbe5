# SPDX-License-Identifier: BSD-3-Clause
"""Directives that show measured figures; `benchmark_data` reads them.

    .. benchmarks:: multi           the rows of one group of benchmarks/cases.py, and their mean
    .. other-benchmarks:: multi few  the groups that are not named here, each with its name
    .. benchmark-losses::           all rows in which another library is faster
    .. benchmark-means:: epyc       the mean of each group in that folder of the data
    .. benchmark-scaling::          speed on 1, 2, 4, ... threads
    .. asv-tracks::                 what asv tracks beside times

Each table has the machine, the date, the versions and the command of its run below.
"""

import statistics

import benchmark_data as data
from docutils import nodes
from docutils.parsers.rst import Directive
from tables import table

BUSY = 0.1  # CPUs in use by others, as in benchmarks/compare.py
TRACKS = {  # asv's name: what is shown, and whether more is better
    "track_share_of_peak": ("% of the multiply-add peak", True),
    "track_times_faster_than_correlate2d": ("times as fast as SciPy's correlate2d", True),
    "track_times_faster_than_fftconvolve": ("times as fast as SciPy's fftconvolve", True),
    "track_regret": ("time of 'auto' / of the fastest algorithm", False),
}


def speed(gflops):
    return f"{gflops:.0f}" if gflops >= 10 else f"{gflops:.2g}"


def time(seconds):
    return f"{seconds * 1e3:.3g}" if seconds >= 1e-5 else f"{seconds * 1e3:.2g}"


def figures_of(library):
    if library is None or "seconds" not in library:
        return ""
    return f"{time(library['seconds'])} ({speed(library['gflops'])})"


def ratio(row):
    return f"{row['ratio']:.2f} {row['best_peer']}" if "ratio" in row else ""


def provenance(about):
    """Return a paragraph: where, when and how it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    threads = about["threads"]
    threads = threads if isinstance(threads, int) else ", ".join(map(str, threads))
    cpu = about["cpu"] + (f", {about['isa']}" if "isa" in about else "")
    text = f"{cpu}; {threads} threads; {about['date']}; {versions}; "
    paragraph = nodes.paragraph("", text, classes=["provenance"])
    paragraph += nodes.literal(text=about["command"])
    return paragraph


class Benchmarks(Directive):
    required_arguments = 1

    def run(self):
        return self.of_group(self.arguments[0]) or [nodes.paragraph(text="Not measured yet.")]

    def of_group(self, group):
        result = []
        for about, rows in data.of_group(group):
            names = list(dict.fromkeys(name for row in rows for name in row["libraries"]))
            names.sort(key=lambda name: name != "fastcorr")
            heading = ["case", "method", *names, "to best peer", "of peak"]
            cells = []
            for row in rows:
                share = f"{row['peak_share']:.0%}" if "peak_share" in row else ""
                line = [row["case"], row.get("plan", {}).get("method", "")]
                line += [figures_of(row["libraries"].get(name)) for name in names]
                busy = " (busy)" * (row.get("load_elsewhere", 0) > BUSY)
                cells.append([*line, ratio(row) + busy, share])
            result += [table(heading, cells, ["figures"]), *summary(rows), provenance(about)]
        return result


class OtherBenchmarks(Benchmarks):
    final_argument_whitespace = True

    def run(self):
        result = []
        for group in data.groups():
            if group not in self.arguments[0].split():
                result += [nodes.paragraph("", "", nodes.strong(text=group)), *self.of_group(group)]
        return result or [nodes.paragraph(text="There are none.")]


def summary(rows):
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        mean, n_slower, n = data.mean_ratio([row for row in rows if row["dtype"] == dtype])
        if mean is not None:
            yield nodes.paragraph(
                text=f"{dtype}: {mean:.2f} times the best peer in the geometric mean; "
                f"slower than it in {n_slower} of {n} rows."
            )


class Losses(Directive):
    def run(self):
        rows = [row for _, rows in data.latest() for row in rows if row.get("ratio", 1) < 1]
        if not rows:
            return [nodes.paragraph(text="In no row of the tables above.")]
        rows.sort(key=lambda row: row["ratio"])
        cells = []
        for row in rows:
            ours, best = row["libraries"]["fastcorr"], row["libraries"].get(row["best_peer"])
            method = row.get("plan", {}).get("method", "")
            cells.append([row["case"], method, figures_of(ours), figures_of(best), ratio(row)])
        heading = ["case", "method", "fastcorr", "the best peer", "to best peer"]
        return [table(heading, cells, ["figures"])]


class Means(Directive):
    required_arguments = 1

    def run(self):
        cells, dates, cpu = [], set(), ""
        for about, rows in data.latest(data.DATA / self.arguments[0]):
            cpu = about["cpu"]
            dates.add(about["date"])
            for group, dtype in dict.fromkeys((row["group"], row["dtype"]) for row in rows):
                chosen = [row for row in rows if (row["group"], row["dtype"]) == (group, dtype)]
                mean, n_slower, n = data.mean_ratio(chosen)
                if mean is not None:
                    cells.append([group, dtype, f"{mean:.2f}", f"{n_slower} of {n}"])
        text = f"{cpu}, {about['threads']} threads; {min(dates)} to {max(dates)}"
        return [
            table(["group", "dtype", "to best peer", "slower"], cells, ["figures"]),
            nodes.paragraph(text=text, classes=["provenance"]),
        ]


class Scaling(Directive):
    def run(self):
        found = data.scaling()
        if found is None:
            return [nodes.paragraph(text="Not measured yet.")]
        about, rows = found
        cells = []
        pairs = dict.fromkeys((row["case"], name) for row in rows for name in row["libraries"])
        for case, name in pairs:
            of_threads = {
                row["threads"]: row["libraries"][name]["gflops"]
                for row in rows
                if row["case"] == case and "gflops" in row["libraries"].get(name, {})
            }
            line = [case, name]
            for n in about["threads"]:
                if n in of_threads:
                    share = of_threads[n] / of_threads[min(of_threads)] / n * min(of_threads)
                    line.append(f"{speed(of_threads[n])} ({share:.0%})")
                else:
                    line.append("")
            cells.append(line)
        heading = ["case", "library", *(f"{n} threads" for n in about["threads"])]
        return [
            table(heading, cells, ["figures"]),
            nodes.paragraph(text="GFLOP/s, and the parallel efficiency in brackets."),
            provenance(about),
        ]


class Tracks(Directive):
    def run(self):
        found = data.tracks()
        if found is None:
            return [nodes.paragraph(text="Not measured yet.")]
        about, tracks = found
        cells = []
        for name, (meaning, is_better) in TRACKS.items():
            if name in tracks:
                cases = tracks[name]
                worst = (min if is_better else max)(cases, key=cases.get)
                median = statistics.median(cases.values())
                cells.append(
                    [meaning, str(len(cases)), f"{median:.3g}", f"{cases[worst]:.3g}", worst]
                )
        text = f"{about['cpu']}, {about['num_cpu']} CPUs; {about['date']}; {about['commit']}; "
        paragraph = nodes.paragraph("", text, classes=["provenance"])
        paragraph += nodes.literal(text="asv run HEAD^!")
        heading = ["tracked", "cases", "median", "worst", "which is"]
        return [table(heading, cells, ["figures"]), paragraph]


def setup(app):
    app.add_directive("asv-tracks", Tracks)
    app.add_directive("benchmarks", Benchmarks)
    app.add_directive("other-benchmarks", OtherBenchmarks)
    app.add_directive("benchmark-losses", Losses)
    app.add_directive("benchmark-means", Means)
    app.add_directive("benchmark-scaling", Scaling)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
