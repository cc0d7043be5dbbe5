# SPDX-License-Identifier: BSD-3-Clause
"""The types in the signatures, for type checkers and for `help`; nothing is checked with them.

The names in them are those of the lists that decide (`_problem.METHODS`, `_padding.PADDING_MODES`
and so on); a test compares the two. A module whose functions rebind their arguments, array_like
first and an array then, says `mypy: ignore-errors`: its signatures count all the same.
"""

from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Number: TypeAlias = complex | np.number[Any]

# One for both axes, or (vertical, horizontal).
Pair: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
# Or ((top, bottom), (left, right)).
Sides: TypeAlias = Pair | Sequence[Sequence[SupportsIndex]]
NamedPadding: TypeAlias = Literal["valid", "same", "same_lower", "full"]
Padding: TypeAlias = Sides | NamedPadding
PaddingMode: TypeAlias = Literal["constant", "reflect", "symmetric", "edge", "wrap"]
ChannelAxis: TypeAlias = Literal[-1] | None

Method: TypeAlias = Literal["auto", "direct", "winograd", "fft", "separable"]
GradientMethod: TypeAlias = Literal["auto", "direct"]
SciPyMethod: TypeAlias = Literal["auto", "direct", "fft", "separable"]
SciPyMode: TypeAlias = Literal["full", "same", "valid"]
SciPyBoundary: TypeAlias = Literal["fill", "pad", "wrap", "circular", "symm", "symmetric"]

# A string is a sequence of letters, "xw" say.
Needs: TypeAlias = str | Sequence[Literal["x", "w", "b"]]
