# SPDX-License-Identifier: BSD-3-Clause
"""The programs in benchmarks/ run: each module imports, and a tiny case goes through each."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference

import fastcorr

FOLDER = Path(__file__).parent.parent / "benchmarks"
if not FOLDER.is_dir():
    pytest.skip("there is no benchmarks folder beside the tests", allow_module_level=True)

pytestmark = pytest.mark.once
PROGRAMS = [path.stem for path in FOLDER.glob("*.py")]
MODULES = [f"benchmarks.{path.stem}" for path in (FOLDER / "benchmarks").glob("[!_]*.py")]


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a module as the programs do."""
    monkeypatch.syspath_prepend(FOLDER)
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in ("benchmarks", *PROGRAMS):
            del sys.modules[name]


@pytest.mark.parametrize("name", sorted([*PROGRAMS, *MODULES]))
def test_module_imports(benchmarks, name):
    assert benchmarks(name).__doc__


def run(program, *arguments):
    command = [sys.executable, str(FOLDER / program), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_compare(tmp_path):
    written = tmp_path / "figures.json"
    shown = run(
        "compare.py", "--cases", "image 8x8 3x3", "--peers", "scipy", "--threads", "1",
        "--rounds", "1", "--min-time", "0.01", "--no-memory", "--json", written,
    )  # fmt: skip
    assert "0 failed or disagree" in shown
    found = json.loads(written.read_text())
    (row,) = found["rows"]
    assert row["libraries"].keys() == {"fastcorr", "scipy"}
    assert row["ratio"] > 0
    assert found["about"]["threads"] == 1
    assert found["means"][0]["mean"] == pytest.approx(row["ratio"])


def test_a_wrong_library_is_not_timed(benchmarks):
    compare = benchmarks("compare")
    y = np.arange(6.0).reshape(2, 3)
    assert compare.relative_difference(y + 0.5, y) == pytest.approx(0.1)
    assert compare.relative_difference(y.astype("f"), y) == math.inf
    assert compare.relative_difference(y[:, :1], y) == math.inf


@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("kernel", [(3, 5), (4, 2)])
def test_images_are_layers_with_padding(benchmarks, kernel, boundary):
    """`explain` and regret.py see correlate2d's cases as corr2d's."""
    cases = benchmarks("benchmarks.cases")
    case = cases.Case(
        "", "filters", (7, 8), kernel, dtype="float64", mode="same", boundary=boundary
    )
    x, w = case.arrays()
    expected = fastcorr.correlate2d(x, w, "same", boundary)
    assert case.y4_shape == (1, 1, 7, 8)
    np.testing.assert_allclose(reference.correlate(x, w, **case.keywords).astype(float), expected)


def test_networks_have_the_published_size(benchmarks):
    """15.3 and 4.1 thousand million multiplications for an image of 224 x 224."""
    cases = benchmarks("benchmarks.cases")
    for network, layers, products in (("vgg16", 13, 15.3e9), ("resnet50", 53, 4.1e9)):
        rows = [case for case in cases.CASES if case.group == network]
        assert sum(case.times for case in rows) == layers
        assert sum(case.times * case.flops for case in rows) / 2 == pytest.approx(
            products, rel=0.01
        )
        batch = [case for case in cases.CASES if case.group == f"{network}-n8"]
        assert sum(case.flops for case in batch) == 8 * sum(case.flops for case in rows)


def test_unknown_cases_are_refused(benchmarks):
    cases = benchmarks("benchmarks.cases")
    with pytest.raises(ValueError, match="no case or group is called 'no such'"):
        cases.select(["no such"])


def test_regret(benchmarks):
    cases, methods = benchmarks("benchmarks.cases"), benchmarks("benchmarks.methods")
    case = cases.Case("", "filters", (64, 64), (9, 9), dtype="float64", mode="same", data="gauss")
    found = methods.measure(case, 1, 1e-3)
    assert found.taken in found.seconds
    assert {"stencil", "separable", "gemm"} <= found.seconds.keys()
    assert found.regret >= 1


@pytest.mark.parametrize("groups", [1, 2])
def test_oracle_of_the_accuracy_table(benchmarks, groups):
    """Whole numbers whose sum in float64 would be rounded."""
    accuracy, cases = benchmarks("accuracy"), benchmarks("benchmarks.cases")
    case = cases.Case(
        "", "multi", (2, 4, 6, 7), (6, 4 // groups, 3, 2), stride=2, padding=(1, 1), groups=groups,
        dtype="float64",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-(2**40), 2**40, shape) for shape in (case.x_shape, case.w_shape))
    exact = reference.correlate(x, w, **case.keywords).astype(np.uint64)  # modulo 2^64
    taps = accuracy.Taps.of(case, x, w)
    high, low = taps.summed_twice_as_exactly()
    for a, b, value in zip(high.flat, low.flat, exact.flat, strict=True):
        assert (int(a) + int(b)) % 2**64 == value
    assert low.any()
    np.testing.assert_allclose(taps.summed(), high, rtol=0, atol=2.0**80 * 1e-14)
    found = accuracy.errors(case, high + low, (high, low), taps.magnitude())
    assert 0 < found["mean"] < found["max"] <= 1
