# SPDX-License-Identifier: BSD-3-Clause
"""One process per library, and both ends of the pipe to it.

Decides how time and memory are measured. The process lives for the whole run and is blocked on its
pipe while another one works: an idle pool of threads that spins would take a core from the next
contestant. Knows nothing of the libraries (peers.py) nor of the order of measurements (compare.py).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import statistics
import time
from pathlib import Path

import numpy as np
from peers import LIBRARIES

from benchmarks import cases

PEAK_SECONDS = 0.01
LONG = 0.3  # seconds; a call that takes longer is not repeated within a measurement


def serve(library, threads, pipe):
    """Answer (command, argument) until the pipe closes."""
    try:
        worker = Worker(LIBRARIES[library](threads), threads)
    except ImportError as error:
        pipe.send(("error", f"not installed ({error})"))
        return
    pipe.send(("ok", worker.library.version))
    while True:
        try:
            command, argument = pipe.recv()
            answer = ("ok", getattr(worker, command)(argument))
        except (EOFError, KeyboardInterrupt):
            return
        except Exception as error:  # the parent reports it beside the case and goes on
            answer = ("error", f"{type(error).__name__}: {error}")
        pipe.send(answer)


class Worker:
    def __init__(self, library, threads):
        self.library, self.threads = library, threads

    def open(self, case):
        """Make the case ready; return its result and the seconds of the first call."""
        self.call = self.library.prepare(case, *case.arrays())
        start = time.perf_counter()
        y = self.call()
        self.first = time.perf_counter() - start
        return self.library.to_numpy(case, y), self.first

    def time(self, min_time):
        """Best and median seconds per call over samples of about 2 ms or one call; load elsewhere.

        The last is how many CPUs other processes and the hypervisor used meanwhile.
        """
        call, clock = self.call, time.perf_counter
        now = clock()
        took, end, least = self.first, now + 0.02, 1 if self.first > LONG else 3
        while took <= LONG and now < end:  # warm up: the first calls after a pause wake the pool
            start = now
            call()
            now = clock()
            took = now - start
        loops = range(max(1, round(2e-3 / took)))
        samples, others, begin = [], _cpu_seconds_of_others(), now
        end = now + min_time
        while now < end or len(samples) < least:
            start = clock()
            for _ in loops:
                call()
            now = clock()
            samples.append((now - start) / len(loops))
        load = (_cpu_seconds_of_others() - others) / (now - begin)
        return min(samples), statistics.median(samples), load

    def peak(self, dtype):
        """The fastest of several slices: another process may have taken a core meanwhile."""
        return max(self.library.peak(dtype, PEAK_SECONDS, self.threads) for _ in range(8))

    def isa(self, _):
        return self.library.isa()

    def plan(self, case):
        return self.library.plan(case)

    def memory(self, case):
        """Bytes by which the resident set grew during the first call, its results taken off."""
        x, w = np.ones((8, 8), case.dtype), np.ones((3, 3), case.dtype)
        self.library.prepare(cases.BY_NAME["image 8x8 3x3"], x, w)()  # load what loads once
        call = self.library.prepare(case, *case.arrays())
        try:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM = VmRSS
        except (OSError, AttributeError):
            return None  # Linux with glibc only
        before = _status_bytes("VmRSS")
        y = self.library.to_numpy(case, call())
        results = y if isinstance(y, tuple) else (y,)
        return max(0, _status_bytes("VmHWM") - before - sum(a.nbytes for a in results))


def _cpu_seconds_of_others():
    """CPU time that the machine spent outside this process, stolen time included."""
    try:
        ticks = [int(n) for n in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    except OSError:
        return 0.0  # not Linux
    busy = sum(ticks) - ticks[3] - ticks[4]  # idle, waiting for a disk
    own = os.times()
    return busy / os.sysconf("SC_CLK_TCK") - own.user - own.system


def _status_bytes(field):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", status).group(1))


class Contestant:
    """The parent's end of one worker process."""

    def __init__(self, name, threads):
        context = multiprocessing.get_context("spawn")
        self.name, self.threads = name, threads
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(name, threads, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.version = self._answer()

    def ask(self, command, argument=None):
        self.pipe.send((command, argument))
        return self._answer()

    def _answer(self):
        try:
            state, value = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            text = f"the {self.name} worker died (exit code {self.process.exitcode})"
            raise SystemExit(text) from None
        if state == "error":
            raise RuntimeError(value)
        return value

    def stop(self):
        self.pipe.close()
        self.process.join()
