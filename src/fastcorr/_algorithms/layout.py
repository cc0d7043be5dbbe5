# SPDX-License-Identifier: BSD-3-Clause
"""How one axis of a tile's input lies in a staged window (kernels.h draws it)."""

import math
from typing import NamedTuple


class AxisLayout(NamedTuple):
    """Planes of `length` positions for `n` neighbouring outputs under `taps` taps.

    Plane p holds the padded positions starts[p] + i * stride; tap t of output o finds its input at
    plane[t], position offset[t] + o.
    """

    length: int
    starts: list[int]
    plane: list[int]
    offset: list[int]


def reach(n, taps, stride, dilation):
    """Inputs that n neighbouring outputs see, from the first to the last."""
    return (n - 1) * stride + (taps - 1) * dilation + 1


def n_phases(taps, stride, dilation):
    """Phases of the stride that hold taps."""
    return min(taps, stride // math.gcd(stride, dilation))


def axis_layout(n, taps, stride, dilation):
    """Planes by stride phase, or one per tap where dilation leaves the phases full of holes."""
    further = (taps - 1) * dilation // stride
    phases = sorted({tap * dilation % stride for tap in range(taps)})
    if len(phases) * (n + further) <= taps * n:
        return AxisLayout(
            length=n + further,
            starts=phases,
            plane=[phases.index(tap * dilation % stride) for tap in range(taps)],
            offset=[tap * dilation // stride for tap in range(taps)],
        )
    return AxisLayout(
        length=n,
        starts=[tap * dilation for tap in range(taps)],
        plane=list(range(taps)),
        offset=[0] * taps,
    )
