# SPDX-License-Identifier: BSD-3-Clause
"""Write docs/inventories/*.inv, the names of other projects that this site links to.

    python docs/make_inventories.py

Sphinx wants an inventory for links between projects. The whole ones are large and come from the
network; these hold the names that docstrings and pages use. The format is Sphinx's, version 2.
"""

import zlib
from pathlib import Path

OBJECTS = {
    "python": {
        "library/stdtypes": "int str bool tuple list dict float complex",
        "library/exceptions": "TypeError ValueError MemoryError IndexError",
        "library/concurrent.futures": "concurrent.futures.ThreadPoolExecutor",
    },
    "numpy": {
        "reference/generated/numpy.pad": "numpy.pad",
        "reference/generated/numpy.result_type": "numpy.result_type",
        "reference/generated/numpy.asarray": "numpy.asarray",
        "reference/generated/numpy.ndarray": "numpy.ndarray",
        "reference/generated/numpy.show_config": "numpy.show_config",
        "reference/random/generator": "numpy.random.Generator numpy.random.default_rng",
    },
    "scipy": {
        f"reference/generated/{name}": name
        for name in (
            "scipy.signal.correlate2d", "scipy.signal.convolve2d", "scipy.signal.correlate",
            "scipy.signal.fftconvolve", "scipy.signal.choose_conv_method", "scipy.signal.CZT",
            "scipy.ndimage.correlate", "scipy.ndimage.convolve", "scipy.fft.set_workers",
            "scipy.show_config",
        )
    },
}  # fmt: skip
TYPES = {"numpy.ndarray": "class", "numpy.random.Generator": "class", "scipy.signal.CZT": "class"}


def inventory(project, pages):
    """Return the bytes of an inventory."""
    lines = []
    for page, names in pages.items():
        for name in names.split():
            is_exception = name.endswith(("Error",))
            is_class = project == "python" and not is_exception
            kind = "exception" if is_exception else "class" if is_class else "function"
            lines.append(f"{name} py:{TYPES.get(name, kind)} 1 {page}.html#$ -\n")
    header = (
        f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    return header.encode() + zlib.compress("".join(sorted(lines)).encode(), 9)


def main():
    folder = Path(__file__).parent / "inventories"
    folder.mkdir(exist_ok=True)
    for project, pages in OBJECTS.items():
        (folder / f"{project}.inv").write_bytes(inventory(project, pages))


if __name__ == "__main__":
    main()
