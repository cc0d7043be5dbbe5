# SPDX-License-Identifier: BSD-3-Clause
"""Random problems against the definition: shapes, options, layouts, dtypes, workers together.

HYPOTHESIS_PROFILE=long looks for an hour; the default is the same 500 examples every time.
"""

import math

import cases
import hypothesis.strategies as st
import numpy as np
import pytest
import reference
from contract import check, check_exact
from hypothesis import event, given
from layouts import LAYOUTS, OUT_LAYOUTS

import fastcorr

pytestmark = [pytest.mark.kernels, pytest.mark.edges]

small = st.integers(1, 4)
pair = st.one_of(small, st.tuples(small, small))
width = st.integers(0, 9)
padding = st.one_of(
    width,
    st.tuples(width, width),
    st.tuples(st.tuples(width, width), st.tuples(width, width)),
    st.sampled_from(["valid", "same", "same_lower", "full"]),
)
channels = st.one_of(st.integers(1, 4), st.integers(5, 70))
length = st.one_of(st.integers(1, 12), st.integers(13, 70))
kernel = st.one_of(st.integers(1, 4), st.integers(5, 12))
dtypes = st.sampled_from("fffdddbhilBHqeFDg?")


@st.composite
def problems(draw):
    """Return x shape, w shape and the options of a problem, nearly always a valid one."""
    rank_x, rank_w = draw(st.sampled_from([(2, 2), (3, 3), (3, 4), (4, 4), (4, 4)]))
    options = {
        "stride": draw(pair),
        "dilation": draw(pair),
        "padding": draw(padding),
        "padding_mode": draw(
            st.sampled_from(["constant", "constant", "reflect", "symmetric", "edge", "wrap"])
        ),
    }
    groups = draw(st.sampled_from([1, 1, 2, 3, 8])) if rank_w == 4 else 1
    per_group = 1 if rank_x == 2 else draw(channels) if groups == 1 else draw(st.integers(1, 5))
    n_out = groups * draw(st.integers(1, 32 if groups == 1 else 5))
    size, taps = [draw(length), draw(length)], (draw(kernel), draw(kernel))
    if math.prod(taps) > 20:  # keep one example within some ten milliseconds
        n_out, per_group = groups * min(n_out // groups, 7), min(per_group, 7)
    x = (draw(st.integers(0, 5)), groups * per_group, *size)[-rank_x:]
    w = (n_out, per_group, *taps)[-rank_w:]
    if draw(st.integers(0, 15)):  # else it may be invalid, and is expected to be refused
        case = cases.Case(x, w, options)
        size = [int(n + missing(case, axis)) for axis, n in enumerate(size)]
        x = (*x[:-2], *size)
    if rank_w == 4 and groups > 1:
        options["groups"] = groups
    if rank_x > 2 and draw(st.booleans()):
        options["channel_axis"] = -1
        x = (*x[:-3], *x[-2:], x[-3])
    return cases.Case(x, w, options)


def missing(case, axis):
    """Return how many pixels the padded image lacks along an axis to take in the kernel."""
    image = case.x[-3:-1] if case.options.get("channel_axis") == -1 else case.x[-2:]
    n, k = image[axis], case.w[-2:][axis]
    s, d = (np.broadcast_to(case.options[key], 2)[axis] for key in ("stride", "dilation"))
    padded = n + sum(reference.pads(case.options["padding"], n, k, s, d, axis))
    return max((k - 1) * d + 1 - padded, 0)


@given(
    case=problems(),
    of_x=dtypes,
    of_w=st.none() | dtypes,
    layouts=st.tuples(*[st.sampled_from(list(LAYOUTS))] * 2),
    out_layout=st.none() | st.sampled_from(OUT_LAYOUTS),
    has_bias=st.booleans(),
    data=st.sampled_from(["whole", "whole", "normal", "special"]),
    padding_value=st.integers(0, 3),
    workers=st.sampled_from([1, 2, None]),
    seed=st.integers(0, 2**16),
)
def test_corr2d_is_its_definition(
    case, of_x, of_w, layouts, out_layout, has_bias, data, padding_value, workers, seed
):
    rng = np.random.default_rng(seed)
    make = cases.normal if data == "normal" else cases.whole_numbers
    of_x, of_w = np.dtype(of_x), np.dtype(of_w or of_x)
    if data != "whole" and not {of_x.kind, of_w.kind} <= {"f", "c"}:
        make, data = cases.whole_numbers, "whole"
    x, w = make(case.x, of_x, rng), make(case.w, of_w, rng)
    options = dict(case.options, workers=workers)
    if of_x.kind != "b" and options["padding_mode"] == "constant":
        options["padding_value"] = padding_value
    if missing(case, 0) or missing(case, 1):
        event("kernel larger than the padded image")
        with pytest.raises(ValueError, match="larger"):
            fastcorr.corr2d(x, w, **options)
        return
    if data == "special":
        for a in (x, w):
            if a.size:
                a.reshape(-1)[rng.integers(0, a.size, 2)] = rng.choice([np.nan, np.inf, -np.inf], 2)
    bias = make(case.w[0] if w.ndim == 4 else (), of_w, rng) if has_bias else None
    x, w = LAYOUTS[layouts[0]](x), LAYOUTS[layouts[1]](w)
    verify = check_exact if data == "whole" else check
    y = verify(x, w, bias, **options)
    if out_layout:
        out = LAYOUTS[out_layout](np.zeros_like(y))
        assert fastcorr.corr2d(x, w, bias, out=out, **options) is out
        np.testing.assert_array_equal(out, y)
    event(f"{data}, {y.dtype.kind}, rank {x.ndim}")
