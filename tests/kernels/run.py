# SPDX-License-Identifier: BSD-3-Clause
"""Build test_kernels.c with the kernels of one instruction set, and run it.

    python tests/kernels/run.py avx2
    python tests/kernels/run.py avx512 --flags=-fsanitize=address,undefined
    python tests/kernels/run.py avx2 --libraries build/cp311
    python tests/kernels/run.py neon --cc aarch64-linux-gnu-gcc --flags=-static \
        --under qemu-aarch64-static

Needs no Python package. The flags of an instruction set are those of `_kernels/meson.build`.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "src" / "fastcorr" / "_kernels"


def strings(text):
    """Return what stands between quotation marks."""
    return re.findall(r"'([^']*)'", text)


def from_meson(isa):
    """Return the compiler flags of an instruction set, and all compute types."""
    text = (KERNELS / "meson.build").read_text()
    rows = dict(re.findall(r"\['(\w+)', \[([^\]]*)\]\]", text))
    if isa not in rows:
        sys.exit(f"{isa}: expected one of {', '.join(rows)}")
    common = re.search(r"kernel_flags = \[([^\]]*)\]", text)[1]
    computes = re.search(r"computes = \[([^\]]*)\]", text)[1]
    return strings(common + rows[isa]), strings(computes)


def main():
    parser = argparse.ArgumentParser(description="Build and run the test of the kernels.")
    parser.add_argument("isa", help="generic, avx2, avx512 or neon")
    parser.add_argument("--cc", default="cc", help="the compiler (default: %(default)s)")
    parser.add_argument("--flags", default="", help="more flags, behind the others")
    parser.add_argument("--libraries", help="a folder where Meson has built the kernels, with --cc")
    parser.add_argument("--under", default="", help="the emulator that runs the program")
    options = parser.parse_args()
    shared = [*shlex.split(options.cc), "-std=gnu11", "-Wall", "-Wno-psabi", f"-I{KERNELS}"]
    more = shlex.split(options.flags)
    flags, computes = from_meson(options.isa)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "test_kernels")
        if options.libraries:
            built = Path(options.libraries, *KERNELS.parts[-3:])
            kernels = [built / f"libkernels_{options.isa}_{compute}.a" for compute in computes]
        else:
            kernels = [Path(folder, f"{compute}.o") for compute in computes]
            source = KERNELS / f"isa_{options.isa}.c"
            for compute, output in zip(computes, kernels, strict=True):
                define = f"-DFC_COMPUTES_{compute.upper()}"
                command = [*shared, "-O3", *flags, define, *more, "-c", source, "-o", output]
                subprocess.run(command, check=True)
        files = [HERE / "test_kernels.c", *kernels, "-lm", "-o", program]
        subprocess.run([*shared, "-O1", f"-DFC_ISA={options.isa}", *more, *files], check=True)
        return subprocess.run([*shlex.split(options.under), program], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
