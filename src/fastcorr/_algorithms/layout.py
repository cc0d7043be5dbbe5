# SPDX-License-Identifier: BSD-3-Clause
"""How one axis of a tile's input lies in a staged window (kernels.h draws it)."""

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


def axis_layout(n, taps, stride, dilation):
    """Planes by stride phase, or one per tap where dilation leaves the phases full of holes."""
    reach = (taps - 1) * dilation // stride
    phases = sorted({tap * dilation % stride for tap in range(taps)})
    if len(phases) * (n + reach) <= taps * n:
        return AxisLayout(
            length=n + reach,
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
