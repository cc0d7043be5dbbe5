# SPDX-License-Identifier: BSD-3-Clause
"""Run SciPy's own tests of convolve2d and correlate2d on fastcorr's functions.

Takes them from the installed SciPy, whose versions differ in fixtures and marks: each method of the
two classes is called by itself, `xp` is NumPy, and parameters come from its marks. Tests that SciPy
marks as slow need 4 GB and run with --slow alone. Prints {test: null, or why it failed}.
"""

import importlib
import inspect
import itertools
import json
import sys

import numpy as np
import pytest
import scipy.signal

import fastcorr

CLASSES = ("TestConvolve2d", "TestCorrelate2d")
FUNCTIONS = ("convolve2d", "correlate2d")


def variants(method):
    """Return the keyword arguments of each call that the parametrize marks ask for."""
    axes = []
    for mark in getattr(method, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [name.strip() for name in names.split(",")]
            rows = [row if len(names) > 1 else (row,) for row in values]
            axes.append([dict(zip(names, row, strict=True)) for row in rows])
    return [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes)]


def main():
    theirs = {getattr(scipy.signal, name): getattr(fastcorr, name) for name in FUNCTIONS}
    try:
        module = importlib.import_module("scipy.signal.tests.test_signaltools")
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    for place, name in itertools.product((module, scipy.signal), FUNCTIONS):
        setattr(place, name, getattr(fastcorr, name))
    results = {}
    for owner in CLASSES:
        for name, method in inspect.getmembers(getattr(module, owner), inspect.isfunction):
            marks = {mark.name for mark in getattr(method, "pytestmark", [])}
            if not name.startswith("test_") or ("slow" in marks and "--slow" not in sys.argv):
                continue
            for number, arguments in enumerate(variants(method)):
                if "xp" in inspect.signature(method).parameters:
                    arguments["xp"] = np
                if "func" in arguments:
                    arguments["func"] = theirs[arguments["func"]]
                outcome = None
                try:
                    method(getattr(module, owner)(), **arguments)
                except (Exception, pytest.fail.Exception) as error:
                    outcome = f"{type(error).__name__}: {error}"
                results[f"{owner}.{name}[{number}]"] = outcome
    print(json.dumps(results))


main()
