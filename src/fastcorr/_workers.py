# SPDX-License-Identifier: BSD-3-Clause
"""How many threads a call may use.

Decides the meaning of ``workers`` and its default. What the process may use (environment, CPU
affinity, cgroup quota) is read once at import; OpenMP's own limit is asked at each call, so that
threadpoolctl's limits hold. It knows nothing of the work to be done: a plan may use fewer threads.
"""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import SupportsIndex

from fastcorr._kernels import dispatch
from fastcorr._shapes import integer


def _cgroup_quota(read):
    """Return the CPUs that the cgroup quota of this process allows, or None without a quota.

    `read` returns the text of a file, or None where it cannot be read. Quotas hold for all groups
    below, so each group up to the root is asked; in a container the paths of the host are often
    not visible, and the root is the container's own group.
    """
    quotas = []
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, _, line = line.partition(":")  # after the number of the hierarchy
        controllers, _, path = line.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts), -1, -1):
            group = "/".join(["", *parts[:depth]])
            if controllers:  # version 1
                folder = f"/sys/fs/cgroup/cpu{group}"
                quota = read(f"{folder}/cpu.cfs_quota_us")
                period = read(f"{folder}/cpu.cfs_period_us")
            else:  # version 2, one file: "max 100000" or "150000 100000"
                quota, _, period = (read(f"/sys/fs/cgroup{group}/cpu.max") or "").partition(" ")
            try:
                quotas.append(float(quota) / float(period))
            except (TypeError, ValueError, ZeroDivisionError):
                continue  # no such file, or "max"
    limits = [quota for quota in quotas if quota > 0]  # -1 is no limit in version 1
    return min(limits, default=None)


def _read(path):
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def _cpu_count():
    """Return the CPUs this process may use: its affinity, bounded by its cgroup quota."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cgroup_quota(_read)
    return count if quota is None else min(count, max(math.ceil(quota), 1))


def _environment(environ):
    """Return the number of threads that the environment asks for, or None."""
    own = environ.get("FASTCORR_NUM_THREADS", "").strip()
    if own:
        if not (own.isascii() and own.isdigit() and int(own) > 0):
            raise ValueError(
                f"the environment variable FASTCORR_NUM_THREADS = {own!r}: "
                "expected a positive integer"
            )
        return int(own)
    # OpenMP's list has one entry per nesting level; a bad one is the OpenMP library's to report.
    omp = environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(omp) if omp.isascii() and omp.isdigit() and int(omp) > 0 else None


_CPU_COUNT = _cpu_count()
_DEFAULT = min(_environment(os.environ) or _CPU_COUNT, _CPU_COUNT)
# The system refuses threads without end, and OpenMP ends the process then.
_MOST = max(64, 4 * _CPU_COUNT)
_chosen = ContextVar("fastcorr_workers", default=None)


def get_workers() -> int:
    """Return the number of threads that calls use by default.

    Returns
    -------
    int
        The number of the innermost `set_workers` around this call. Without one, the smallest of
        the environment variable ``FASTCORR_NUM_THREADS`` (or else ``OMP_NUM_THREADS``), the CPUs
        of the process (its affinity and cgroup quota at import) and OpenMP's present limit,
        ``omp_get_max_threads()``.

    See Also
    --------
    set_workers : Change the default for a block of code.
    threadpoolctl.threadpool_limits : Its limits for OpenMP bound the default.

    Notes
    -----
    It is an upper bound: small problems are served by fewer threads. Results do not depend on it.

    Examples
    --------
    >>> import fastcorr
    >>> with fastcorr.set_workers(3):
    ...     fastcorr.get_workers()
    3
    """
    chosen = _chosen.get()
    return min(_DEFAULT, dispatch.omp_max_threads()) if chosen is None else chosen


def set_workers(workers: SupportsIndex) -> AbstractContextManager[None]:
    """Return a context manager that sets the default number of threads.

    It holds for calls from the same thread, or from the same asyncio task, and can be nested.

    Parameters
    ----------
    workers : int
        A positive number is taken as it is. A negative one counts back from the CPUs that the
        process may use: -1 is all of them.

    Returns
    -------
    context manager
        It changes the default while its block runs.

    Raises
    ------
    TypeError
        `workers` is not an integer.
    ValueError
        `workers` is 0, or negative beyond the number of CPUs.

    See Also
    --------
    get_workers : The default in effect.

    Examples
    --------
    >>> import numpy as np
    >>> import fastcorr
    >>> with fastcorr.set_workers(1):
    ...     y = fastcorr.corr2d(np.ones((4, 4)), np.ones((3, 3)))
    >>> y
    array([[9., 9.],
           [9., 9.]])
    """
    # Not a generator itself: a wrong argument is reported here and not at the with statement.
    return _workers_set(_count(workers))


@contextmanager
def _workers_set(count):
    token = _chosen.set(count)
    try:
        yield
    finally:
        _chosen.reset(token)


def _count(workers):
    expected = (
        f"a positive int, or a negative one down to -{_CPU_COUNT} that counts back from the "
        "number of CPUs"
    )
    count = integer("workers", workers, -_CPU_COUNT, expected)
    if count == 0:
        raise ValueError(f"workers = 0: expected {expected}")
    return count if count > 0 else count + 1 + _CPU_COUNT


def resolve_workers(workers):
    """Return the number of threads, >= 1, that the argument ``workers`` of a call asks for."""
    return min(get_workers() if workers is None else _count(workers), _MOST)
