# SPDX-License-Identifier: BSD-3-Clause
"""What this build and this machine offer, for people and for bug reports.

Reads the tables where they are (`_plan.ALGORITHMS`, `_padding.PADDING_MODES`, the kernels'
dispatch) and repeats none of them. It decides nothing: no other module may ask it.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any, Literal, overload

import numpy as np

from fastcorr._kernels import dispatch
from fastcorr._padding import PADDING_MODES
from fastcorr._plan import ALGORITHMS
from fastcorr._workers import get_workers


def _configuration():
    build = dispatch.build_info()
    return {
        "version": version("fastcorr"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "platform": f"{platform.system()} {platform.machine()}",
        "compiler": f"{build['compiler']} {build['compiler_version']}".strip(),
        "cython": build["cython"],
        "openmp": build["openmp"],
        "workers": get_workers(),
        "isa": {
            "available": dispatch.available_isas(),
            "built": build["isas_built"],
            "active": dispatch.active_isa(),
        },
        "kernel_dtypes": dispatch.kernel_dtypes(),
        "algorithms": [
            {"name": row.name, "method": row.method, "reason": row.reason} for row in ALGORITHMS
        ],
        "padding_modes": list(PADDING_MODES),
    }


def _table(configuration):
    """Return the configuration as lines of text: one name and its values each."""
    lines = []
    for name, value in configuration.items():
        if name == "isa":
            unusable = [isa for isa in value["built"] if isa not in value["available"]]
            text = f"{value['active']} in use, of {', '.join(value['available'])}"
            text += f" (built, but not for this processor: {', '.join(unusable)})" * bool(unusable)
        elif name == "openmp":
            text = "yes" if value else "NO: every call runs on one thread"
        elif name == "algorithms":
            lines += [
                f"{name if i == 0 else '':<14} {row['method']}/{row['name']}: {row['reason']}"
                for i, row in enumerate(value)
            ]
            continue
        else:
            text = ", ".join(value) if isinstance(value, list) else value
        lines.append(f"{name.replace('_', ' '):<14} {text}")
    return "\n".join(lines)


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show the version, how it was built, and what it uses on this machine.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}, default: 'stdout'
        Whether to print a table or to return the same as a dictionary.

    Returns
    -------
    dict or None
        None for ``'stdout'``. For ``'dicts'`` a new dictionary, yours to change, with the keys

        - ``'version'``, ``'python'``, ``'numpy'``, ``'scipy'``, ``'platform'``: str;
        - ``'compiler'``, ``'cython'``: str, name and version of what it was built with;
        - ``'openmp'``: bool, whether it was built with it (otherwise every call has one thread);
        - ``'workers'``: int, `get_workers()` at this moment;
        - ``'isa'``: the instruction sets ``'built'`` and, of these, the ones ``'available'`` on
          this processor, lowest first, and the one that is ``'active'``: the highest, unless the
          environment variable ``FASTCORR_ISA`` names a lower one;
        - ``'kernel_dtypes'``: the types that the kernels compute in, as in the kernels' names;
        - ``'algorithms'``: ``'name'``, ``'method'`` and ``'reason'`` of each, in the order in
          which they are preferred;
        - ``'padding_modes'``: the names that `corr2d` takes.

    Raises
    ------
    ValueError
        `mode` is neither of the two.

    See Also
    --------
    explain : The way that one call takes.
    numpy.show_config, scipy.show_config : The same of NumPy and SciPy.

    Notes
    -----
    ``python -m fastcorr`` prints it and then checks this machine's results and speed.

    Examples
    --------
    >>> import fastcorr
    >>> config = fastcorr.show_config("dicts")
    >>> config["isa"]["active"] in config["isa"]["available"]
    True
    >>> config["padding_modes"]
    ['constant', 'reflect', 'symmetric', 'edge', 'wrap']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode = {mode!r}: expected 'stdout' or 'dicts'")
    configuration = _configuration()
    if mode == "dicts":
        return configuration
    print(_table(configuration))
    return None
