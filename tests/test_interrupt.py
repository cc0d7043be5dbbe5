# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C during a long call: KeyboardInterrupt soon, nothing leaked, the interpreter as before."""

import sys

import pytest

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
    pytest.mark.alone,
]

PATHS = ["many_channels", "one_channel", "transforms", "depthwise", "int8", "longdouble"]


@pytest.mark.parametrize(("path", "workers"), [*((p, 2) for p in PATHS), ("many_channels", 1)])
def test_a_long_call_stops(child, path, workers):
    result = child("long_call", path, workers, 3, 0.3)
    assert result["caught"] == ["KeyboardInterrupt"] * 3
    assert sorted(result["delays"])[1] < 0.6  # promised: 0.3 s; the rest is for busy machines
    assert result["right_afterwards"]


@pytest.mark.parametrize("path", PATHS[:2])
def test_twenty_interrupted_calls_leak_nothing(child, path):
    result = child("long_call", path, 2, 23, 0.08)
    assert result["caught"] == ["KeyboardInterrupt"] * 23
    assert result["right_afterwards"]
    if sys.platform.startswith("linux"):
        assert result["resident"][-1] - result["resident"][2] < 8 * 2**20


def test_interrupted_transforms_leak_nothing(child):
    """One pool of the allocator for all threads; an exception may hold buffers for a while."""
    result = child("long_call", "transforms", 2, 60, 0.08, MALLOC_ARENA_MAX="1")
    assert result["caught"] == ["KeyboardInterrupt"] * 60
    assert result["right_afterwards"]
    if sys.platform.startswith("linux"):
        assert min(result["resident"][-12:]) - min(result["resident"][20:32]) < 8 * 2**20


def test_an_exception_of_another_handler_comes_through(child):
    result = child("long_call", "many_channels", 2, 1, 0.1, "ValueError")
    assert result["caught"] == ["ValueError"]


def test_a_handler_that_raises_nothing_changes_nothing(child):
    """A timer fires all through the call: signals are served, and the result is right."""
    assert child("signals_served")["same"]
