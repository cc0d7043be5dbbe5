# SPDX-License-Identifier: BSD-3-Clause
"""show_config, the version and `python -m fastcorr` say what is true of this build."""

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

import fastcorr
from fastcorr import __main__ as command
from fastcorr._padding import PADDING_MODES
from fastcorr._plan import ALGORITHMS


def test_dicts():
    config = fastcorr.show_config("dicts")
    assert config["version"] == fastcorr.__version__ == version("fastcorr")
    assert config["numpy"] == np.__version__
    assert config["workers"] == fastcorr.get_workers()
    assert config["isa"]["active"] in config["isa"]["available"]
    assert set(config["isa"]["available"]) <= set(config["isa"]["built"])
    assert [row["name"] for row in config["algorithms"]] == [row.name for row in ALGORITHMS]
    assert config["padding_modes"] == list(PADDING_MODES)


def test_stdout(capsys):
    assert fastcorr.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["version", fastcorr.__version__] for line in lines)


def test_unknown_mode():
    with pytest.raises(ValueError, match="mode = 'json': expected 'stdout' or 'dicts'"):
        fastcorr.show_config("json")


def test_without_openmp_there_is_one_thread():
    config = fastcorr.show_config("dicts")
    assert config["openmp"] or config["workers"] == 1


def test_self_check_passes_and_can_fail(monkeypatch, capsys):
    assert command.check()
    assert "WRONG" not in capsys.readouterr().out
    monkeypatch.setattr(
        command, "corr2d", lambda *args, **options: 2 * fastcorr.corr2d(*args, **options)
    )
    assert not command.check()
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.once
def test_command_line():
    shown = subprocess.run(
        [sys.executable, "-m", "fastcorr"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert "all right" in shown
    assert "GFLOP/s" in shown


def test_unknown_instruction_set_is_a_clear_error():
    failed = subprocess.run(
        [sys.executable, "-c", "import fastcorr"], capture_output=True, text=True, timeout=60,
        check=False, env={"FASTCORR_ISA": "sse9", "PATH": ""},
    )  # fmt: skip
    assert failed.returncode != 0
    assert "ValueError: FASTCORR_ISA is 'sse9'; available on this machine: generic" in failed.stderr
