# SPDX-License-Identifier: BSD-3-Clause
"""The number of threads: every value of workers, and every source of its default."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastcorr
from fastcorr import get_workers, set_workers
from fastcorr._kernels import dispatch
from fastcorr._workers import _CPU_COUNT, _MOST, _cgroup_quota, _environment, resolve_workers

# A new thread starts with an empty context, but for free-threaded Python 3.14 with its parent's.
INHERITS = bool(getattr(sys.flags, "thread_inherit_context", False))


def in_new_process(code, environ):
    """Run `code` with no variables about threads but `environ`."""
    unset = ("FASTCORR_NUM_THREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def default(before="", **environ):
    """Return get_workers() of a new process that runs `before` and then imports fastcorr."""
    process = in_new_process(f"{before}\nimport fastcorr; print(fastcorr.get_workers())", environ)
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


# The argument.


def test_resolve_workers():
    assert resolve_workers(None) == get_workers()
    assert resolve_workers(1) == 1
    assert resolve_workers(_MOST) == _MOST
    assert resolve_workers(_MOST + 1) == _MOST
    assert resolve_workers(2**40) == _MOST
    assert resolve_workers(np.int8(3)) == 3
    assert type(resolve_workers(np.int8(3))) is int
    assert resolve_workers(-1) == _CPU_COUNT
    assert resolve_workers(-_CPU_COUNT) == 1


@pytest.mark.parametrize("use", [resolve_workers, set_workers])
@pytest.mark.parametrize("value", [0, -_CPU_COUNT - 1, -(10**9), 2**70])
def test_workers_out_of_range(use, value):
    with pytest.raises(ValueError, match=f"workers = {value}: expected"):
        use(value)


@pytest.mark.parametrize("use", [resolve_workers, set_workers])
@pytest.mark.parametrize("value", [1.0, True, "2", (1,), np.True_])
def test_workers_that_are_no_integers(use, value):
    with pytest.raises(TypeError, match=r"workers = .*: expected a positive int"):
        use(value)


def test_set_workers_needs_a_number():
    with pytest.raises(TypeError, match="workers = None: expected a positive int"):
        set_workers(None)


# The context manager.


def test_set_workers_nests_and_restores():
    before = get_workers()
    with set_workers(5):
        assert get_workers() == resolve_workers(None) == 5
        with set_workers(3):
            assert get_workers() == 3
            with set_workers(-1):
                assert get_workers() == _CPU_COUNT
            assert get_workers() == 3
        assert get_workers() == 5
    assert get_workers() == before


def test_set_workers_restores_after_an_exception():
    before = get_workers()
    with pytest.raises(KeyError), set_workers(5):
        raise KeyError
    assert get_workers() == before


def test_set_workers_alone_changes_nothing():
    before = get_workers()
    set_workers(before + 1)
    assert get_workers() == before


def test_set_workers_holds_in_its_thread_only():
    before = get_workers()
    with ThreadPoolExecutor(1) as pool, set_workers(before + 1):
        assert pool.submit(get_workers).result() == before + INHERITS
        assert get_workers() == before + 1

    def enter(n):
        with set_workers(n):
            return [get_workers() for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        for n, numbers in enumerate(pool.map(enter, range(1, 20)), 1):
            assert set(numbers) == {n}


def test_set_workers_holds_in_its_task_only():
    async def enter(n):
        with set_workers(n):
            await asyncio.sleep(0.001)
            return get_workers()

    async def both():
        return await asyncio.gather(*(enter(n) for n in range(1, 9)))

    assert asyncio.run(both()) == list(range(1, 9))


# The default.


def test_default_is_bounded_by_the_machine():
    assert 1 <= default() <= _CPU_COUNT


@pytest.mark.skipif(not dispatch.openmp(), reason="built without OpenMP: always one thread")
def test_default_without_limits_is_the_cpu_count():
    assert default() == _CPU_COUNT


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"FASTCORR_NUM_THREADS": "1"}, 1),
        ({"FASTCORR_NUM_THREADS": " 1 "}, 1),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
        ({"FASTCORR_NUM_THREADS": "1", "OMP_NUM_THREADS": "64"}, 1),
    ],
    ids=str,
)
def test_default_of_the_environment(environ, expected):
    assert default(**environ) == expected


@pytest.mark.parametrize("name", ["FASTCORR_NUM_THREADS", "OMP_NUM_THREADS"])
def test_environment_is_bounded_by_the_cpu_count(name):
    assert default(**{name: "100000"}) <= _CPU_COUNT


def test_omp_limit_holds_beside_our_variable():
    if _CPU_COUNT == 1 or not dispatch.openmp():
        pytest.skip("needs two threads")
    assert default(FASTCORR_NUM_THREADS=str(_CPU_COUNT), OMP_NUM_THREADS="1") == 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "2,1", "0x2", "²"])
def test_bad_variable_fails_at_import(value):
    process = in_new_process("import fastcorr", {"FASTCORR_NUM_THREADS": value})
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: the environment variable FASTCORR_NUM_THREADS")
    assert last.endswith("expected a positive integer")
    if value.isascii():  # the child may run in a locale without the others
        assert repr(value) in last


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"FASTCORR_NUM_THREADS": ""}, None),
        ({"FASTCORR_NUM_THREADS": "", "OMP_NUM_THREADS": "3"}, 3),
        ({"FASTCORR_NUM_THREADS": "2", "OMP_NUM_THREADS": "3"}, 2),
        ({"FASTCORR_NUM_THREADS": "02"}, 2),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": " 4 , 2"}, 4),
        ({"OMP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"OMP_NUM_THREADS": "-2"}, None),
        ({"OMP_NUM_THREADS": ","}, None),
    ],
    ids=str,
)
def test_environment(environ, expected):
    assert _environment(environ) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_default_follows_the_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert default(before=code) == 1


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"/proc/self/cgroup": ""}, None),
        ({"/proc/self/cgroup": "nonsense"}, None),
        # version 2
        ({"/proc/self/cgroup": "0::/\n"}, None),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max": "200000 100000"}, 2),
        (
            {
                "/proc/self/cgroup": "0::/a/b\n",
                "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "/sys/fs/cgroup/a/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
        (
            {
                "/proc/self/cgroup": "0::/a\n",
                "/sys/fs/cgroup/a/cpu.max": "400000 100000\n",
                "/sys/fs/cgroup/cpu.max": "300000 100000\n",
            },
            3,
        ),
        ({"/proc/self/cgroup": "0::/not/visible\n", "/sys/fs/cgroup/cpu.max": "100000 50000"}, 2),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "garbage"}, None),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "100000 0"}, None),
        ({"/proc/self/cgroup": "0::/a:b\n", "/sys/fs/cgroup/a:b/cpu.max": "100000 100000"}, 1),
        # version 1
        (
            {
                "/proc/self/cgroup": "5:memory:/m\n3:cpu,cpuacct:/a\n2:cpuset:/c\n0::/\n",
                "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "250000\n",
                "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "/proc/self/cgroup": "3:cpu:/docker/0123\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            1,
        ),
        (
            {
                "/proc/self/cgroup": "3:cpu:/\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {
                "/proc/self/cgroup": "3:cpuset:/\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_cgroup_quota(files, quota):
    assert _cgroup_quota(files.get) == quota


@pytest.mark.parametrize(("quota", "expected"), [(0.1, 1), (1.0, 1), (1.5, 2), (10**6, None)])
def test_quota_bounds_the_cpu_count(monkeypatch, quota, expected):
    from fastcorr import _workers

    monkeypatch.setattr(_workers, "_cgroup_quota", lambda read: None)
    unbounded = _workers._cpu_count()
    monkeypatch.setattr(_workers, "_cgroup_quota", lambda read: quota)
    assert _workers._cpu_count() == min(expected or unbounded, unbounded)


@pytest.mark.skipif(not dispatch.openmp(), reason="built without OpenMP")
def test_threadpoolctl_limits_the_default():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    before = get_workers()
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert get_workers() == 1
        with set_workers(2):  # said explicitly
            assert get_workers() == 2
    assert get_workers() == before


def test_calls_take_the_default():
    x, w = np.ones((4, 4)), np.ones((3, 3))
    for n in (1, 2, 7):
        with set_workers(n):
            assert np.array_equal(fastcorr.corr2d(x, w), np.full((2, 2), 9.0))
