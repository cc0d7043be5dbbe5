# SPDX-License-Identifier: BSD-3-Clause
"""Shared fixtures: instruction sets, child processes, the hypothesis profile."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

# Beside other tests, waiting threads shall hold no core; those of `child` wait as the user's do.
CHILD_ENVIRON = os.environ.copy()
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))  # reference, contract, cases: importlib mode adds no folder

from fastcorr._kernels import dispatch  # noqa: E402

hypothesis.settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, database=None, max_examples=500
)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config):
    config.addinivalue_line("markers", "kernels: values that compiled code decides, on any Python")
    config.addinivalue_line("markers", "every_isa: runs on each instruction set of this processor")
    config.addinivalue_line("markers", "once: one build tells as much as several")
    config.addinivalue_line("markers", "alone: takes the time or counts threads")
    config.addinivalue_line("markers", "edges: where loops and arrays end; for sanitizers")


def pytest_collection_modifyitems(items):
    for item in items:
        if "isa" in getattr(item, "fixturenames", ()):
            item.add_marker("every_isa")


@pytest.fixture(params=dispatch.available_isas())
def isa(request):
    """Run the test once on every instruction set of this CPU."""
    active = dispatch.active_isa()
    dispatch.set_isa(request.param)
    yield request.param
    dispatch.set_isa(active)


@pytest.fixture
def child():
    """Return run(name, *args, timeout=, **environ): run tests/children/<name>.py, read its JSON.

    A hang kills the whole process group, so that grandchildren cannot hold the pipes open.
    """

    def run(name, *args, timeout=60, **environ):
        with subprocess.Popen(
            [sys.executable, str(TESTS / "children" / f"{name}.py"), *map(str, args)],
            env={**CHILD_ENVIRON, "PYTHONPATH": _python_path(), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                pytest.fail(f"{name} {args} did not end within {timeout} s\n{out}\n{err}")
        assert process.returncode == 0, f"{name} {args} ended with {process.returncode}\n{err}"
        return json.loads(out.splitlines()[-1])

    return run


def _python_path():
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(TESTS), *([inherited] if inherited else [])])
