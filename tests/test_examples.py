# SPDX-License-Identifier: BSD-3-Clause
"""The examples that learn do learn; those that need an extra are skipped without it."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fastcorr

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    """Import examples/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():  # those of other packages, at their import
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def test_learn_kernel(capsys):
    kernel, flipped = example("learn_kernel").main()
    np.testing.assert_allclose(kernel, [[1, -1]], atol=1e-2)
    np.testing.assert_allclose(flipped, [[-1, 1]], atol=1e-2)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split()[-1]) for line in lines if line.startswith("epoch")]
    assert len(losses) == 30
    assert losses[14] < 1e-3 < losses[0]


@pytest.mark.once
@pytest.mark.slow
def test_train_digits(tmp_path, capsys):
    for package in ("sklearn", "tqdm", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    picture = tmp_path / "digits.png"
    # One thread each: the same numbers, and no pool of threads waits for the cores of another.
    with fastcorr.set_workers(1), threadpool_limits(1, user_api="blas"):
        accuracy, losses = example("train_digits").main(["--output", str(picture), "--quiet"])
    assert accuracy >= 0.98
    assert losses[-1] < 0.1 * losses[0]
    assert picture.stat().st_size > 10_000
    assert "are read rightly" in capsys.readouterr().out
