# SPDX-License-Identifier: BSD-3-Clause
"""`spin lint`, `spin bench` and `spin docs`; spin's own commands build and test."""

import sys

import click
from spin import util


@click.command()
def lint():
    """Check style and format as the continuous integration does."""
    util.run(["ruff", "check", "."])
    util.run(["ruff", "format", "--check", "."])
    util.run(["cython-lint", "src"])


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1)
def bench(arguments):
    """Compare the speed with other libraries; ARGUMENTS as of benchmarks/compare.py."""
    util.run([sys.executable, "benchmarks/compare.py", *arguments])


@click.command()
def docs():
    """Build the site into docs/_build/html; warnings are errors."""
    util.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "docs",
            "docs/_build/html",
        ]
    )
